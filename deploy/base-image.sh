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

if docker image inspect "$image" >/dev/null 2>&1; then
    exit 0
fi
if timeout "${PULL_SECONDS:-60}" docker pull --quiet "$image" >/dev/null 2>&1; then
    say "pulled $image"
    exit 0
fi

missing="$image cannot be pulled; to build it here, install debootstrap and run this as root"
[ "$(id -u)" -eq 0 ] || die "$missing"
if ! command -v debootstrap >/dev/null; then
    command -v apt-get >/dev/null || die "$missing"
    say "installing debootstrap"
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap; } >/dev/null 2>&1 || die "$missing"
fi

say "$image cannot be pulled; bootstrapping it"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
trap 'exit 130' INT TERM

debootstrap --variant=minbase "$suite" "$root/fs" >"$root/log" 2>&1 || {
    tail -n 5 "$root/log" >&2
    die "debootstrap failed"
}

# debootstrap enables the release only: add its updates and security fixes, from the same mirror.
mirror=$(awk '$1 == "deb" { print $2; exit }' "$root/fs/etc/apt/sources.list")
{
    echo "deb $mirror $suite main"
    echo "deb $mirror $suite-updates main"
    echo "deb ${mirror%/}-security $suite-security main"
} >"$root/fs/etc/apt/sources.list"

# What makes the official image "slim": no documentation, now or later, and no downloaded packages kept.
{
    echo "path-exclude /usr/share/doc/*"
    echo "path-include /usr/share/doc/*/copyright"
    echo "path-exclude /usr/share/man/*"
    echo "path-exclude /usr/share/info/*"
    echo "path-exclude /usr/share/locale/*"
} >"$root/fs/etc/dpkg/dpkg.cfg.d/slim"
{
    echo 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };'
    echo 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";'
    echo 'Acquire::Languages "none";'
} >"$root/fs/etc/apt/apt.conf.d/slim"
# No service may start while a package is installed in an image build.
printf '#!/bin/sh\nexit 101\n' >"$root/fs/usr/sbin/policy-rc.d"
chmod +x "$root/fs/usr/sbin/policy-rc.d"
chroot "$root/fs" sh -c 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get -y upgrade' >>"$root/log" 2>&1 ||
    say "the security updates could not be added"

find "$root/fs/usr/share/doc" -type f ! -name copyright -delete
rm -rf "$root/fs/var/lib/apt/lists/"* "$root/fs/var/cache/apt/"* "$root/fs/var/log/"*.log "$root/fs/var/log/apt" \
    "$root/fs/usr/share/man/"* "$root/fs/usr/share/info/"* "$root/fs/usr/share/locale/"* \
    "$root/fs/etc/machine-id" "$root/fs/etc/resolv.conf" "$root/fs/etc/hostname"

tar --numeric-owner --directory "$root/fs" --create . |
    docker import --change 'CMD ["bash"]' --message "debootstrap $suite minbase" - "$image" >/dev/null
say "built $image"
