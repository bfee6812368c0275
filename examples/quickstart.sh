#!/usr/bin/env bash
# From a fresh Debian or Ubuntu machine with Rust to a deployed application: builds o3r-deploy, starts a test twin
# (a container that behaves like a VPU), and deploys examples/hello to it. Needs root or sudo.
#
#   examples/quickstart.sh           cleans up after itself
#   examples/quickstart.sh --keep    leaves the twin and the files, to play with; files of an earlier --keep are
#                                    moved aside, and its twin is replaced
#   O3R_DEPLOY=FILE, a program that is built already, is used in place of building one
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# There while an engine runs that twin.sh started.
engine_pid=${O3R_TWIN_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/o3r-deploy-twin}/dockerd.pid
twin() { "$project/tests/twin/twin.sh" "$@"; }

keep=
case ${1:-} in
    '') ;;
    --keep) keep=yes ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit ;;
    *) echo "quickstart: unknown option '$1'; there is only --keep" >&2; exit 2 ;;
esac

# What --keep left is the user's own.
if [ -n "$keep" ]; then
    name=quickstart
    work=${XDG_CACHE_HOME:-$HOME/.cache}/o3r-deploy-quickstart
else
    name=quickstart-once
    work=$(mktemp -d)
fi

start=$SECONDS
say() { printf '\n── %s (%d s)\n' "$*" $((SECONDS - start)); }
die() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }
# What a real VPU needs in place of what is shown.
aside() { printf '   %s\n' "$@"; }

# run COMMAND...: shows a command, then what it says; one that fails ends the quickstart.
run() {
    printf '\n$ %s\n' "$*"
    "$@" 2>&1 || die "that failed with exit code $?; $work has the manifest"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# install PACKAGE...: shows apt's words only where it fails.
install() {
    command -v apt-get >/dev/null || die "missing, and there is no apt-get to install them with: $*"
    say "installing $*"
    local log
    log=$(mktemp)
    {
        as_root apt-get update -q &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
    } >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "apt-get failed, see $log"; }
    rm "$log"
}

ended=
cleanup() {
    local code=$?
    trap - EXIT
    if [ -n "$keep" ] && [ -n "$ended" ]; then exit $code; fi
    if [ -n "$twin_is_ours" ]; then twin down "$name" || true; fi
    # One that others started before or use now stays.
    if [ -n "$engine_is_ours" ] && [ -e "$engine_pid" ]; then twin engine-stop || true; fi
    [ -n "$keep" ] || [ "$code" != 0 ] || rm -rf "$work"
    exit $code
}
twin_is_ours=
engine_is_ours=
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

PATH=$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin
[ -n "${O3R_DEPLOY:-}" ] || command -v cargo >/dev/null || die "Rust is missing; https://rustup.rs installs it"
[ "$(id -u)" = 0 ] || command -v sudo >/dev/null || die "root or sudo is needed to install packages and to run docker"
packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
command -v ssh >/dev/null || packages+=(openssh-client)
[ ${#packages[@]} = 0 ] || install "${packages[@]}"

if [ -z "${O3R_DEPLOY:-}" ]; then
    say "building o3r-deploy: the first time, cargo compiles all crates, which takes some minutes"
    cargo build --locked --manifest-path "$project/Cargo.toml"
    O3R_DEPLOY=${CARGO_TARGET_DIR:-$project/target}/debug/o3r-deploy
fi
PATH=$(cd "$(dirname "$O3R_DEPLOY")" && pwd):$PATH

if [ -n "$keep" ] && [ -e "$work" ]; then
    earlier=$work.$(date +%Y%m%dT%H%M%S)
    mv "$work" "$earlier"
    aside "" "the files of an earlier --keep are in $earlier now"
fi
mkdir -p "$work"
say "starting a twin, the stand-in for a VPU (the first time, its image is built: a few minutes)"
[ -e "/proc/$(cat "$engine_pid" 2>/dev/null)/comm" ] || engine_is_ours=yes
twin engine
twin build fw1.4.30
twin down "$name" 2>/dev/null || true    # one that an earlier run left
twin_is_ours=yes
twin up "$name" >"$work/twin.env"

say "building the image of examples/hello, and a manifest for the twin"
"$project/examples/hello/for-twin.sh" "$name" "$work"
cd "$work"
run head -n 8 deploy.toml
aside "for a real VPU:" \
    "  host      its address; a VPU leaves the factory as 192.168.0.69" \
    "  identity  your key, if ssh does not find it; it must be authorised on the VPU" \
    "  host_key  the first plan shows the line to add" \
    "  serial    optional: rejects any other VPU" \
    "  arch      \"arm64\"; build the image for it: examples/hello/build.sh arm64"

say "deploying"
run o3r-deploy check
run o3r-deploy plan
run o3r-deploy apply --yes
aside "" "the plan is empty now: --exit-code would exit with 2 if anything were left to do"
run o3r-deploy plan --exit-code

variables=$(twin env "$name")
eval "$variables"
vpu() { ssh -F none -i "$KEY" -o "UserKnownHostsFile=$KNOWN_HOSTS" "oem@$ADDRESS" "$@" </dev/null; }
printf '\n$ ssh oem@%s docker exec hello_web_1 wget -qO- localhost:8000\n' "$ADDRESS"
greeting=$(vpu docker exec hello_web_1 wget -qO- localhost:8000) || die "the application does not answer"
echo "$greeting"

ended=yes
if [ -n "$keep" ]; then
    say "done; the twin and the files stay"
    aside "cd $work   # change app.env, and plan again; ./build.sh builds the image" \
        "export PATH=${PATH%%:*}:\$PATH" \
        "$project/tests/twin/twin.sh ssh $name docker ps" \
        "$project/tests/twin/twin.sh down $name"
else
    say "done; the twin and the files are removed: --keep leaves them to play with"
    aside "docs/getting-started.md goes from an application of yours to a release that fails"
fi
