# Prints what is at and below the targets of transfers, as sections framed by a nonce. Read-only.
# $1 nonce  $2 look, or hash  $3 size from which a file is large, in blocks of 512 bytes
# Standard input: one query per line; PATH is absolute, or starts with ./ below the home directory:
#   r PATH       a target
#   R PATH       a target whose whole content is listed
#   n PATH       a path to look at
#   s PATH       a file to hash unless it is large
#   l SIZE PATH  a file to hash if it has SIZE bytes
# Names come on standard input and are handled in batches: one process per name would take minutes.
main() {
    nonce=$1 blocks=$3
    set -f
    umask 077
    LC_ALL=C
    export LC_ALL
    cd -- "$HOME" || exit
    queries=$(cat)
    case $2 in
        look)
            section targets targets
            section nodes nodes
            section below below
            ;;
        hash) section hashes hashes ;;
    esac
}

section() {
    name=$1
    shift
    printf '\n%s begin %s\n' "$nonce" "$name"
    # A subshell: variables of a probe must not leak.
    ("$@") </dev/null 2>/dev/null
    code=$?
    printf '\n%s end %s %s\n' "$nonce" "$name" "$code"
}

# Prints the paths of the queries that the sed expression $1 strips.
queried() { printf '%s\n' "$queries" | sed -n "$1"; }

# Runs the script $1 with the names on standard input, one per line, as arguments.
each() {
    if command -v xargs >/dev/null; then
        tr '\n' '\000' | xargs -0 sh -c "$1" o3r-batch
    else
        script=$1
        set --
        while IFS= read -r name; do
            set -- "$@" "$name"
            [ $# -lt 100 ] || { sh -c "$script" o3r-batch "$@" </dev/null; set --; }
        done
        [ $# = 0 ] || sh -c "$script" o3r-batch "$@" </dev/null
    fi
}

# For each target: whether the nearest directory at or above it is writable (w), not writable (-), or unreachable because a
# non-directory is above it (f); the file system and the path of that directory, and the target's path.
targets() {
    df -Pk . | { read -r _; read -r _ _ _ _ _ mount; printf 'home %s\n' "$mount"; }
    left "$HOME/.o3r-deploy/staging"
    queried 's/^[rR] //p' | while IFS= read -r path; do
        parent=$path flag=-
        until [ -d "$parent" ]; do
            if [ "$parent" != "$path" ] && { [ -e "$parent" ] || [ -h "$parent" ]; }; then flag=f; fi
            case $parent in
                ?*/*) parent=${parent%/*} ;;
                *) parent=/ ;;
            esac
        done
        [ "$flag" = f ] || { [ -w "$parent" ] && [ -x "$parent" ] && flag=w; }
        printf 'target %s\n%s\n%s\n%s\n' "$flag" "$(disk "$parent")" "$parent" "$path"
        left "$parent/.o3r-staging"
        [ -d "$path" ] && [ "$path" != "$parent" ] && left "$path/.o3r-staging"
    done
    return 0
}

# Leftovers of an interrupted apply.
left() { [ ! -e "$1" ] || printf 'left %s\n' "$1"; }

# One line for each existing path (`= MODE UID SIZE PATH`), each missing path (`- PATH`) and our permissions in a
# directory (`d RWX PATH`); two lines for a symbolic link (`@ PATH`, its target).
nodes() {
    if stat -c %f . >/dev/null; then how='stat'; else how='ls'; fi
    export how
    # shellcheck disable=SC2016 # for the batch's shell
    queried 's/^[nrR] //p' | each '
        exec </dev/null
        set -f
        [ $# = 0 ] && exit
        words() { printf "= %s %s %s %s\n" "$1" "$3" "$5" "$path"; }
        [ "$how" = ls ] || stat -c "= %f %u %s %n" "$@"
        for path; do
            if [ -h "$path" ]; then
                target=$(readlink "$path" || busybox readlink "$path" || { list=$(ls -ldn "$path") && printf %s "${list#*" -> "}"; })
                case $target in *"
"*) target= ;; esac
                printf "@ %s\n%s\n" "$path" "$target"
            elif [ -d "$path" ]; then
                [ -r "$path" ] && r=r || r=-
                [ -w "$path" ] && w=w || w=-
                [ -x "$path" ] && x=x || x=-
                printf "d %s %s\n" "$r$w$x" "$path"
            elif [ ! -e "$path" ]; then
                printf "%s %s\n" - "$path"
                continue
            fi
            [ "$how" = stat ] || words $(ls -ldn "$path")
        done
        exit 0'
}

# The whole content of the targets with `delete`: directories with our permissions, names that contain line ends in
# hexadecimal, and all other paths unchanged.
below() {
    queried 's/^R //p' | {
        failed=0
        while IFS= read -r path; do
            [ -d "$path" ] || continue
            printf 'R %s\n' "$path"
            find "$path/" -name '*
*' -prune -exec sh -c 'for path; do
                    printf "odd "
                    printf %s "$path" | od -An -v -tx1 | tr -d " \n"
                    echo
                done' o3r-batch {} + \
                -o -type d -exec sh -c 'for path; do
                    [ -r "$path" ] && r=r || r=-
                    [ -w "$path" ] && w=w || w=-
                    [ -x "$path" ] && x=x || x=-
                    printf "d %s %s\n" "$r$w$x" "$path"
                done' o3r-batch {} + \
                -o -print || failed=1
        done
        return $failed
    }
}

hashes() {
    for tool in 'sha256sum' 'openssl dgst -sha256 -r' 'busybox sha256sum' none; do
        command -v "${tool%% *}" >/dev/null && break
    done
    # Without a tool, the bytes in hexadecimal after `x`.
    # shellcheck disable=SC2016,SC2089 # for the batch's shell
    hex='for path; do printf x; od -An -v -tx1 <"$path" | tr -d " \n"; printf "  %s\n" "$path"; done'
    # shellcheck disable=SC2090
    export tool blocks hex
    # shellcheck disable=SC2016
    queried 's/^s //p' | each '
        exec </dev/null
        set -f
        [ $# = 0 ] && exit
        if [ "$tool" = none ]; then find "$@" -prune -type f -size "-$blocks" -exec sh -c "$hex" o3r-batch {} +
        else find "$@" -prune -type f -size "-$blocks" -exec $tool {} +
        fi
        exit 0'
    queried 's/^l //p' | while IFS= read -r line; do
        size=${line%% *} path=${line#* }
        # shellcheck disable=SC2086 # a tool and its options
        if [ "$tool" = none ]; then find "$path" -prune -type f -size "${size}c" -exec sh -c "$hex" o3r-batch {} +
        else find "$path" -prune -type f -size "${size}c" -exec $tool {} +
        fi </dev/null
    done
    return 0
}

main "$@"
