#!/bin/bash
# Builds certferry's image, also where no registry can be reached (base-image.sh) and behind an intercepting proxy.
# IMAGE         name of the result (certferry:latest)
# EXTRA_CA_DIR  folder with *.crt that pip must trust during the build (the local authorities of Debian)
# VERSION, REVISION  for the labels (from pyproject.toml and git)
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
image=${IMAGE:-certferry:latest}
extra_ca_dir=${EXTRA_CA_DIR:-/usr/local/share/ca-certificates}
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$top/pyproject.toml" | head -n 1)}
revision=${REVISION:-$(git -C "$top" rev-parse HEAD 2>/dev/null || echo unknown)}

"$top/deploy/base-image.sh"

# The Dockerfile needs nothing of BuildKit; without buildx the client would refuse to use it.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0

# A context of its own, so that the authorities never lie in the repository.
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cd "$top"
for path in .dockerignore pyproject.toml README.md LICENSE controller sources sinks deploy/Dockerfile deploy/ca-certificates; do
    [[ -e $path ]] || { echo "build-image: $path is missing" >&2; exit 1; }
    cp -R --parents "$path" "$context/"
done
[[ ! -e constraints.txt ]] || cp constraints.txt "$context/"
find "$extra_ca_dir" -name '*.crt' -exec cp {} "$context/deploy/ca-certificates/" \; 2>/dev/null || true

docker build "$@" --file "$context/deploy/Dockerfile" --tag "$image" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" "$context"
echo "build-image: $image is ready (certferry $version, ${revision:0:12})"
