#!/bin/sh
# Makes sure that debian:bookworm-slim, the base of the images here, or that of another suite, exists on this Docker engine:
# base-image.sh [suite]
# already there, else pulled, else bootstrapped from the Debian archive (for machines that reach no registry).
set -eu

suite=${1:-bookworm}
image=debian:$suite-slim

say() { echo "base-image: $*" >&2; }
die() { say "$*"; exit 1; }

command -v docker >/dev/null || die "docker is not installed"
docker version >/dev/null 2>&1 || die "the Docker engine does not answer"

# Several builds may want it at a time; it is made once.
exec 9>"${TMPDIR:-/tmp}/certferry-base-$suite-$(id -u).lock"
flock -w 900 9 || die "somebody else has been making $image for a quarter of an hour"
if docker image inspect "$image" >/dev/null 2>&1; then
    exit 0
fi
if timeout "${PULL_SECONDS:-60}" docker pull --quiet "$image" >/dev/null 2>&1; then
    say "pulled $image"
    exit 0
fi

missing="$image cannot be pulled; to build it here, install mmdebstrap and run this as root"
[ "$(id -u)" -eq 0 ] || die "$missing"
if ! command -v mmdebstrap >/dev/null; then
    command -v apt-get >/dev/null || die "$missing"
    say "installing mmdebstrap"
    flock -w 900 /var/lock/certferry-apt sh -c '
        command -v mmdebstrap || { apt-get update -qq && apt-get install -y -qq --no-install-recommends mmdebstrap; }
    ' >/dev/null 2>&1 || die "$missing"
fi

say "$image cannot be pulled; bootstrapping it"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# The release with its updates and security fixes, which mmdebstrap adds where no mirror is named. As in the official image: no documentation, now or later
# ("slim"), no waiting for the disk after each file, no service that starts while a package is installed in a build.
mmdebstrap --quiet --mode=root --variant=minbase --hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --aptopt='Acquire::Languages "none"' \
    --aptopt='DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; }' \
    --aptopt='Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache ""' \
    --customize-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"; chmod +x "$1/usr/sbin/policy-rc.d"' \
    --customize-hook='rm -f "$1/etc/machine-id" "$1/etc/resolv.conf" "$1/etc/hostname"' \
    "$suite" "$work/root.tar" >"$work/log" 2>&1 || {
    tail -n 5 "$work/log" >&2
    die "mmdebstrap failed"
}
docker import --change 'CMD ["bash"]' --message "mmdebstrap $suite minbase" "$work/root.tar" "$image" >/dev/null
say "built $image"
