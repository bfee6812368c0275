#!/usr/bin/env bash
# Starts, stops, reboots and power-cuts test twins: containers that show what an O3R VPU shows. See README.md.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=${O3R_TWIN_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/o3r-deploy-twin}
default_profile=fw1.4.30

pull_timeout=30     # seconds; a registry that has not delivered 30 MB by then is taken as unreachable
engine_timeout=60   # seconds for a dockerd to answer
boot_timeout=120    # seconds; a twin boots in about 5, several at once on two cores take longer
lock_timeout=900    # seconds; making the images takes minutes
first_host=69       # twins take 127.0.0.69 and up
last_host=254

usage() {
    cat <<USAGE
usage: twin.sh COMMAND

  engine                     make sure that a docker engine answers: install and start one if need be
  engine-stop                stop the engine, if this script started it and no container runs
  build [PROFILE]            build the images: of all profiles, or of one
  up NAME [--profile PROFILE] [--address 127.0.0.X]
                             start a twin, wait until it is ready, print its variables
  env NAME                   print a twin's variables: ADDRESS KEY KNOWN_HOSTS HOST_KEY SERIAL PROFILE
  reboot NAME                reboot it and wait until it is ready
  power-cut NAME             cut its power, start it again, wait until it is ready
  ssh NAME [COMMAND...]      ssh as oem
  root NAME COMMAND...       run a command in it as root
  ls                         list the twins
  down NAME... | --all       remove twins with all their data
  purge                      remove all twins, the images, every cached file; stop the engine if this script started it

profiles: $(profiles)
state:    $state   (O3R_TWIN_STATE)
USAGE
}

say() { echo "twin: $*" >&2; }
die() { say "$*"; exit 1; }
misuse() { say "$*"; usage >&2; exit 2; }

profiles() { (cd "$here/profiles" && echo *); }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Who may not use the engine directly asks for it by sudo: also through timeout and xargs, so it has to be a program.
if [ "$(id -u)" != 0 ] && [ ! -w /var/run/docker.sock ] && ! docker version >/dev/null 2>&1; then
    mkdir -p "$state/bin"
    # shellcheck disable=SC2016 # for the script written
    printf '#!/bin/sh\nPATH=${PATH#*:} exec sudo docker "$@"\n' >"$state/bin/docker"
    chmod +x "$state/bin/docker"
    PATH=$state/bin:$PATH
fi

# Runs a command under a lock of that name. The lock is not handed down to what the command leaves running: of an end that
# is closed for a function, a shell and what it forks keep a copy; of one that is closed for a subshell, not. The last
# `exit` keeps the shell that holds the lock from becoming that subshell.
locked() {
    local name=$1
    shift
    mkdir -p "$state/locks"
    (
        flock -w "$lock_timeout" 9 || die "somebody has held $state/locks/$name for $lock_timeout s"
        ("$@") 9>&-
        exit
    ) 9>"$state/locks/$name"
}

# --- the engine ---------------------------------------------------------------------------------

engine_answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

engine() {
    engine_answers || locked engine start_engine
}

apt_install() {
    {
        as_root apt-get update -q &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
    } >"$state/apt.log" 2>&1 || { tail -n 20 "$state/apt.log" >&2; die "$* cannot be installed, see $state/apt.log"; }
}

start_engine() {
    engine_answers && return    # another process was faster
    if ! command -v dockerd >/dev/null && [ ! -x /usr/sbin/dockerd ]; then
        command -v apt-get >/dev/null || die "no docker engine is installed, and no apt-get to install one with"
        say "installing docker"
        apt_install docker.io iptables
        engine_answers && return    # Debian's package starts it where systemd runs
    fi
    if [ -d /run/systemd/system ]; then
        as_root systemctl start docker
    else
        say "starting dockerd, its log is $state/dockerd.log"
        as_root setsid "$(PATH=$PATH:/usr/sbin command -v dockerd)" >"$state/dockerd.log" 2>&1 </dev/null &
    fi
    local end=$((SECONDS + engine_timeout))
    until engine_answers; do
        [ $SECONDS -lt $end ] || die "the docker engine does not answer: may $(id -un) use it? see $state/dockerd.log"
        sleep 0.5
    done
    if [ ! -d /run/systemd/system ]; then
        cp /var/run/docker.pid "$state/dockerd.pid"
    fi
}

