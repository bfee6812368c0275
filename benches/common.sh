# shellcheck shell=bash disable=SC2034 # variables for those who source this
# What the benchmarks share; they source it. Leaves the shell in the repository's root with
#   tool        the program that is measured: $O3R_DEPLOY, or what is built here
#   work        a directory for whatever is made on the way, below $TMPDIR
#   twin        the name of a test twin that is up, described by ADDRESS KEY KNOWN_HOSTS HOST_KEY
# and takes all of it away on exit, by Ctrl-C too.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
root=$PWD
twin=bench-$$
export O3R_TWIN_STATE=${O3R_TWIN_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/o3r-deploy-bench}

tool=${O3R_DEPLOY:-$root/target/release/o3r-deploy}
[ "${O3R_DEPLOY:-}" ] || cargo build --release --locked --quiet

cleaning=()
# at_exit COMMAND…: done at the end, the last one first.
at_exit() { cleaning=("${*@Q}" "${cleaning[@]}"); }
clean() {
    local command
    trap '' INT TERM HUP    # cleaning is done once, and to its end
    set +e
    for command in "${cleaning[@]}"; do eval "$command" >&2; done
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

work=$(mktemp -d)
at_exit rm -rf "$work"
# An engine that runs already belongs to somebody.
docker info >/dev/null 2>&1 || at_exit "$root/tests/twin/twin.sh" engine-stop
tests/twin/twin.sh engine >&2
at_exit "$root/tests/twin/twin.sh" down "$twin"
eval "$(tests/twin/twin.sh up "$twin")"
ssh_to_twin=(ssh -F none -o StrictHostKeyChecking=yes -o "UserKnownHostsFile=$KNOWN_HOSTS" -i "$KEY" "oem@$ADDRESS")

# vpu_table HOST PORT: the manifest's [vpu].
vpu_table() {
    cat <<TOML
[vpu]
host = "$1"
port = $2
identity = "$KEY"
host_key = "$HOST_KEY"
arch = "$(docker version --format '{{.Server.Arch}}')"
TOML
}

# median NUMBER…
median() { printf '%s\n' "$@" | sort -g | sed -n "$((($# + 1) / 2))p"; }
ratio() { awk "BEGIN { printf \"%.2f\", $1 / $2 }"; }
# row WHAT FIGURE: a line of a table in Markdown
row() { printf '| %-58s | %10s |\n' "$1" "$2"; }
