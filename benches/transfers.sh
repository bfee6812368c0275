#!/usr/bin/env bash
# Measures the transfer of many small files, and a second plan over them, on a test twin, each side by side with what
# one would do by hand, and prints a table. Runs for some minutes; needs docker (see tests/twin/README.md).
#
#   benches/transfers.sh [FILES [RUNS]]      default: 10000 5
# O3R_DEPLOY=PROGRAM measures that program instead of building one.
set -euo pipefail
files=${1:-10000}
runs=${2:-5}
# shellcheck source=benches/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Directories of 100 files of 100 bytes to 20 kB, as configurations and calibrations are.
for ((i = 0; i < files; i++)); do
    ((i % 100)) || mkdir -p "$work/files/d$((i / 100))"
    head -c "$((100 + i * 7919 % 20000))" /dev/urandom >"$work/files/d$((i / 100))/file-$i"
done
cat >"$work/deploy.toml" <<TOML
$(vpu_table "$ADDRESS" 22)

[release]
name = "bench"
version = "1"

[[transfers]]
src = "files/"
dst = "~/files"
TOML
cd "$work"

# seconds COMMAND…: wall time
seconds() {
    local start=$EPOCHREALTIME
    "$@" >"$work/stdout" 2>"$work/stderr" || { cat "$work/stderr" >&2; return 1; }
    awk "BEGIN { printf \"%.3f\", $EPOCHREALTIME - $start }"
}
forget() { "${ssh_to_twin[@]}" 'rm -rf ~/files ~/by-hand ~/.o3r-deploy; sync'; }
by_hand() { tar -C files -c . | "${ssh_to_twin[@]}" 'mkdir -p by-hand && tar -C by-hand -x'; }
by_hand_synced() { tar -C files -c . | "${ssh_to_twin[@]}" 'mkdir -p by-hand && tar -C by-hand -x && sync -f by-hand'; }
hash_there() { "${ssh_to_twin[@]}" 'cd files && find . -type f -exec sha256sum {} +'; }
# The steps of an apply that transfer, by its log: the rest of it plans, twice, and records.
transferred() {
    sed -n 's/^[^ ]* exit 0 after \([0-9.]*\) s: o3r-\(stage\|move\)-files .*/\1/p' "$(find logs -name '*.log' | sort | tail -n 1)" |
        awk '{ sum += $1 } END { printf "%.3f", sum }'
}

hand=() synced=() whole=() steps=() plan=() hashed=() changed=()
for ((run = 0; run < runs; run++)); do
    forget
    hand+=("$(seconds by_hand)")
    forget
    synced+=("$(seconds by_hand_synced)")
    forget
    whole+=("$(seconds "$tool" --log-dir logs apply --yes)")
    steps+=("$(transferred)")
    for _ in 1 2 3; do
        hashed+=("$(seconds hash_there)")
        plan+=("$(seconds "$tool" plan --exit-code)")
    done
    # One file in each directory changes.
    for directory in files/d*; do
        for file in "$directory"/*; do head -c 1000 /dev/urandom >"$file"; break; done
    done
    changed+=("$(seconds "$tool" --log-dir logs apply --yes)")
done

row "what ($files files, $(du -sh --apparent-size files | cut -f1); medians of $runs, plans of $((3 * runs)))" "figure"
row "---" "---"
row "tar | ssh tar, s" "$(median "${hand[@]}")"
row "tar | ssh 'tar && sync', s" "$(median "${synced[@]}")"
row "apply's commands that transfer, s" "$(median "${steps[@]}")"
row "apply's commands / tar | ssh tar" "$(ratio "$(median "${steps[@]}")" "$(median "${hand[@]}")")"
row "the whole apply: plan, transfer, record, plan again, s" "$(median "${whole[@]}")"
row "find | sha256sum there through ssh, s" "$(median "${hashed[@]}")"
row "a second plan, nothing to do, s" "$(median "${plan[@]}")"
row "second plan / find | sha256sum" "$(ratio "$(median "${plan[@]}")" "$(median "${hashed[@]}")")"
row "apply with $((files / 100)) changed files, s" "$(median "${changed[@]}")"