engine_stop() {
    [ -e "$state/dockerd.pid" ] || die "the engine was not started by this script"
    local pid containerd
    pid=$(cat "$state/dockerd.pid")
    # A pid that was given to something else meanwhile is not ours to stop.
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
        containerd=$(cat /var/run/docker/containerd/containerd.pid 2>/dev/null || true)
        as_root sh -c "kill $pid"    # the shell's own: a minimal system has no other
        say "waiting for dockerd to stop"
        while [ -e "/proc/$pid" ]; do sleep 0.2; done
        while [ -n "$containerd" ] && [ "$(cat "/proc/$containerd/comm" 2>/dev/null)" = containerd ]; do sleep 0.2; done
    fi
    rm -f "$state/dockerd.pid"
}

# --- images -------------------------------------------------------------------------------------

# Everything that goes into a profile's image, as an archive that is the same from every checkout.
context() {
    tar -C "$here" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        -c Dockerfile api.py rootfs "profiles/$1"
}

# How pip of this machine reaches an index: its settings and the certificates that it trusts. No part of the digest.
pip_context() {
    local pip=$state/pip certificates=${PIP_CERT:-${REQUESTS_CA_BUNDLE:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}}
    rm -rf "$pip"
    mkdir -p "$pip/pip"
    {
        echo '[global]'
        local key name
        for key in index-url extra-index-url trusted-host proxy; do
            name=PIP_$(tr 'a-z-' 'A-Z_' <<<"$key")
            if [ -n "${!name:-}" ]; then
                echo "$key = ${!name}"
            elif command -v python3 >/dev/null; then
                python3 -m pip config get "global.$key" 2>/dev/null | sed "1s|^|$key = |" || true
            fi
        done
    } >"$pip/pip/pip.conf"
    cat "$certificates" >"$pip/pip/ca.crt" 2>/dev/null || :
    tar -C "$pip" --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -c pip
}

# The tag is the context's digest: what changed is rebuilt, what did not costs nothing.
image_of() { echo "o3r-twin:$1-$(context "$1" | sha256sum | cut -c1-12)"; }

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

build() {
    local profile
    engine
    for profile in "$@"; do
        has_image "$(image_of "$profile")" || locked build build_image "$profile"
    done
}

build_image() {
    local profile=$1 image
    image=$(image_of "$profile")
    has_image "$image" && return
    build_base
    say "building $image"
    # The host's network: an engine's own is often cut off from package mirrors in sandboxes.
    # Two archives, the end of the first one cut off.
    context "$profile" >"$state/context.tar"
    pip_context >"$state/pip.tar"
    tar --concatenate -f "$state/context.tar" "$state/pip.tar"
    docker build --network host --build-arg BASE=o3r-twin-base:bookworm --build-arg "PROFILE=$profile" \
        --tag "$image" - <"$state/context.tar" >"$state/build.log" 2>&1 \
        || { tail -n 30 "$state/build.log" >&2; die "the build failed, see $state/build.log"; }
}

build_base() {
    has_image o3r-twin-base:bookworm && return
    if timeout "$pull_timeout" docker pull -q debian:bookworm-slim >/dev/null 2>&1; then
        docker tag debian:bookworm-slim o3r-twin-base:bookworm
        return
    fi
    say "debian:bookworm-slim cannot be pulled, making a base image with debootstrap"
    if ! PATH=$PATH:/usr/sbin command -v debootstrap >/dev/null; then
        say "installing debootstrap"
        apt_install debootstrap
    fi
    local root
    root=$(mktemp -d "$state/debootstrap.XXXXXX")
    as_root env "PATH=$PATH:/usr/sbin" debootstrap --variant=minbase --include=ca-certificates bookworm "$root" >"$state/debootstrap.log" 2>&1 \
        || { tail "$state/debootstrap.log" >&2; as_root rm -rf --one-file-system "$root"; die "debootstrap failed, see $state/debootstrap.log"; }
    as_root tar -C "$root" --exclude=./var/cache/apt/archives/\*.deb --exclude=./var/lib/apt/lists/\* -c . \
        | docker import - o3r-twin-base:bookworm >/dev/null
    as_root rm -rf --one-file-system "$root"
}

# --- addresses ----------------------------------------------------------------------------------

# Whether something on this machine listens on an IPv4 address (0.0.0.0: on all) and TCP port.
listens() {
    local a b c d
    IFS=. read -r a b c d <<<"$1"
    grep -qiE "^ *[0-9]+: $(printf '%02X%02X%02X%02X:%04X' "$d" "$c" "$b" "$a" "$2") [0-9A-F:]+ 0A" /proc/net/tcp
}

