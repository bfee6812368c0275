# Prints a tar archive of what is there of some names below a directory. Read-only.
# $1 directory, ~ for the home directory  $2 the most bytes
# Standard input: the names, one per line
main() {
    # shellcheck disable=SC2088
    case $1 in
        "~") directory=$HOME ;;
        "~/"*) directory=$HOME/${1#"~/"} ;;
        *) directory=$1 ;;
    esac
    most=$2
    cd -- "$directory" || exit
    set --
    while IFS= read -r name; do
        if [ -e "$name" ] || [ -h "$name" ]; then set -- "$@" "./$name"; fi
    done
    [ $# -gt 0 ] || return 0
    kilobytes=$(du -skc -- "$@" 2>/dev/null | sed -n '$s/[^0-9].*//p')
    if [ "${kilobytes:-0}" -gt $((most / 1024)) ]; then
        echo "$directory: they have $kilobytes KiB, more than configuration has: copy what you need yourself" >&2
        return 1
    fi
    printf '\no3r-fetch\n'
    tar -cf - -- "$@" </dev/null
}

main "$@"
