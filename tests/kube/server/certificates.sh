#!/bin/sh
# certificates.sh FOLDER ADDRESS...: an authority, a server at these addresses, an administrator, and the key that signs
# the tokens of ServiceAccounts.
set -eu
cd "$1"; shift
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
# Extensions make it X.509 v3: rustls refuses v1.
sign() {
  key "$1"
  printf '%s\n' "$3" > "$1.ext"
  openssl req -new -key "$1.key" -subj "$2" 2>/dev/null \
    | openssl x509 -req -CA authority.crt -CAkey authority.key -CAcreateserial -days 30 -out "$1.crt" -extfile "$1.ext" 2>/dev/null
}
names=DNS:localhost,DNS:kubernetes.default.svc
for address; do names=$names,IP:$address; done
key authority
openssl req -x509 -new -key authority.key -subj /CN=mooring-tests -days 30 -out authority.crt
sign server /CN=kube-apiserver "subjectAltName=$names"
sign administrator /O=system:masters/CN=administrator extendedKeyUsage=clientAuth
key accounts
