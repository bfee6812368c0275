# Prints a tar archive of what is there of the names below a directory. Read-only.
# $1 directory, ~ for the home directory  $2 the most bytes  $3… names
main() {
    # shellcheck disable=SC2088
    case $1 in
        "~") directory=$HOME ;;
        "~/"*) directory=$HOME/${1#"~/"} ;;
        *) directory=$1 ;;
    esac
    most=$2
    shift 2
    cd -- "$directory" || exit
    # Of the names, those that are there, in the same order.
    for name in "$@"; do
        shift
        if [ -e "$name" ] || [ -h "$name" ]; then set -- "$@" "./$name"; fi
    done
    [ $# -gt 0 ] || return 0
    kilobytes=$(du -skc -- "$@" 2>/dev/null | sed -n '$s/[^0-9].*//p')
    if [ "${kilobytes:-0}" -gt $((most / 1024)) ]; then
        echo "$directory: $* have $kilobytes KiB, more than configuration has: copy what you need yourself" >&2
        return 1
    fi
    printf '\no3r-fetch\n'
    tar -cf - -- "$@"
}

main "$@"
