# Prints what the kernel knows of running containers, and where docker keeps images. Read-only.
# $1 nonce. Standard input, one query per line:
#   root DIRECTORY   the file system of it
#   pid NUMBER       start time and mounts of this process
#   path PATH        the path with its symbolic links resolved
main() {
    nonce=$1
    set -f
    LC_ALL=C
    export LC_ALL
    index=0
    printf '\n%s begin running\n' "$nonce"
    while IFS= read -r line; do
        word=${line#* }
        case $line in
            'root '*) printf 'docker %s\n' "$(disk "$word")" ;;
            'pid '*) started "$word"; mounted "$word" "mount $word" ;;
            'path '*) printf 'path %s ' "$index"; real "$word"; index=$((index + 1)) ;;
        esac
    done
    mounted self host
    printf '%s end running 0\n' "$nonce"
}

# The start time of process $1 in clock ticks since boot: docker reports it by the wall clock only, which jumps.
started() {
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return
    pid=$1
    # The name, in parentheses, may contain anything; field 22 is the 20th after it.
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    printf 'started %s %s\n' "$pid" "${20}"
}

# The mounts of process $1, each line after $2: device, directory of that device, mount point.
mounted() {
    sed -n "s/^[^ ]* [^ ]* \\([^ ]* [^ ]* [^ ]*\\) .*/$2 \\1/p" "/proc/$1/mountinfo" 2>/dev/null </dev/null
}

real() {
    if [ -d "$1" ]; then
        # Not every VPU has realpath.
        directory=$(cd -P -- "$1" 2>/dev/null && pwd -P) || { echo unknown; return; }
        printf 'is %s\n' "$directory"
    elif [ -h "$1" ]; then
        echo unknown
    elif [ -e "$1" ]; then
        parent=${1%/*}
        directory=$(cd -P -- "${parent:-/}" 2>/dev/null && pwd -P) || { echo unknown; return; }
        printf 'is %s/%s\n' "${directory%/}" "${1##*/}"
    elif reachable "$1"; then
        echo gone
    else
        echo unknown
    fi
}

# Succeeds if a path is surely missing: its nearest existing parent is searchable.
reachable() {
    parent=$1
    while :; do
        case $parent in
            /*/*) parent=${parent%/*} ;;
            *) return 0 ;;
        esac
        [ -d "$parent" ] && { [ -x "$parent" ]; return; }
        { [ -e "$parent" ] || [ -h "$parent" ]; } && return 0
    done
}

main "$@"
