#!/bin/sh
# Makes dist/hello.tar: the file system of a tiny image, from a static busybox and hello.sh. Needs no docker.
#
#   ./build.sh [ARCH] [FILE]     ARCH: arm64 (every VPU, the default) or amd64 (a twin on a PC)
#
# The busybox is this machine's where it fits, else that of Debian's or Ubuntu's package, downloaded without
# touching the machine's own packages. The same busybox gives the same file, byte for byte.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
arch=${1:-arm64}
file=${2:-$here/dist/hello.tar}

fail() {
    echo "build.sh: $*" >&2
    exit 1
}

# 183 and 62 are the processors in the header of a program: AArch64 and x86-64.
case $arch in
    arm64) machine=183 ;;
    amd64) machine=62 ;;
    *) fail "the architecture is arm64 or amd64, not '$arch'" ;;
esac

# Whether a program is for the wanted processor and needs no library.
fits() {
    [ -f "$1" ] && [ "$(od -An -j18 -N1 -tu1 "$1" | tr -d ' ')" = "$machine" ] && ! grep -q '/ld-\(linux\|musl\)' "$1"
}

# apt with lists of its own, for one architecture.
private_apt() {
    apt-get -qq -o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o "Dir::State=$scratch" \
        -o "Dir::State::status=$scratch/status" -o "Dir::Cache=$scratch" -o APT::Sandbox::User= "$@"
}

download() {
    command -v apt-get >/dev/null || fail "no static busybox for $arch is here, and no apt-get to download one with"
    echo "downloading busybox-static for $arch" >&2
    mkdir -p "$scratch/lists/partial" "$scratch/archives/partial"
    : >"$scratch/status"
    (cd "$scratch" && private_apt update && private_apt download busybox-static && dpkg-deb -x ./*.deb package) >&2 ||
        fail "busybox-static for $arch cannot be downloaded; Ubuntu has arm64 only on ports.ubuntu.com: build this on Debian or on an arm64 machine"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root=$scratch/root
mkdir -p "$root/bin" "$root/etc" "$root/tmp"

for busybox in /bin/busybox "$scratch/package/bin/busybox" "$scratch/package/usr/bin/busybox" ''; do
    [ "$busybox" != "$scratch/package/bin/busybox" ] || download
    ! fits "$busybox" || break
done
[ -n "$busybox" ] || fail "the downloaded busybox is not a static program for $arch"

# There is no /share: where an image has the directory that an empty volume is mounted on, docker gives the volume's
# directory on the VPU that one's owner and mode, and root's is out of oem's reach.
cp "$busybox" "$root/bin/busybox"
cp "$here/hello.sh" "$root/bin/hello"
for applet in sh httpd mkdir tee cat ls wget sleep; do
    ln -s busybox "$root/bin/$applet"
done
echo root:x:0:0:root:/:/bin/sh >"$root/etc/passwd"
chmod -R u=rwX,go=rX "$root"
chmod 755 "$root/bin/busybox" "$root/bin/hello"
chmod 1777 "$root/tmp"

mkdir -p "$(dirname "$file")"
tar -C "$root" --format=gnu --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$file.part" .
mv "$file.part" "$file"
echo "$file: $(du -h "$file" | cut -f1), $arch" >&2
