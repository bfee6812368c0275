#!/usr/bin/env bash
# Breaks applies at random moments and looks what runs afterwards, with nobody there: the VPU decides alone.
#
#   tests/faults.sh [RUNS [SEED]]     20 runs with seed 1 by default; needs `cargo build` and docker
#
# Each run applies release 1.0.0 to a twin, then starts to apply 1.1.0 (an image, two files, a container) and injects a
# fault at a random moment: the client is killed or stopped, its connection is cut, the VPU loses its power or reboots.
# The deadline of the watchdog is then set to now, instead of waiting for 120 s. Afterwards the twin is compared with both
# manifests. Prints each run, and at the end the counts by fault and outcome:
#   old, new   that release is there whole
#   mixture    neither is, or no container runs: a failure
#   stuck      the VPU did not decide within two minutes: a failure
# After each run the next apply has to converge. Exits with 1 after a failure.
set -euo pipefail

runs=${1:-20}
RANDOM=${2:-1}
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export O3R_TWIN_STATE=${O3R_TWIN_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/o3r-deploy-faults}
twin=$project/tests/twin/twin.sh
deploy=$project/target/debug/o3r-deploy
[ -x "$deploy" ] || { echo "faults.sh: build first: cargo build" >&2; exit 1; }
work=$(mktemp -d)
# shellcheck disable=SC2317,SC2329 # the trap calls it
end() {
    "$twin" down faults >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap end EXIT
"$twin" up faults >/dev/null
for version in 1.0.0 1.1.0; do
    "$project/examples/hello/for-twin.sh" faults "$work/$version" >/dev/null
    (
        cd "$work/$version"
        sed -i "s/^version = \"1.0.0\"/version = \"$version\"/; s/^state = \"running\"/health = { settle = \"1s\" }/" deploy.toml
        sed -i "s/hello:1.0.0/hello:$version/" docker-compose.yml
        echo "VERSION=$version" >>app.env
    )
done

# The steps that would make the twin the release $1, but for records and remains; fails if it cannot be planned.
missing() {
    "$deploy" -f "$work/$1/deploy.toml" plan --format json 2>/dev/null | python3 -c '
import json, sys
plan = json.load(sys.stdin)
steps = [s["address"] for s in plan["steps"] if s["phase"] == "switch" or s["phase"] == "stage" and s["action"] != "remove"]
print(len(steps) + len(plan["blocked"]))'
}

as_oem() {
    "$twin" ssh faults "$@"
}

# Waits until the twin answers and no watchdog is armed; the deadline is over at once.
decided() {
    for _ in $(seq 120); do
        # shellcheck disable=SC2016
        state=$(as_oem 'for f in .o3r-deploy/watchdog/hello/deadline; do [ ! -f "$f" ] || printf "%10d %6d\n" 1 120 1<>"$f"; done
            ls .o3r-deploy/watchdog/hello/*.armed .o3r-deploy/watchdog/hello/*.reverting 2>/dev/null; docker version >/dev/null && echo up' 2>/dev/null) || state=
        [ "$state" != up ] || return 0
        sleep 1
    done
    return 1
}

inject() {
    case $1 in
        kill) kill -KILL "$client" 2>/dev/null || true ;;
        stop) kill -STOP "$client" 2>/dev/null || true ;;
        cut)
            pkill -KILL -P "$client" || true
            # It would connect again.
            sleep 1
            kill -KILL "$client" 2>/dev/null || true
            ;;
        power) "$twin" power-cut faults >/dev/null ;;
        reboot) "$twin" reboot faults >/dev/null ;;
    esac
}

faults=(kill stop cut power reboot)
declare -A counts
failed=0
for run in $(seq "$runs"); do
    "$deploy" -q -f "$work/1.0.0/deploy.toml" apply --yes >"$work/old.log" 2>&1 || {
        echo "run $run: the apply of 1.0.0 failed"
        cat "$work/old.log"
        exit 1
    }
    fault=${faults[RANDOM % ${#faults[@]}]}
    delay=$((RANDOM % 4000))
    "$deploy" -f "$work/1.1.0/deploy.toml" apply --yes >"$work/new.log" 2>&1 &
    client=$!
    sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))"
    inject "$fault"
    at=$(grep -o '^✓ \[[0-9]*/[0-9]*\] [a-z]* [^ ]*' "$work/new.log" | tail -1 || true)
    if decided; then
        if [ "$(missing 1.0.0)" = 0 ]; then outcome=old
        elif [ "$(missing 1.1.0)" = 0 ]; then outcome=new
        else outcome=mixture
        fi
    else
        outcome=stuck
    fi
    kill -CONT "$client" 2>/dev/null || true
    kill -KILL "$client" 2>/dev/null || true
    wait "$client" 2>/dev/null || true
    echo "run $run: $fault after $delay ms (${at:-before the first step}): $outcome"
    case $outcome in
        mixture | stuck)
            failed=1
            as_oem 'docker ps -a; ls -R .o3r-deploy/watchdog; cat .o3r-deploy/watchdog/hello/verdict' 2>/dev/null || true
            ;;
    esac
    counts[$fault $outcome]=$((${counts[$fault $outcome]:-0} + 1))
done
for key in "${!counts[@]}"; do echo "$key: ${counts[$key]}"; done | sort
exit "$failed"
