#!/bin/bash
# Builds the images of the tests and of the demonstration (default: all), several at a time; what has not changed is left:
# build.sh [certferry|mail|mail24|acme|producers|stores|consul|bolt|noshell|plain]...
# EXTRA_CA_DIR: folder with *.crt that pip must trust during the build (default: the local authorities of Debian).
# IMAGES_AT_ONCE: how many (3).
set -eumo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
extra_ca_dir=${EXTRA_CA_DIR:-/usr/local/share/ca-certificates}
made_of=org.certferry.image.made-of
declare -A tags=(
    [certferry]=certferry-test/certferry:latest
    [mail]=certferry-test/docker-mailserver:15.1.0
    [mail24]=certferry-test/docker-mailserver:16.0.0
    [acme]=certferry-test/acme:latest
    [producers]=certferry-test/producers:latest
    [bolt]=certferry-test/bolt:latest
    [noshell]=certferry-test/noshell:latest
    [plain]=certferry-test/plain:latest
    [stores]=certferry-test/stores:latest
    [consul]=certferry-test/consul:latest
)
# First what the others share a layer with; then the longest.
[[ $# -gt 0 ]] || set -- plain bolt stores certferry consul mail24 mail acme producers noshell
for name; do
    [[ -n ${tags[$name]:-} ]] || { echo "build: no image is called $name; there are: ${!tags[*]}" >&2; exit 2; }
done

# The Dockerfiles need nothing of BuildKit; without buildx the client would refuse to use it.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0

work=$(mktemp -d)
end() { exec 2>/dev/null; for job in $(jobs -p); do kill -- "-$job"; done; rm -rf "$work"; }
trap end EXIT
trap 'exit 130' INT TERM
# Several test runs may want them at a time; they are made once.
exec 9>"${TMPDIR:-/tmp}/certferry-test-images-$(id -u).lock"
flock -w 1200 9 || { echo "build: somebody else has been building the images for twenty minutes" >&2; exit 1; }

contents_of() { # IMAGE: everything it is made of, as one number
    local base
    base=$(sed -n 's/^FROM \(debian:[^ ]*\).*/\1/p' "$work/$1/Dockerfile" | sort -u)
    { (cd "$work/$1" && find . -type f -printf '%m %p\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum)
      docker image inspect --format '{{.Id}}' "$base"; } | sha256sum | cut -d' ' -f1
}

like_mail() { # As mail, with what is otherwise in Debian 13: Dovecot 2.4 and Postfix 3.10.
    cp -R "$here/mail" "$work/mail24" && cp -R "$here/mail24/." "$work/mail24/" &&
        sed -i 's/bookworm-slim/trixie-slim/; s/v15\.1\.0/v16.0.0/' "$work/mail24/Dockerfile"
}

make_image() { # IMAGE: build it, unless it is there as it should be
    local contents
    if [[ $1 = certferry ]]; then
        IMAGE=${tags[certferry]} "$here/../../deploy/build-image.sh"
        return
    fi
    # Debian 11 is the last with Consul.
    [[ $1 != consul ]] || "$here/../../deploy/base-image.sh" bullseye || return
    if [[ $1 = mail24 ]]; then
        "$here/../../deploy/base-image.sh" trixie && like_mail || return
    else
        cp -R "$here/$1" "$work/" || return
    fi
    if [[ -d $work/$1/ca-certificates ]]; then
        find "$extra_ca_dir" -name '*.crt' -exec cp {} "$work/$1/ca-certificates/" \; 2>/dev/null || true
    fi
    contents=$(contents_of "$1") || return
    if [[ $(docker image inspect --format "{{index .Config.Labels \"$made_of\"}}" "${tags[$1]}" 2>&1) != "$contents" ]]; then
        docker build --label org.certferry.image=test --label "$made_of=$contents" --tag "${tags[$1]}" "$work/$1"
    fi
}

run() { # IMAGE: make it, and say so, or why not
    local started=$SECONDS
    if make_image "$1" >"$work/$1.log" 2>&1; then
        echo "build: ${tags[$1]} ready after $((SECONDS - started)) s"
    else
        tail -n 30 "$work/$1.log" >&2
        echo "build: $1 failed" >&2
        return 1
    fi
}

"$here/../../deploy/base-image.sh" & wait $!
if [[ $1 = plain ]]; then
    shift
    run plain & wait $!
fi
running=0
for name; do
    if [[ $running -ge ${IMAGES_AT_ONCE:-3} ]]; then
        wait -n
        running=$((running - 1))
    fi
    run "$name" &
    running=$((running + 1))
done
while [[ $running -gt 0 ]]; do
    wait -n
    running=$((running - 1))
done