listens_everywhere() {
    listens 0.0.0.0 "$1" || grep -qiE "^ *[0-9]+: 0{32}:$(printf '%04X' "$1") [0-9A-F:]+ 0A" /proc/net/tcp6 2>/dev/null
}

# Where a service of this machine has port 22 or 80 on all addresses, twins get addresses on a bridge of their own instead.
address_prefix() {
    if listens_everywhere 22 || listens_everywhere 80; then echo 198.18.69; else echo 127.0.0; fi
}

taken() {
    cat "$state"/twins/*/address 2>/dev/null | grep -qxF "$1" || listens "$1" 22 || listens "$1" 80
}

# Reserves an address for a twin by writing it down.
reserve_address() {
    local twin=$1 address=$2 prefix host
    if [ -n "$address" ]; then
        ! taken "$address" || die "$address is taken"
    else
        prefix=$(address_prefix)
        for host in $(seq $first_host $last_host); do
            if ! taken "$prefix.$host"; then
                address=$prefix.$host
                break
            fi
        done
        [ -n "$address" ] || die "no address is free in $prefix.$first_host to $prefix.$last_host"
    fi
    echo "$address" >"$twin/address"
}

# --- twins --------------------------------------------------------------------------------------

# Twins of another state directory may have the same name: the container's name tells them apart.
container_of() { echo "o3r-twin-$(sha256sum <<<"$state" | cut -c1-6)-$1"; }

exists() { docker container inspect "$(container_of "$1")" >/dev/null 2>&1; }
running() { [ "$(docker container inspect --format '{{.State.Running}}' "$(container_of "$1")" 2>/dev/null)" = true ]; }

need() {
    [ -n "${1:-}" ] || misuse "which twin?"
    engine_answers || die "no docker engine answers; try: twin.sh engine"
    exists "$1" || die "there is no twin '$1'; try: twin.sh up $1"
}

up() {
    local name=${1:-} profile='' address=''
    [[ $name =~ ^[a-z0-9][a-z0-9-]*$ ]] || misuse "a twin's name is made of a-z, 0-9 and -, not '$name'"
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            --profile) profile=${2:-}; shift ;;
            --address) address=${2:-}; shift ;;
            *) misuse "unknown argument '$1'" ;;
        esac
        shift || misuse "a value is missing"
    done
    [ -z "$profile" ] || [ -d "$here/profiles/$profile" ] || misuse "unknown profile '$profile'"
    [ -z "$address" ] || [[ $address =~ ^127\.[0-9]+\.[0-9]+\.[0-9]+$ ]] || misuse "'$address' is not in 127.0.0.0/8"
    engine
    mkdir -p "$state/twins"
    locked "twin-$name" up_locked "$name" "$profile" "$address"
    print_env "$name"
}

up_locked() {
    local name=$1 profile=$2 address=$3 twin=$state/twins/$1
    if exists "$name" && [ -d "$twin" ]; then
        [ -z "$profile" ] || [ "$profile" = "$(cat "$twin/profile")" ] || die "$name is a $(cat "$twin/profile"), take it down first"
        [ -z "$address" ] || [ "$address" = "$(cat "$twin/address")" ] || die "$name is at $(cat "$twin/address"), take it down first"
        running "$name" || docker start "$(container_of "$name")" >/dev/null
    else
        profile=${profile:-$default_profile}
        build "$profile"
        create "$name" "$profile" "$address"
    fi
    wait_ready "$name"
}

create() {
    local name=$1 profile=$2 address=$3 twin=$state/twins/$1 container network
    rm -rf "$twin"
    mkdir -p "$twin"
    echo "$profile" >"$twin/profile"
    printf '0000%08d\n' $((0x$(sha256sum <<<"$name" | cut -c1-8) % 100000000)) >"$twin/serial"
    locked key client_key
    device_files "$twin"

    container=$(container_of "$name")
    docker rm --force --volumes "$container" >/dev/null 2>&1 || true   # of a state directory that was deleted by hand
    # An address chosen here may be lost to somebody else before it is used: then another one is.
    for _ in 1 2 3; do
        locked address reserve_address "$twin" "$address"
        read -ra network <<<"$(network_flags "$(cat "$twin/address")")"
        docker create --name "$container" --hostname "$name" --label "o3r-twin.state=$state" \
            --cap-add ALL --cap-drop SYS_RESOURCE \
            --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
            --device-cgroup-rule 'a *:* rwm' --cgroupns host --volume /sys/fs/cgroup:/sys/fs/cgroup:rw \
            --tmpfs /run:exec --tmpfs /run/lock --tmpfs /tmp:exec,mode=1777,size=64m \
            --volume "${O3R_TWIN_DOCKER:+$O3R_TWIN_DOCKER:}/var/lib/docker" --restart on-failure "${network[@]}" "$(image_of "$profile")" >/dev/null
        tar -C "$twin/device" --owner=0 --group=0 -c . | docker cp - "$container:/"
        if docker start "$container" >/dev/null 2>"$twin/start.log"; then
            say "$name starts at $(cat "$twin/address")"
            echo "$(cat "$twin/address") $(cat "$twin/host_key")" >"$twin/known_hosts"
            return
        fi
        docker rm --force --volumes "$container" >/dev/null
        if [ -n "$address" ] || ! grep -qE 'address already in use|port is already allocated' "$twin/start.log"; then break; fi
    done
    cat "$twin/start.log" >&2
    rm -rf "$twin"
    die "$name cannot be started"
}

# The flags that give a twin its address and the standard ports 22 and 80.
network_flags() {
    case $1 in
        127.*) echo "--publish $1:22:22 --publish $1:80:80" ;;
        *)
            docker network inspect o3r-twin >/dev/null 2>&1 || docker network create --subnet 198.18.69.0/24 o3r-twin >/dev/null
            echo "--network o3r-twin --ip $1"
            ;;
    esac
}

# The key that tests log in with: one for all twins.
client_key() {
    [ -e "$state/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C o3r-twin -f "$state/id_ed25519"
}

# What sets one twin apart from the others of its profile: host key, serial number, the authorised key.
device_files() {
    local twin=$1 device=$1/device
    mkdir -p "$device/etc/ssh" "$device/etc/o3r-twin" "$device/var/lib/o3r-api"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$device/etc/ssh/ssh_host_ed25519_key"
    cut -d' ' -f1,2 "$device/etc/ssh/ssh_host_ed25519_key.pub" >"$twin/host_key"
    echo "{\"serial\": \"$(cat "$twin/serial")\"}" >"$device/etc/o3r-twin/serial.json"
    echo "{\"device\": {\"network\": {\"authorized_keys\": \"$(cat "$state/id_ed25519.pub")\"}}}" >"$device/var/lib/o3r-api/persistent.json"
}

print_env() {
    local twin=$state/twins/$1
    printf '%s=%q\n' ADDRESS "$(cat "$twin/address")" KEY "$state/id_ed25519" KNOWN_HOSTS "$twin/known_hosts"
    printf "HOST_KEY='%s'\n" "$(cat "$twin/host_key")"
    printf '%s=%q\n' SERIAL "$(cat "$twin/serial")" PROFILE "$(cat "$twin/profile")"
}

# ssh_to NAME OPTION... oem@ADDRESS [COMMAND...]: on the connection that is open, if one is.
ssh_to() {
    local name=$1
    shift
    ssh -F none -i "$state/id_ed25519" -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=5 -o ServerAliveInterval=5 \
        -o StrictHostKeyChecking=yes -o "UserKnownHostsFile=$state/twins/$name/known_hosts" \
        -o "ControlPath=$(control_path "$name")" "$@"
}

# A login takes 0.3 s of a processor, a command on an open connection a tenth of that. A socket's path has at most 107
# bytes, and ssh adds 17.
control_path() {
    local path=$state/twins/$1/ssh
    if [ ${#path} -le 90 ]; then echo "$path"; else echo none; fi
}

oem_at() { echo "oem@$(cat "$state/twins/$1/address")"; }

hang_up() {
    ssh_to "$1" -O exit "$(oem_at "$1")" 2>/dev/null || true
}

# Ready is: sshd accepts the key, oem's lingering units have run, dockerd answers or waits for a call, the API answers.
# Where dockerd waits for a call, none is made: it would start what the device leaves off.
ready() {
    # shellcheck disable=SC2016 # expanded in the twin
    ssh_to "$1" -S none "$(oem_at "$1")" 'systemctl --user is-active --quiet default.target && { [ -e /etc/o3r-twin/docker-on-demand ] || timeout 10 docker version >/dev/null; }' \
        </dev/null >/dev/null 2>&1 && api_answers "$(cat "$state/twins/$1/address")"
}

api_answers() {
    local call='<?xml version="1.0"?><methodCall><methodName>getInit</methodName><params/></methodCall>'
    # shellcheck disable=SC2016 # expanded by the inner bash
    timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/80" && printf %s "$2" >&3 && head -n 1 <&3' - "$1" \
        "POST /api/rpc/v1/com.ifm.efector/ HTTP/1.1"$'\r\n'"Host: $1"$'\r\n'"Content-Type: text/xml"$'\r\n'"Content-Length: ${#call}"$'\r\n\r\n'"$call" \
        2>/dev/null | grep -q ' 200 '
}

wait_ready() {
    local end=$((SECONDS + boot_timeout))
    until ready "$1"; do
        if [ $SECONDS -ge $end ]; then
            docker exec "$(container_of "$1")" journalctl -b --no-pager --lines 30 >&2 || true
            die "$1 is not ready after $boot_timeout s; look at: twin.sh root $1 journalctl -b"
        fi
        running "$1" || sleep 1
        sleep 0.2
    done
}

# Lets paused containers in a twin go on: with cgroups v1 a frozen process cannot be killed, and so neither can the twin.
thaw() {
    # shellcheck disable=SC2016 # expanded in the twin
    docker exec "$(container_of "$1")" sh -c 'for state in /sys/fs/cgroup/freezer/docker/"$1"/docker/*/freezer.state; do
            [ ! -e "$state" ] || echo THAWED >"$state"
        done' sh "$(docker container inspect --format '{{.Id}}' "$(container_of "$1")")" 2>/dev/null || true
}

