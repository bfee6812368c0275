#!/usr/bin/env bash
# Measures how images get to a test twin, with this tool and by hand, over links of several speeds, and prints a table
# in Markdown. Needs docker (see tests/twin/README.md) and python3; half an hour for all.
#
#   benches/transfer.sh [RUNS [LINKS [CASES]]]      default: 3 "0 100 10" "first top nothing"
#
# LINKS: Mbit/s each way, 0 for no limit. CASES: first (the whole image), top (the application's layer changed),
# deps (one file in the layer of dependencies changed), nothing (the same release again).
# The image: Debian and Python as this machine has it, about 450 MB, in four layers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
runs=${1:-3}
links=${2:-0 100 10}
cases=${3:-first top nothing}
twin=transfer-$$
export O3R_TWIN_STATE=${O3R_TWIN_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/o3r-deploy-bench}

cargo build --release --locked --quiet
tool=$PWD/target/release/o3r-deploy
work=$(mktemp -d)
link=
clean() {
    [ -z "$link" ] || kill "$link" 2>/dev/null || true
    "$root/tests/twin/twin.sh" down "$twin" >&2 || true
    for version in 1 2 3; do docker image rm -f "bench-$$:$version" >/dev/null 2>&1 || true; done
    "$root/tests/twin/twin.sh" engine-stop >&2 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT
tests/twin/twin.sh engine >&2
eval "$(tests/twin/twin.sh up "$twin")"
export XDG_CACHE_HOME=$work/cache HOME=$work/home
mkdir -p "$HOME" "$work/cache"

# --- the image: base, Python, dependencies, application -------------------------------------------

echo "building the images" >&2
context=$work/context
mkdir -p "$context/python" "$context/deps" "$context/app"
library=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["stdlib"])')
tar -C "$library" --exclude=__pycache__ --exclude=site-packages --exclude=test -c . | head -c 120000000 | tar -C "$context/python" -x 2>/dev/null || true
# Programs and libraries of this machine, up to 200 MB, as dependencies are.
find /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/bin -xdev -type f -size -20000k 2>/dev/null | sort |
    while read -r file; do
        size=$(stat -c %s "$file")
        total=$((${total:-0} + size))
        [ "$total" -lt 200000000 ] || break
        cp --parents "$file" "$context/deps/"
    done || true    # the list ends in the middle
head -c 8000000 /dev/urandom | base64 >"$context/app/model"
build() {
    printf 'FROM o3r-twin-base:bookworm\nCOPY python /opt/python\nCOPY deps /opt/deps\nCOPY app /opt/app\n' |
        DOCKER_BUILDKIT=0 docker build -q -t "bench-$$:$1" -f - "$context" >/dev/null
    docker save "bench-$$:$1" -o "$work/$1.tar"
}
build 1
echo 'print("two")' >"$context/app/main.py"
build 2
one=$(find "$context/deps" -type f -name '*.so*' -size +100k | sort | head -n 1)
echo changed >>"$one"
build 3
echo "the image has $(($(stat -c %s "$work/1.tar") / 1000000)) MB" >&2

manifest() { # PORT VERSION
    mkdir -p "$work/site"
    cat >"$work/site/deploy.toml" <<TOML
[vpu]
host = "127.0.0.1"
port = $1
identity = "$KEY"
host_key = "$HOST_KEY"
arch = "$(docker version --format '{{.Server.Arch}}')"
[release]
name = "bench"
[[images]]
name = "bench:1"
archive = "$work/$2.tar"
TOML
}

# --- the ways -------------------------------------------------------------------------------------

port=
ssh_=(ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o "UserKnownHostsFile=$work/known_hosts" -i "$KEY" -l oem)
on_twin() { "$root/tests/twin/twin.sh" ssh "$twin" "$@"; }
forget() { on_twin 'docker image ls -aq | sort -u | xargs -r docker image rm -f >/dev/null 2>&1; rm -rf ~/.o3r-deploy ~/image.tar'; }

