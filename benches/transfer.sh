#!/usr/bin/env bash
# Measures how images get to a test twin, with this tool and by hand, over links of several speeds; prints a table in
# Markdown, a section for each link, and keeps it in benches/RESULTS.md, beside the sections of links that were not measured now.
#
#   benches/transfer.sh [RUNS [LINKS [CASES [WAYS]]]]     default: 3 "0 100 10", and all of the others
#   benches/transfer.sh --check       every case and way once with a tiny image: whether this works; a minute or two
#
# LINKS  Mbit/s each way, 0 for no limit: what link.py and this machine carry
# CASES  first     the VPU has no image
#        top       it has the last release; a tenth of the application's files changed
#        deps      ... one file in the layer of dependencies changed, a library
#        base      ... the base changed, and what is above was built again: the same files with new times
#        nothing   it has this release
#        robots    first, on ten robots one after the other: one twin, whose images are forgotten between
# WAYS   ours      apply of an engine's image, the layers in the cache; ours-cold: with an empty cache
#        advice    docker save | ssh -C docker load, as ifm advises; plain: without -C; zstd: through zstd on both sides
#        scp       the old tool: scp of a tar that is there, docker load -i
#        rsync     rsync -z of that tar onto the last release's, docker load -i
#        registry  docker push to a registry on the VPU through ssh, docker pull there: docker-pussh
#        other     apply of OTHER=PROGRAM, for example of an earlier version, with its own warm cache, in turn with ours
#        limit     what changed, compressed, over the link, and docker load of a local file that holds only the missing layers
# O3R_DEPLOY=PROGRAM measures that program instead of building one. LONG=SECONDS (60): a way by hand that takes longer is run only once
# in a case, and robots that no longer fit into twice that are counted up from those before. SOURCE=archive: ours reads the tar instead
# of the engine.
#
# Needs docker (tests/twin/README.md), python3, rsync and zstd, 4 GB in $TMPDIR and 4 GB in docker's directory. On two cores it takes
# a minute to set up, and then for one run of all ways, in seconds:
#   link        first   top  deps  base  nothing    robots
#   no limit      125    55    85   110       45     1,000
#   100 Mbit/s    260   140   190   260      130     1,000
#   10 Mbit/s   1,800 1,250 1,450 1,700    1,200     2,000
# (10 Mbit/s and robots: reckoned.) On 10 Mbit/s all later runs together take as long as the first one's ours.
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }
die() { echo "transfer.sh: $*" >&2; exit 1; }
all_cases="first top deps base nothing robots"
all_ways="ours ours-cold ${OTHER:+other }advice plain zstd scp rsync registry limit"
tiny=() results=benches/RESULTS.md robots=10 long=${LONG:-60} source=${SOURCE:-engine}
called_with="$*"
for word in "$@"; do [[ $word != *\ * ]] || called_with="${*@Q}"; done
case ${1:-} in
    -h | --help) usage; exit ;;
    --check)
        [ $# = 1 ] || { usage >&2; exit 2; }
        set -- 1 100
        tiny=(--tiny) results='' robots=2
        ;;
esac
runs=${1:-3}
links=${2:-0 100 10}
cases=${3:-$all_cases}
ways=${4:-$all_ways}
[[ $# -le 4 && $runs =~ ^[1-9][0-9]*$ && $links =~ ^[0-9\ ]+$ && $source =~ ^(engine|archive)$ ]] || { usage >&2; exit 2; }
for word in $cases; do [[ " $all_cases " = *" $word "* ]] || die "there is no case '$word': $all_cases"; done
for word in $ways; do [[ " $all_ways " = *" $word "* ]] || die "there is no way '$word': $all_ways"; done
has_way() { [[ " $ways " = *" $1 "* ]]; }
# RESULTS.md is of one program.
! has_way other || results=
for program in python3 rsync zstd ssh scp; do
    command -v "$program" >/dev/null || die "$program is needed"
done

# shellcheck source=benches/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
say() { echo "transfer.sh: $*" >&2; }
export DOCKER_CONFIG=${DOCKER_CONFIG:-$HOME/.docker}
export TOOL=$tool WORK=$work IMAGE=bench-$$ KEY PORT FORWARD XDG_CACHE_HOME=$work/cache HOME=$work/home
mkdir -p "$HOME" "$XDG_CACHE_HOME"
on_twin() { "$root/tests/twin/twin.sh" root "$twin" "$@"; }
free_port() { python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'; }

# --- the link -------------------------------------------------------------------------------------

# The twin's own address, where it can be reached, saves a proxy of docker's between the link and sshd.
# shellcheck disable=SC2016 # python's
sshd=$(on_twin python3 -c 'import socket; s = socket.socket(2, 2); s.connect(("192.0.2.1", 9)); print(s.getsockname()[0])')
timeout 2 bash -c "</dev/tcp/$sshd/22" 2>/dev/null || sshd=$ADDRESS

link=
unlink() {
    [ -z "$link" ] || kill "$link" 2>/dev/null || true
    link=
}
at_exit unlink
# link_up MBIT: from now on the twin is at PORT, over such a link.
link_up() {
    unlink
    rm -f "$work/port"
    benches/link.py "$sshd" 22 "$(($1 * 1000000))" "$work/counts" >"$work/port" &
    link=$!
    until [ -s "$work/port" ]; do sleep 0.05; done
    PORT=$(cat "$work/port")
    echo "[127.0.0.1]:$PORT $(cut -d' ' -f2- "$KNOWN_HOSTS")" >"$work/known_hosts"
    local version
    for version in $versions; do
        { vpu_table 127.0.0.1 "$PORT"; printf '[release]\nname = "bench"\n[[images]]\nname = "bench:%s"\n' "$version"; } >"$work/$version.toml"
        case $source in
            engine) echo "engine = \"$IMAGE:$version\"" ;;
            archive) echo "archive = \"$work/$version.tar\"" ;;
        esac >>"$work/$version.toml"
    done
}

# --- the image ------------------------------------------------------------------------------------

# The release that a case sends.
version_of() {
    case $1 in
        first | nothing | robots) echo 1 ;;
        top) echo 2 ;;
        deps) echo 3 ;;
        base) echo 4 ;;
    esac
}
versions=$({ echo 1; for case in $cases; do version_of "$case"; done; } | sort -u | xargs)

