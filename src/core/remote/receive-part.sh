# Appends standard input to a partly received file.
# $1 file  $2 bytes already received  $3 final size in bytes, - if unknown
main() {
    umask 077
    directory=${1%/*}
    note=$directory/.${1##*/}.pid
    mkdir -p -- "$directory" || exit
    earlier "$1"
    if [ "$2" = 0 ]; then
        : >"$1" || exit
    else
        # Truncates what a dying connection still appended.
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

# Ends an earlier receiver that waits on a dead connection: it would write between our bytes. The kernel may have reused
# its process id: such a process does not write to this file.
earlier() {
    { read -r pid <"$note"; } 2>/dev/null || return
    # shellcheck disable=SC3013 # dash, busybox and bash have it
    [ -O "/proc/$pid" ] && [ "/proc/$pid/fd/1" -ef "$1" ] && kill -9 "$pid"
}

main "$@"
