#!/bin/bash
# build.sh FOLDER VERSION PROGRAM...: a real Kubernetes API server (v1.20.2) out of Debian's own source package.
#
# No registry that the tests may use has a built one. Reaches only the Debian mirror that apt is set up for, and leaves
# /etc/apt as it is. `cargo xtask test` calls it, once for a machine; takes about 4 minutes for a program.
set -euo pipefail
folder=$1 version=$2; shift 2
jobs=${JOBS:-2}
origin=kubernetes_1.20.5+really1.20.2.orig.tar.gz
sum=b83c0780efb182d928dc63d46488a847f161f04e40a94b96bf5247dd671ecdfc
mirror=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

# 1. The source package, by a private root of apt that has "deb-src" for the same mirror and suite.
mkdir -p "$work"/apt/{lists/partial,cache/archives/partial}
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" > "$work/apt/sources.list"
apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root)
"${apt[@]}" update
(cd "$work" && "${apt[@]}" source --download-only "kubernetes=$version")
echo "$sum  $work/$origin" | sha256sum -c --quiet

# 2. Unpacked without Debian's patches, which touch kubectl only. Its reflect2 1.0.1 crashes when Go 1.18 or later
# builds it; Debian's is newer.
source=$work/gopath/src/k8s.io/kubernetes
mkdir -p "$source"
tar -xzf "$work/$origin" --strip-components=1 -C "$source"
rm -rf "$source/vendor/github.com/modern-go/reflect2"
cp -rL /usr/share/gocode/src/github.com/modern-go/reflect2 "$source/vendor/github.com/modern-go/reflect2"

# 3. The one generated file that the tarball lacks.
export GOPATH=$work/gopath GO111MODULE=off CGO_ENABLED=0 GOFLAGS='' GOPROXY=off GOCACHE=$work/gocache
cd "$source"
go build -p "$jobs" -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
packages=$(grep -rlE '\+k8s:openapi-gen=' --include=*.go staging/src/k8s.io pkg cmd \
  | grep -vE 'code-generator/|sample-apiserver/|/testdata/|zz_generated|kube-openapi' \
  | xargs -n1 dirname | LC_ALL=C sort -u | sed 's#^staging/src/#vendor/#; s#^#k8s.io/kubernetes/#' | paste -sd,)
"$work/openapi-gen" --logtostderr -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi \
  -O zz_generated.openapi -h hack/boilerplate/boilerplate.generatego.txt -r /dev/null

# 4. The programs.
vendor=k8s.io/kubernetes/vendor/k8s.io
flags="-s -w"
for package in component-base/version client-go/pkg/version; do
  flags+=" -X $vendor/$package.gitVersion=v1.20.2 -X $vendor/$package.gitMajor=1 -X $vendor/$package.gitMinor=20"
done
for program; do
  go build -p "$jobs" -trimpath -tags 'providerless dockerless' -ldflags "$flags" -o "$folder/$program" "./cmd/$program"
done
