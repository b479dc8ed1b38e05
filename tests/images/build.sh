#!/bin/bash
# Builds the images of the tests and of the demonstration (default: all):
# build.sh [mail|acme|producers|stores|consul|bolt|noshell|plain]...
# EXTRA_CA_DIR: folder with *.crt that pip must trust during the build (default: the local authorities of Debian).
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
extra_ca_dir=${EXTRA_CA_DIR:-/usr/local/share/ca-certificates}
declare -A tags=(
    [mail]=certferry-test/docker-mailserver:15.1.0
    [acme]=certferry-test/acme:latest
    [producers]=certferry-test/producers:latest
    [bolt]=certferry-test/bolt:latest
    [noshell]=certferry-test/noshell:latest
    [plain]=certferry-test/plain:latest
    [stores]=certferry-test/stores:latest
    [consul]=certferry-test/consul:latest
)
[[ $# -gt 0 ]] || set -- plain mail noshell acme producers stores consul bolt
for name; do
    [[ -n ${tags[$name]:-} ]] || { echo "build: no image is called $name; there are: ${!tags[*]}" >&2; exit 2; }
done

# The Dockerfiles need nothing of BuildKit; without buildx the client would refuse to use it.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$here/../../deploy/base-image.sh"
# Debian 11 is the last with Consul.
case " $* " in *" consul "*) "$here/../../deploy/base-image.sh" bullseye ;; esac

for name; do
    started=$SECONDS
    cp -R "$here/$name" "$work/"
    if [[ -d $work/$name/ca-certificates ]]; then
        find "$extra_ca_dir" -name '*.crt' -exec cp {} "$work/$name/ca-certificates/" \; 2>/dev/null || true
    fi
    if ! docker build --label org.certferry.image=test --tag "${tags[$name]}" "$work/$name" >"$work/log" 2>&1; then
        tail -n 30 "$work/log" >&2
        echo "build: $name failed" >&2
        exit 1
    fi
    echo "build: ${tags[$name]} ready after $((SECONDS - started)) s"
done
