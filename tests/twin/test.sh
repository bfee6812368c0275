#!/usr/bin/env bash
# Tests the twin: the stand-in of the API (test_api.py), and that each profile does what README.md promises.
# Scripts in single quotes are the twin's; the twins' names are words.
# shellcheck disable=SC2016,SC2086
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
state=${O3R_TWIN_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/o3r-deploy-twin}
new=test$$-new     # fw1.4.30
newest=test$$-newest    # fw1.21.16
old=test$$-old     # fw1.1.30
passed=0
failed=0
scratch=$(mktemp -d)

finish() {
    local name
    for name in $new $newest $old; do
        [ ! -d "$state/twins/$name" ] || ./twin.sh down "$name"
    done
    rm -rf "$scratch"
}
trap finish EXIT

# check WHAT COMMAND...: passes if the command does; shows its output if it does not.
check() {
    local what=$1
    shift
    if "$@" >"$scratch/output" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $what"
    else
        failed=$((failed + 1))
        echo "FAILED  $what: $*"
        sed 's/^/        /' "$scratch/output"
    fi
}

# Prints what a twin says to a command; the checks compare it.
oem() { ./twin.sh ssh "$@" </dev/null; }
says() {
    local wanted=$1 found
    shift
    found=$("$@") || return
    [ "$found" = "$wanted" ] || { printf 'wanted: %s\nfound:  %s\n' "$wanted" "$found"; return 1; }
}
refused() { ! "$@"; }
exits() {
    local wanted=$1 code=0
    shift
    "$@" || code=$?
    [ "$code" = "$wanted" ] || { echo "exit code $code, not $wanted"; return 1; }
}
value() { (eval "$(./twin.sh env "$1")"; echo "${!2}"); }

login_by_password() {
    printf '#!/bin/sh\necho oem\n' >"$scratch/askpass"
    chmod +x "$scratch/askpass"
    SSH_ASKPASS=$scratch/askpass SSH_ASKPASS_REQUIRE=force ssh -F none -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1 \
        -o "UserKnownHostsFile=$(value "$1" KNOWN_HOSTS)" -o StrictHostKeyChecking=yes "oem@$(value "$1" ADDRESS)" true </dev/null
}

host_key_matches() {
    local host
    host=$(value "$1" ADDRESS)
    says "$host $(value "$1" HOST_KEY)" ssh-keyscan -t ed25519 "$host"
}

# Gives a twin the image tiny:1, nothing but busybox.
load_tiny() { oem "$1" 'tar -C /bin -c busybox | docker import - tiny:1 >/dev/null'; }

start_containers() {
    oem "$1" 'docker run -d --init --name comes-back --restart unless-stopped tiny:1 /busybox sleep 10000 &&
              docker run -d --init --name stays-down tiny:1 /busybox sleep 10000'
}
running_containers() { oem "$1" 'docker ps --format "{{.Names}}" | sort | xargs'; }
uptime_below() { [ "$(oem "$1" 'cut -d. -f1 /proc/uptime')" -lt "$2" ]; }
boot_id() { oem "$1" cat /proc/sys/kernel/random/boot_id; }

# Both ways to boot, and what must run afterwards.
boots() {
    local name=$1 wanted=$2 how before
    for how in reboot power-cut; do
        before=$(boot_id "$name")
        check "$name: $how" ./twin.sh $how "$name"
        check "$name: containers after $how" says "$wanted" running_containers "$name"
        check "$name: another boot id after $how" refused says "$before" boot_id "$name"
        check "$name: host key after $how" host_key_matches "$name"
    done
}

echo "starting three twins"
./twin.sh build
pids=()
./twin.sh up $new >"$scratch/new" & pids+=($!)
./twin.sh up $newest --profile fw1.21.16 >/dev/null & pids+=($!)
./twin.sh up $old --profile fw1.1.30 >/dev/null & pids+=($!)
for pid in "${pids[@]}"; do wait "$pid"; done

python=$(./ifm3dpy.sh)

echo "the command line"
check "no command is misuse" exits 2 ./twin.sh
check "an unknown profile is misuse" exits 2 ./twin.sh up x --profile fw9
check "a strange name is misuse" exits 2 ./twin.sh up ../x
check "an unknown twin is an error" exits 1 ./twin.sh reboot no-such-twin
check "up again prints the same" says "$(cat "$scratch/new")" ./twin.sh up $new
check "up with another profile is refused" exits 1 ./twin.sh up $new --profile fw1.1.30
check "env prints the same" says "$(cat "$scratch/new")" ./twin.sh env $new
check "ls lists it" grep -q "^$new .* running$" <(./twin.sh ls)

