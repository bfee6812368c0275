#!/usr/bin/env bash
# Runs every check, on any Debian or Ubuntu machine with Rust, as root or with sudo: installs what is missing, and
# leaves nothing running.
#
#   tests/run.sh            all parts
#   tests/run.sh PART...    some of them
#   tests/run.sh bless      records what the program says now as what the tests expect: read the diff
#
# parts: format words clippy dependencies shell build tests doctests docs links schema compose twin readme quickstart
# `twin`, `readme` and `quickstart` need docker and start test twins; the twin tests among `tests` do, too.
# `bless` does as well; `bless-local` records only what needs no twin. Snapshots inside of sources need cargo-insta.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

parts=(format words clippy dependencies shell build tests doctests docs links schema compose twin readme quickstart)
# These change the sources: only who names them runs them.
named_only=(bless bless-local)
case ${1:-} in
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit ;;
esac
for part in "$@"; do
    [[ " ${parts[*]} ${named_only[*]} " == *" $part "* ]] ||
        { echo "run.sh: no part '$part'; there are: ${parts[*]} ${named_only[*]}" >&2; exit 2; }
done
[ $# -eq 0 ] || mapfile -t parts < <(printf '%s\n' "$@" | awk '!seen[$0]++')

# A world of its own: twins that someone plays with are not touched.
export O3R_TWIN_STATE=${O3R_TWIN_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/o3r-deploy-tests}
# bin/docker is what twin.sh writes for users who need sudo for docker.
export PATH=$O3R_TWIN_STATE/bin:$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin
mkdir -p "$O3R_TWIN_STATE"
log=$O3R_TWIN_STATE/apt.log
exec 9>"$O3R_TWIN_STATE/run.lock"
flock -n 9 || { echo "run.sh: another run is at work" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need PROGRAM PACKAGE...: installs the packages where the program is missing.
need() {
    ! command -v "$1" >/dev/null || return 0
    command -v apt-get >/dev/null || { echo "run.sh: $1 is missing, and there is no apt-get" >&2; return 1; }
    echo "installing ${*:2}"
    {
        as_root apt-get update -q &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${@:2}"
    } >"$log.$1" 2>&1 || { cat "$log.$1"; return 1; }
}

# --- the parts: each runs in a shell of its own, where the first failing command ends it ---------

part_format() {
    cargo fmt --all --check
}

# Phrases that docs/style.md bans.
part_words() {
    local banned
    # The left column of the first table there, its phrases separated by commas.
    banned=$(awk -F ' *[|] *' '/^\| not /{n++; next} n==1 && /^\|-/{next} n==1 && /^\|/{gsub(/, /,"|",$2); print $2} n==1 && /^$/{exit}' \
        docs/style.md | paste -sd '|')
    [ -n "$banned" ] || { echo 'docs/style.md has no table of words'; return 1; }
    local places=(src tests benches examples docs schemas .ci README.md CONTRIBUTING.md o3r-deploy.toml.example)
    local code=0
    grep -rnwEI --exclude=style.md --exclude=LICENSE --exclude-dir=fixtures "$banned" "${places[@]}" ||
        code=$?
    # 0: found some; 2: could not read all.
    [ $code = 1 ] || { echo 'docs/style.md has the words in place of these'; return 1; }
}

part_clippy() {
    cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
}

# Every dependency is used by some source of its package; those of the workspace by some package.
part_dependencies() {
    local unused=() members=(src/core src/transfer tests/support) outside=() member name
    # used FIND...: whether a source that find finds uses the package.
    used() {
        find "$@" -name '*.rs' -exec grep -qE "\b${name//-/_}(::|!)|use ${name//-/_}\b" {} + || unused+=("$name")
    }
    declared() {
        sed -n "/^\[\(dev-\)\?dependencies\]/,/^\[/s/^\([a-z][a-z0-9_-]*\)\(\.workspace\)\? *=.*/\1/p" "$1" | sort -u
    }
    for member in "${members[@]}"; do
        outside+=(! -path "$member/*")
        while read -r name; do
            used "$member"
        done < <(declared "$member/Cargo.toml")
    done
    while read -r name; do
        used src tests benches examples "${outside[@]}"
    done < <(declared Cargo.toml)
    while read -r name; do
        grep -qE "^$name(\.workspace| = \{ workspace)" Cargo.toml "${members[@]/%//Cargo.toml}" || unused+=("$name")
    done < <(sed -n '/^\[workspace.dependencies\]/,/^\[/s/^\([a-z][a-z0-9_-]*\) *=.*/\1/p' Cargo.toml)
    [ ${#unused[@]} -eq 0 ] || { echo "Cargo.toml names what nothing uses: ${unused[*]}"; return 1; }
}

# The scripts that run on a VPU must be POSIX and pass the parsers of dash and busybox.
part_shell() {
    need shellcheck shellcheck
    need busybox busybox-static
    need dash dash
    local remote=(src/core/remote/*.sh src/observe/*.sh src/observe/*/*.sh src/device/*.sh src/doctor/*.sh src/survey/*.sh)
    for script in "${remote[@]}"; do
        dash -n "$script"
        busybox sh -n "$script"
    done
    shellcheck -s sh "${remote[@]}"
    find .ci/run benches examples tests '(' -name '*.sh' -o -path .ci/run ')' -exec shellcheck {} +
    echo "shellcheck, dash and busybox accept all"
}

part_build() {
    all_targets
    # As users build it: without what tests turn on in libraries.
    cargo check --locked --quiet
}

# A build as users do it would compile most of it again.
all_targets() {
    cargo build --workspace --all-targets --locked --quiet
}

# Unit, property, fault, transcript and twin tests.
part_tests() {
    need busybox busybox-static
    need dash dash
    if cargo nextest --version >/dev/null 2>&1; then
        local profile=()
        ! grep -qs '^\[profile\.all' .config/nextest.toml || profile=(--profile all)
        cargo nextest run --locked --no-fail-fast --status-level slow --final-status-level slow "${profile[@]}"
    else
        cargo test --workspace --locked --quiet --lib --bins --examples --tests --no-fail-fast
    fi
}

part_doctests() {
    cargo test --workspace --locked --quiet --doc
}

part_docs() {
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
}

# Links and file names in the documents.
part_links() {
    need python3 python3
    tests/links.py
}

# The manifest's schema with taplo and tombi.
part_schema() {
    need python3 python3
    tests/schema/check.sh
}

# What docker-compose 1.25.4 and 1.29.2 themselves say of tests/compose/cases, against the table that the tests use.
part_compose() {
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || need no-such-program python3-venv
    tests/compose/oracle.sh
}

# The twin itself.
part_twin() {
    need python3 python3
    tests/twin/test.sh
}

# The sessions in the README, on a twin.
part_readme() {
    need python3 python3
    all_targets
    tests/readme.py
}

part_quickstart() {
    all_targets
    O3R_DEPLOY=${CARGO_TARGET_DIR:-target}/debug/o3r-deploy examples/quickstart.sh
}

# recorded COMMAND...: runs tests that write what they see where it is not what they expect, then again without that:
# what fails then is no matter of expectations.
recorded() {
    local pending
    # The first run fails where an expectation was another one.
    env INSTA_UPDATE=always INSTA_FORCE_PASS=1 O3R_DEPLOY_UPDATE=1 TRYCMD=overwrite "$@" || true
    # Insta leaves snapshots inside of sources to its cargo command.
    pending=$(find src tests -name '.*.pending-snap' -size +0)
    if [ -n "$pending" ]; then
        cargo insta --version >/dev/null 2>&1 ||
            { printf 'these sources have new snapshots; install cargo-insta to take them over:\n%s\n' "$pending"; return 1; }
        cargo insta accept --workspace
    fi
    "$@"
}

# Expectations of tests that need no twin.
part_bless-local() {
    need busybox busybox-static
    need dash dash
    find src tests -name '.*.pending-snap' -delete
    if cargo nextest --version >/dev/null 2>&1; then
        recorded cargo nextest run --locked --no-fail-fast --status-level fail --final-status-level fail
    else
        recorded cargo test --workspace --locked --quiet --lib --bins --test it --no-fail-fast
    fi
    git status --short
}

# All expectations: those, the snapshots of twin tests, and the sessions in the README.
part_bless() {
    local file modules=()
    part_bless-local
    while read -r file; do
        modules+=("$(basename "$file" .rs)::")
    done < <(grep -l 'assert_snapshot!' tests/twin/*.rs)
    recorded cargo test --locked --quiet --test twin --no-fail-fast -- --test-threads 3 "${modules[@]}"
    need python3 python3
    cargo build --locked --quiet
    tests/readme.py --update
    git status --short
}

# --- running them ---------------------------------------------------------------------------------

started=$SECONDS
results=$(mktemp)

finish() {
    # Nothing keeps the twins from being ended.
    trap - EXIT
    trap '' INT TERM
    local twin
    if [ -n "$chain" ]; then
        kill -TERM -- "-$chain" 2>/dev/null
        wait "$chain"
        cat "$output"
    fi
    rm -f "$output"
    for twin in "$O3R_TWIN_STATE"/twins/*/; do
        [ ! -d "$twin" ] || tests/twin/twin.sh down "$(basename "$twin")" 9>&-
    done
    # Containers of others keep the engine.
    if [ -e "$O3R_TWIN_STATE/dockerd.pid" ]; then
        tests/twin/twin.sh engine-stop 9>&-
    fi
}
chain=
output=
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

command -v cargo >/dev/null || { echo "run.sh: Rust is missing; https://rustup.rs installs it" >&2; exit 1; }
need cc gcc libc6-dev || exit
need ssh openssh-client || exit

# run PART: runs it, and notes how it ended.
run() {
    local since=$SECONDS code
    printf '\n━━ %s\n' "$1"
    (set -e; "part_$1") 9>&- </dev/null
    code=$?
    printf '%s %s\n' "$1" $code >>"$results"
    if [ $code = 0 ]; then
        printf '━━ %s passed in %d s\n' "$1" $((SECONDS - since))
    else
        printf '━━ %s FAILED with %d after %d s\n' "$1" $code $((SECONDS - since))
    fi
}

# What both sides of that would install at once, apt refuses.
[[ " ${parts[*]} " != *" twin "* ]] || ! command -v apt-get >/dev/null || {
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || need no-such-program python3-venv
}

# While twins boot, the processors have time for these, one after the other.
beside=()
for part in "${parts[@]}"; do
    case " ${parts[*]} $part" in
        *" twin "*" "docs | *" twin "*" "schema | *" twin "*" "compose) beside+=("$part") ;;
    esac
done

for part in "${parts[@]}"; do
    [[ " ${beside[*]} " != *" $part "* ]] || continue
    if [ "$part" = twin ] && [ ${#beside[@]} -gt 0 ]; then
        output=$(mktemp)
        # A process group of its own, so that a signal can end all of it.
        set -m
        for other in "${beside[@]}"; do run "$other"; done >"$output" 2>&1 9>&- &
        chain=$!
        set +m
        run twin
        wait "$chain"
        chain=
        cat "$output"
    else
        run "$part"
    fi
done

finish
failed=$(sed -n 's/ [1-9][0-9]*$//p' "$results")
count=$(grep -c . <<<"$failed")
total=$(grep -c . "$results")
rm "$results"
printf '\n%d s' $((SECONDS - started))
[ "$count" = 0 ] || printf '; failed: %s' "${failed//$'\n'/ }"
printf '\n%d passed, %d failed\n' $((total - count)) "$count"
[ "$total" = ${#parts[@]} ] || { echo "run.sh: only $total of ${#parts[@]} parts ran to their end" >&2; exit 1; }
[ "$count" = 0 ]