forget_images() {
    local names
    names=$(docker image ls --format '{{.Repository}}:{{.Tag}}' | grep -E "^($IMAGE|127\.0\.0\.1:$FORWARD/bench):") || return 0
    # shellcheck disable=SC2086 # names are words
    docker image rm -f $names >/dev/null
}
FORWARD=$(free_port)
at_exit forget_images

say "making the image"
if [ "${tiny[*]}" ]; then
    on_twin cat /bin/busybox >"$work/base"
else
    container=$(docker create o3r-twin-base:bookworm true)
    docker export "$container" >"$work/base"
    docker rm "$container" >/dev/null
fi
# shellcheck disable=SC2086 # versions are words
{ read -r layers; read -r changed; } < <(benches/image.py "${tiny[@]}" "$work" "$IMAGE" "$work/base" $versions)
[ "$changed" ] || die "the image cannot be made"
declare -A id
for version in $versions; do
    id[$version]=sha256:$(tar -xOf "$work/$version.tar" manifest.json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["Config"].removesuffix(".json"))')
    docker load -qi "$work/$version.tar" >/dev/null
done
on_twin sh -c 'cat >/var/tmp/1.tar' <"$work/1.tar"

# --- the twin -------------------------------------------------------------------------------------

# What the ways by hand need there. Unpacked, not installed: a registry that starts on its own would take its port.
if has_way rsync || has_way registry; then
    packages=$O3R_TWIN_STATE/bench-packages-$(uname -m).tar
    if [ ! -s "$packages" ]; then
        say "getting rsync and docker-registry for the twin"
        # The host's network: an engine's own is often cut off from package mirrors in sandboxes.
        # shellcheck disable=SC2016 # the container's
        docker run --rm --network host o3r-twin-base:bookworm sh -c '
            { mkdir -p /debs/partial /unpacked && apt-get update -q && apt-get install -qy --no-install-recommends --download-only \
                -o Dir::Cache::archives=/debs -o APT::Sandbox::User=root rsync docker-registry &&
                for deb in /debs/*.deb; do dpkg-deb -x "$deb" /unpacked || exit 1; done; } >&2 && tar -C /unpacked -c .' \
            >"$packages.new" 2>"$work/said" ||
            { tail "$work/said" >&2; die "rsync and docker-registry cannot be got: leave these ways out"; }
        mv "$packages.new" "$packages"
    fi
    # The zstd program, which rsync's packages bring along, would be used by ours; who measures zstd names its path.
    on_twin tar -C / --keep-directory-symlink --exclude './usr/bin/*zstd*' -x <"$packages"
    on_twin sh -c 'cat >/etc/bench-registry.yml' <<'YAML'
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: /var/lib/bench-registry } }
http: { addr: "127.0.0.1:5000" }
YAML
fi

# A script of the twin's root: makes it what it is before a way is measured.
#   before.sh HAS WAY: HAS is the id of the image that it has (1.tar), or empty
cat >"$work/before.sh" <<'SH'
set -eu
has=$1 way=$2
systemctl stop bench-registry 2>/dev/null || true
docker image ls -aq --no-trunc | sort -u | grep -vxF "$has" | xargs -r docker image rm -f >/dev/null
rm -rf /home/oem/.o3r-deploy /home/oem/image.tar /var/lib/bench-registry /tmp/*
if [ "$has" ] && ! docker image inspect "$has" >/dev/null 2>&1; then docker load -qi /var/tmp/1.tar >/dev/null; fi
case $way in
    rsync) [ -z "$has" ] || ln /var/tmp/1.tar /home/oem/image.tar ;;
    registry)
        if [ "$has" ] && [ -e /var/tmp/registry ]; then cp -a /var/tmp/registry /var/lib/bench-registry; fi
        systemd-run -q --unit bench-registry --collect docker-registry serve /etc/bench-registry.yml
        until bash -c '</dev/tcp/127.0.0.1/5000' 2>/dev/null; do sleep 0.05; done
        ;;
esac
sync
SH
# before CASE WAY
before() {
    local has=${id[1]}
    case $1 in first | robots) has='' ;; esac
    on_twin sh -s "$has" "$2" <"$work/before.sh"
    # What it has, it has of us, with our record of the release.
    case $has-$2 in
        ?*-ours*) benches/ways.sh ours 1 >"$work/said" 2>&1 || failed ;;
        ?*-other) benches/ways.sh other 1 >"$work/said" 2>&1 || failed ;;
    esac
    rm -rf "$work/cold" "$work/logs" "$work/trace"
}
failed() {
    cat "$work/said" >&2
    die "that failed"
}

coproc WATCH { exec tests/twin/twin.sh root "$twin" python3 -c "$(cat benches/watch.py)"; }
# shellcheck disable=SC2153 # coproc sets it
exec {to_watch}>&"${WATCH[1]}" {from_watch}<&"${WATCH[0]}"
read -r -t 20 _ <&"$from_watch" || die "the twin cannot be watched"

# --- measuring ------------------------------------------------------------------------------------

# Seconds from the first to the last command of an apply that sent or loaded something, by its log; empty where there was none.
load_seconds() {
    [ ! -d "$work/logs" ] || cat "$work/logs"/*.log | awk '
        / exit [0-9]+ after [0-9.]+ s: / && !/ s: (docker image tag|o3r-record-|o3r-lock|o3r-kept)/ {
            split(substr($1, 12), clock, /[:Z]/)
            end = clock[1] * 3600 + clock[2] * 60 + clock[3]
            match($0, / after [0-9.]+/)
            start = end - substr($0, RSTART + 7, RLENGTH - 7)
            if (first == "" || start < first) first = start
            last = end
        }
        END { if (first != "") printf "%.3f", last - first }'
}

# The same with an empty cache, by what `-vv` says: from docker save on, where there was one.
cold_seconds() {
    [ ! -s "$work/trace" ] || awk '
        / args=\["save"/ && start == "" { start = $1 + 0 }
        / session on the VPU / {
            loads = / command=(docker load|o3r-(load|receive))/
            if (loads && start == "") start = $1 + 0
        }
        / a session ended/ && loads { end = $1 + 0 }
        END { if (end != "") printf "%.3f", end - start }' "$work/trace"
}

rows=$work/rows.tsv
# record LINK CASE WAY SECONDS LOAD CPU-HERE MEMORY-HERE UP DOWN CPU-THERE MEMORY-THERE DISK-THERE: a row;
# - for what is not known
record() { (IFS=$'\t'; echo "$*" >>"$rows"); }

# move CASE WAY: leaves what it took in the array took, the order is that of record.
took=()
move() {
    local version here there pid load=-
    version=$(version_of "$1")
    echo start >&"$to_watch"
    benches/measure.py "$work/counts" benches/ways.sh "$2" "$version" >"$work/took" 2>"$work/said" &
    pid=$!
    moving=$pid
    wait "$pid" || failed
    moving=
    echo stop >&"$to_watch"
    read -r -a there -t 20 <&"$from_watch" || die "the watch in the twin ended"
    read -r -a here <"$work/took"
    on_twin docker image inspect "${id[$version]}" >/dev/null || die "$2 brought another image"
    case $2 in
        ours) load=$(load_seconds) ;;
        ours-cold) load=$(cold_seconds) ;;
    esac
    load=${load:--}
    took=("${here[0]}" "$load" "${here[@]:1}" "${there[@]}")
}
moving=
stop_moving() { [ -z "$moving" ] || { kill "$moving" 2>/dev/null && wait "$moving"; }; }
at_exit stop_moving

# Archives of the missing layers alone, as ours sends them: of the plan for an empty VPU, without the layers that are there.
part() {
    local case=$1 version file there
    version=$(version_of "$case")
    case $case in top) there=3 ;; deps) there=2 ;; *) there=0 ;; esac
    rm -rf "$work/script"
    "$tool" -q -f "$work/$version.toml" plan --format sh -o "$work/script" >"$work/said" 2>&1 || failed
    file=$work/script/part.tar
    benches/part.py "$work"/script/payload/*.tar "$there" "$file"
    part_bytes[$case]=$(stat -c %s "$file")
    # What a link carries is compressed.
    [ "$links" = 0 ] || packed_bytes[$case]=$(gzip -6 <"$file" | wc -c)
    on_twin sh -c "cat >/var/tmp/part-$case.tar" <"$file"
    rm -rf "$work/script"
}
declare -A part_bytes packed_bytes

# limit LINK CASE: docker's work on what is missing, and the link's on what changed.
limit() {
    local seconds bytes=${part_bytes[$2]}
    [ "$1" = 0 ] || bytes=${packed_bytes[$2]}
    # shellcheck disable=SC2016 # the twin's
    seconds=$(on_twin sh -c 's=$(date +%s.%N); docker load -qi "$1" >/dev/null && echo "$s $(date +%s.%N)"' - "/var/tmp/part-$2.tar" | awk '{ print $2 - $1 }')
    on_twin docker image inspect "${id[$(version_of "$2")]}" >/dev/null || die "the archive of the missing layers is another image"
    with_link() { awk "BEGIN { printf \"%.3f\", $seconds + ($1 ? $2 * 8 / ($1 * 1e6) : 0) }"; }
    if [ "$2" = deps ]; then
        record "$1" "$2" layer "$(with_link "$1" "$bytes")" "$seconds" - - "$bytes" - - - -
        bytes=$changed
    fi
    record "$1" "$2" limit "$(with_link "$1" "$bytes")" "$seconds" - - "$bytes" - - - -
}

# one LINK CASE WAY: measures a way once, or ten robots until it takes too long.
declare -A too_long
one() {
    local n times=1 start=$SECONDS key="$1 $2 $3"
    [ -z "${too_long[$key]:-}" ] || return 0
    case $2-$3 in
        nothing-limit | robots-limit) return ;;
        *-limit)
            before "$2" limit
            limit "$1" "$2"
            return
            ;;
        robots-*) times=$robots ;;
    esac
    for ((n = 0; n < times && SECONDS - start <= 2 * long; n++)); do
        before "$2" "$3"
        move "$2" "$3"
        record "$1" "$2" "$3" "${took[@]}"
    done
    [[ $3 = ours* || ${took[0]%.*} -le $long ]] || too_long[$key]=yes
}

# --- the table ------------------------------------------------------------------------------------

about() {
    local there
    there=$(on_twin docker version --format '{{.Server.Version}}')
    cat <<MD
- command: \`benches/transfer.sh${called_with:+ $called_with}\`, LONG=$long, SOURCE=$source; it took $(((SECONDS - began) / 60)) minutes
- program: $("$tool" --version), commit $(git describe --always --dirty 2>/dev/null || echo unknown)
- date: $(date -u +'%F %H:%M UTC')
- machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, $(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo); load when it began: $load_before
- software: Linux $(uname -r), docker here $(docker version --format '{{.Server.Version}}'), on the twin $there, $(ssh -V 2>&1)
- image: $(($(stat -c %s "$work/1.tar") / 1000000)) MB in four layers of $layers MB: base, Python, dependencies, application
MD
    [ -r /var/run/docker.pid ] || echo "- CPU here lacks that of the docker engine: /var/run/docker.pid cannot be read"
}
# table: makes $work/table of the rows so far.
table() {
    about >"$work/about"
    benches/table.py "$rows" "$work/about" "$robots" "$@" >"$work/table"
}
finished=
table_so_far() {
    if [ "$finished" ] || [ ! -s "$rows" ]; then return; fi
    say "not finished; this was measured:"
    table && cat "$work/table"
}
at_exit table_so_far

# --- all of it ------------------------------------------------------------------------------------

link_up 0
say "filling the cache"
before first ours
for case in $cases; do
    case $case in nothing | robots) continue ;; esac
    part "$case"
done
for version in $versions; do
    "$tool" -q -f "$work/$version.toml" plan >"$work/said" 2>&1 || failed
    has_way other || continue
    XDG_CACHE_HOME=$work/cache-other "$OTHER" -q -f "$work/$version.toml" plan >"$work/said" 2>&1 || failed
done
if has_way registry; then
    before first registry
    benches/ways.sh registry 1 >"$work/said" 2>&1 || failed
    on_twin cp -a /var/lib/bench-registry /var/tmp/registry
fi

began=$SECONDS
load_before=$(cut -d' ' -f1-3 /proc/loadavg)
read -r -a all <<<"$ways"
for rate in $links; do
    link_up "$rate"
    for case in $cases; do
        for ((run = 0; run < runs; run++)); do
            # Ten are many runs already.
            [ "$case" != robots ] || [ "$run" = 0 ] || continue
            for ((n = 0; n < ${#all[@]}; n++)); do
                way=${all[(n + run) % ${#all[@]}]}
                one "$rate" "$case" "$way"
            done
            say "$((SECONDS - began)) s: link ${rate/#0/without limit}, $case, run $((run + 1)) of $runs"
        done
    done
done

table
finished=yes
cat "$work/table"
if [ "$results" ]; then
    table "$results"
    cp "$work/table" "$results"
fi
