# Appends standard input to a file of which the first bytes are there already.
# $1 file  $2 bytes that are there  $3 bytes that it has at the end; - where nobody knows before
main() {
    umask 077
    directory=${1%/*}
    note=$directory/.${1##*/}.pid
    mkdir -p -- "$directory" || exit
    earlier "$1"
    if [ "$2" = 0 ]; then
        : >"$1" || exit
    else
        # What came after them, from a connection that ended slowly, is cut off.
        [ -f "$1" ] && dd if=/dev/null of="$1" bs=1 seek="$2" 2>/dev/null || exit
    fi
    exec 3<&0
    cat <&3 >>"$1" &
    printf '%s\n' "$!" >"$note"
    wait "$!" || exit
    rm -f -- "$note"
    size=$(wc -c <"$1")
    [ "$3" = - ] || [ "$size" -eq "$3" ] || { echo "$size of $3 bytes arrived" >&2; exit 1; }
}

# Ends one that still waits for a connection which we know to be dead: it would write between our bytes. By now its
# number may be that of any other process, which does not write into this file.
earlier() {
    { read -r pid <"$note"; } 2>/dev/null || return
    # shellcheck disable=SC3013 # dash, busybox and bash have it
    [ -O "/proc/$pid" ] && [ "/proc/$pid/fd/1" -ef "$1" ] && kill -9 "$pid"
}

main "$@"
