#!/usr/bin/env bash
# Measures check, a no-op plan and the apply of a large image on a test twin, each side by side with
# what one would do by hand, and prints a table. Runs for some minutes; needs docker (see
# tests/twin/README.md).
#
#   benches/apply.sh [MEGABYTES [RUNS]]      default: 400 3
# O3R_DEPLOY=PROGRAM measures that program instead of building one. OTHER=PROGRAM measures the apply of that one too, for example
# of an earlier version, in turn with ours.
set -euo pipefail
megabytes=${1:-400}
runs=${2:-3}
# shellcheck source=benches/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
at_exit docker image rm -f "bench:$$"

# Half of it random, half of it text, in files of 4 MB, as software is neither.
mkdir "$work/root"
for ((i = 0; i < megabytes / 8; i++)); do
    head -c 4000000 /dev/urandom >"$work/root/random-$i"
    head -c 4000000 <(seq "$((i * 1000000))" "$((i * 1000000 + 1000000))") >"$work/root/text-$i"
done
tar -C "$work/root" -c . | docker import - "bench:$$" >/dev/null
docker save "bench:$$" -o "$work/bench.tar"
cat >"$work/deploy.toml" <<TOML
$(vpu_table "$ADDRESS" 22)

[release]
name = "bench"
version = "1"

[[images]]
name = "bench:1"
archive = "bench.tar"
TOML
cd "$work"

# seconds COMMAND…: wall time; its peak resident memory in KiB goes to $work/memory
seconds() {
    /usr/bin/time -f '%e %M' -o "$work/time" "$@" >/dev/null 2>"$work/stderr" || { cat "$work/stderr" >&2; return 1; }
    cut -d' ' -f2 "$work/time" >"$work/memory"
    cut -d' ' -f1 "$work/time"
}
forget() { "${ssh_to_twin[@]}" 'docker image ls -q | sort -u | xargs -r docker image rm -f >/dev/null; rm -rf ~/.o3r-deploy'; }
by_hand() { docker save "bench:$$" | "${ssh_to_twin[@]}" docker load; }
export -f by_hand

check=() plan=() bare=() apply=() hand=() memory=() other=()
apply_ours() {
    forget
    apply+=("$(seconds "$tool" apply --yes)")
    memory+=("$(cat "$work/memory")")
}
apply_other() {
    [ "${OTHER:-}" ] || return 0
    forget
    other+=("$(XDG_CACHE_HOME=$work/cache-other seconds "$OTHER" apply --yes)")
}
for ((run = 0; run < runs; run++)); do
    forget
    start=$EPOCHREALTIME
    by_hand >/dev/null
    hand+=("$(awk "BEGIN { print $EPOCHREALTIME - $start }")")
    order=(apply_ours apply_other)
    ((run % 2)) || order=(apply_other apply_ours)
    for turn in "${order[@]}"; do "$turn"; done
    # Another version's record may say less than ours: the plans below find nothing to do.
    [ ! "${OTHER:-}" ] || "$tool" -q apply --yes >/dev/null
    check+=("$(seconds "$tool" check)")
    for _ in 1 2 3; do
        bare+=("$(seconds "${ssh_to_twin[@]}" true)")
        plan+=("$(seconds "$tool" plan)")
    done
done
sessions=$("$tool" -vv plan 2>&1 >/dev/null | grep -c 'session on the VPU')

row "what (medians of $runs; plan and ssh: $((3 * runs)))" "figure"
row "---" "---"
row "check, s" "$(median "${check[@]}")"
row "bare ssh oem@twin true, new connection, s" "$(median "${bare[@]}")"
row "plan, nothing to do, s" "$(median "${plan[@]}")"
row "plan / bare ssh" "$(ratio "$(median "${plan[@]}")" "$(median "${bare[@]}")")"
row "ssh sessions of a plan beside the login's" "$sessions"
row "docker save | ssh docker load, $megabytes MB, s" "$(median "${hand[@]}")"
row "apply, $megabytes MB image, s" "$(median "${apply[@]}")"
row "apply / by hand" "$(ratio "$(median "${apply[@]}")" "$(median "${hand[@]}")")"
if [ "${OTHER:-}" ]; then
    row "apply of the other program, s" "$(median "${other[@]}")"
    row "apply / apply of the other program" "$(ratio "$(median "${apply[@]}")" "$(median "${other[@]}")")"
fi
row "apply, peak resident memory here, KiB" "$(median "${memory[@]}")"