for name in $new $newest $old; do
    check "$name: login by key, no root" says "989:987:oem docker input systemd-journal" \
        oem $name 'echo $(id -u):$(id -g):$(id -nG)'
    check "$name: no sudo" refused oem $name sudo -n true
    check "$name: user systemd" says running oem $name systemctl --user is-system-running
    check "$name: nothing failed to start" says running ./twin.sh root $name systemctl is-system-running
    check "$name: /tmp is a small tmpfs" says "tmpfs 65536" oem $name "df -k /tmp | awk 'END { print \$1, \$2 }'"
    check "$name: docker" says "overlay2 journald" oem $name "docker info --format '{{.Driver}} {{.LoggingDriver}}'"
    version='1\.29\.'
    [ $name != $old ] || version='1\.25\.4'
    check "$name: compose" grep -q "version $version" <(oem $name docker-compose --version)
    check "$name: compose directory" oem $name 'touch /usr/share/oem/docker/compose/x && rm /usr/share/oem/docker/compose/x'
    check "$name: no compose plugin" refused oem $name docker compose version
    check "$name: host key" host_key_matches $name
    check "$name: image" load_tiny $name
    check "$name: docker run" says hello oem $name docker run --rm tiny:1 /busybox echo hello
done
check "host keys differ" refused says "$(value $new HOST_KEY)" value $old HOST_KEY
check "serial numbers differ" refused says "$(value $new SERIAL)" value $old SERIAL

echo "login by password"
check "fw1.4.30 refuses it" exits 255 login_by_password $new
check "fw1.21.16 refuses it" exits 255 login_by_password $newest
check "fw1.1.30 accepts it" login_by_password $old

echo "autostart by oem-dc@"
for name in $new $old; do
    check "$name: a container with and one without restart policy" start_containers $name
    check "$name: a compose project" oem $name 'mkdir /usr/share/oem/docker/compose/hello && cd /usr/share/oem/docker/compose/hello &&
        printf "version: \"2.4\"\nservices:\n  app:\n    image: tiny:1\n    init: true\n    command: /busybox sleep 10000\n" >docker-compose.yml'
    check "$name: enable --now oem-dc@hello" oem $name systemctl --user enable --now oem-dc@hello
    check "$name: it runs" says "comes-back hello_app_1 stays-down" running_containers $name
    boots $name "comes-back hello_app_1"
    check "$name: uptime starts from zero" uptime_below $name 60
    check "$name: disable oem-dc@hello" oem $name systemctl --user disable oem-dc@hello
    check "$name: reboot" ./twin.sh reboot $name
    check "$name: it does not come back" refused oem $name 'docker inspect -f "{{.State.Running}}" hello_app_1 | grep true'
done

echo "autostart by oem-dc-autostart"
check "there is no oem-dc@" says oem-dc-autostart.service oem $newest "systemctl --user list-unit-files 'oem-dc*' --no-legend | cut -d' ' -f1"
check "a container with and one without restart policy" start_containers $newest
check "reboot" ./twin.sh reboot $newest
check "not enabled: dockerd does not run" says inactive oem $newest 'systemctl is-active docker || true'
check "enable oem-dc-autostart" oem $newest systemctl --user enable oem-dc-autostart
check "reboot" ./twin.sh reboot $newest
check "enabled: dockerd runs" says active oem $newest 'systemctl is-active docker'
boots $newest comes-back

echo "the API, with ifm3dpy"
check "test_api.py on fw1.4.30" "$python" test_api.py $new
tail -n 4 "$scratch/output"
check "test_api.py on fw1.21.16" "$python" test_api.py $newest
check "test_api.py on fw1.1.30" "$python" test_api.py $old

echo "the end"
containers() { docker ps --all --quiet --filter "label=o3r-twin.state=$state" --filter "name=-test$$-"; }
volumes=$(for id in $(containers); do docker inspect -f '{{range .Mounts}}{{.Name}} {{end}}' "$id"; done)
check "down" ./twin.sh down $new $newest $old
check "no container is left" says "" containers
unlocked() {
    local lock
    for lock in "$state"/locks/*; do flock -n "$lock" true || { echo "$lock is held"; return 1; }; done
}
check "what runs holds no lock" unlocked
check "no volume is left" refused docker volume inspect -f '{{.Name}}' $volumes

echo "$passed passed, $failed failed"
[ $failed = 0 ]