ours() { manifest "$port" "$1"; "$tool" -q -f "$work/site/deploy.toml" apply --yes; }
advice() { docker save "bench-$$:$1" | "${ssh_[@]}" -C -p "$port" 127.0.0.1 docker load; }
plain() { docker save "bench-$$:$1" | "${ssh_[@]}" -p "$port" 127.0.0.1 docker load; }
gzip1() { docker save "bench-$$:$1" | gzip -1 | "${ssh_[@]}" -p "$port" 127.0.0.1 docker load; }
copy() { "${ssh_[@]}" -p "$port" 127.0.0.1 'cat >image.tar' <"$work/$1.tar"; "${ssh_[@]}" -p "$port" 127.0.0.1 'docker load -i image.tar; rm image.tar'; }
# The limit: what is compressed already over the link, and docker's own work on a file that is there.
limit() {
    local start=$EPOCHREALTIME bytes=${sent[ours]:-0} rate=$3
    on_twin 'docker load -i /var/tmp/limit.tar' >/dev/null
    awk "BEGIN { print $EPOCHREALTIME - $start + ($rate ? $bytes * 8 / ($rate * 1000000) : 0) }"
}

# before CASE: makes the twin what it is before; gives the version to send.
before() {
    case $1 in
        first) forget; echo 1 ;;
        top) forget; on_twin docker load -q <"$work/1.tar" >/dev/null; echo 2 ;;
        deps) forget; on_twin docker load -q <"$work/1.tar" >/dev/null; echo 3 ;;
        nothing) forget; on_twin docker load -q <"$work/1.tar" >/dev/null; echo 1 ;;
    esac
}

median() { printf '%s\n' "$@" | sort -g | sed -n "$((($# + 1) / 2))p"; }

declare -A sent
printf '| link | case | way | s (median of %s) | MB sent | against ours |\n|---|---|---|---|---|---|\n' "$runs"
for rate in $links; do
    "$root/benches/link.py" "$ADDRESS" 22 $((rate * 1000000)) "$work/bytes" >"$work/port" &
    link=$!
    until [ -s "$work/port" ]; do sleep 0.1; done
    port=$(cat "$work/port")
    echo "[127.0.0.1]:$port $(cut -d' ' -f2- "$KNOWN_HOSTS")" >"$work/known_hosts"
    for case in $cases; do
        declare -A times=()
        ways="ours-cold ours advice plain gzip1 copy"
        for ((run = 0; run < runs; run++)); do
            for way in $ways; do
                # At 10 Mbit/s the uncompressed ways take minutes and teach nothing.
                if [ "$rate" = 10 ] && { [ "$way" = plain ] || [ "$way" = copy ]; } && [ "$run" -gt 0 ]; then continue; fi
                version=$(before "$case")
                [ "$way" != ours-cold ] || rm -rf "$XDG_CACHE_HOME/o3r-deploy"
                kill -USR1 "$link"; sleep 0.2
                start=$EPOCHREALTIME
                "${way%-cold}" "$version" >"$work/out" 2>&1 || { cat "$work/out" >&2; exit 1; }
                times[$way]+="$(awk "BEGIN { print $EPOCHREALTIME - $start }") "
                kill -USR1 "$link"; sleep 0.2
                sent[$way]=$(cut -d' ' -f1 "$work/bytes")
            done
        done
        # shellcheck disable=SC2086 # words
        mine=$(median ${times[ours]})
        for way in $ways; do
            # shellcheck disable=SC2086
            took=$(median ${times[$way]})
            awk -v link="${rate/#0*/no limit}" -v case_="$case" -v way="$way" -v took="$took" -v bytes="${sent[$way]}" -v mine="$mine" \
                'BEGIN { printf "| %s | %s | %s | %.2f | %.2f | %.2fx |\n", link, case_, way, took, bytes / 1e6, took / mine }'
        done
    done
    kill "$link"
    link=
done