reboot() {
    need "$@"
    hang_up "$1"
    thaw "$1"
    docker restart --time 10 "$(container_of "$1")" >/dev/null
    wait_ready "$1"
}

power_cut() {
    need "$@"
    hang_up "$1"
    thaw "$1"
    docker kill "$(container_of "$1")" >/dev/null
    docker start "$(container_of "$1")" >/dev/null
    wait_ready "$1"
}

down() {
    local name
    [ $# -gt 0 ] || misuse "which twin?"
    if [ "$1" = --all ]; then
        mapfile -t names < <(names)
        set -- "${names[@]}"
    fi
    for name in "$@"; do
        [ -d "$state/twins/$name" ] || die "there is no twin '$name'"
    done
    for name in "$@"; do
        locked "twin-$name" remove "$name"
    done
}

remove() {
    hang_up "$1"
    if exists "$1"; then
        thaw "$1"
        docker rm --force --volumes "$(container_of "$1")" >/dev/null
    fi
    rm -rf "${state:?}/twins/$1"
}

names() { ls "$state/twins" 2>/dev/null || true; }

list() {
    local name status
    for name in $(names); do
        status=$(docker container inspect --format '{{.State.Status}}' "$(container_of "$name")" 2>/dev/null) || status=unknown
        printf '%-20s %-10s %-15s %s\n' "$name" "$(cat "$state/twins/$name/profile")" "$(cat "$state/twins/$name/address")" "$status"
    done
}

purge() {
    if engine_answers; then
        down --all
        # What twins of another state directory use stays.
        docker images --format '{{.Repository}}:{{.Tag}}' o3r-twin | xargs -r docker rmi >/dev/null 2>&1 || true
        docker rmi o3r-twin-base:bookworm >/dev/null 2>&1 || true
        docker network rm o3r-twin >/dev/null 2>&1 || true
    fi
    [ ! -e "$state/dockerd.pid" ] || engine_stop
    rm -rf "${state:?}"
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
    engine) engine ;;
    engine-stop)
        [ -z "$(docker ps -q 2>/dev/null)" ] || die "containers are running"
        engine_stop
        ;;
    build)
        [ $# -le 1 ] || misuse "one profile, or none for all"
        [ -z "${1:-}" ] || [ -d "$here/profiles/$1" ] || misuse "unknown profile '$1'"
        # shellcheck disable=SC2046,SC2086 # profile names are words
        build ${1:-$(profiles)}
        ;;
    up) up "$@" ;;
    env) need "$@"; print_env "$1" ;;
    reboot) reboot "$@" ;;
    power-cut) power_cut "$@" ;;
    ssh)
        need "$@"
        name=$1
        shift
        ssh_to "$name" -o ControlMaster=auto -o ControlPersist=60 "$(oem_at "$name")" "$@"
        ;;
    root)
        need "$@"
        [ $# -gt 1 ] || misuse "which command?"
        docker exec --interactive "$(container_of "$1")" "${@:2}"
        ;;
    ls) list ;;
    down) down "$@" ;;
    purge) purge ;;
    -h | --help | help) usage ;;
    *) misuse "unknown command '$command'" ;;
esac
