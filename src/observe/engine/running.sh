# Prints what the kernel knows of running containers, and where docker keeps images, changing nothing.
# $1: nonce. Standard input, a line each:
#   root DIRECTORY   how much space is there
#   pid NUMBER       when this process was started, and what it has mounted
#   path PATH        what it is behind its symbolic links
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
            'root '*) df -Pk "$word" 2>/dev/null </dev/null | space ;;
            'pid '*) started "$word"; mounted "$word" "mount $word" ;;
            'path '*) printf 'path %s ' "$index"; real "$word"; index=$((index + 1)) ;;
        esac
    done
    mounted self host
    printf '%s end running 0\n' "$nonce"
}

space() {
    read -r _
    read -r _ total _ free _
    printf 'docker %s %s\n' "$total" "$free"
}

# When process $1 was started, in clock ticks since boot: docker tells it by the wall clock alone, and that
# jumps.
started() {
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return
    pid=$1
    # The name, in parentheses, may hold anything; field 22 is the 20th behind it.
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    printf 'started %s %s\n' "$pid" "${20}"
}

# What process $1 has mounted, with $2 before each line: device, directory of that device, mount point.
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

# Whether "it is not there" can be trusted: its nearest existing parent can be searched.
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
