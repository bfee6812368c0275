# Renames a file that docker-compose would read by default and that nobody declared, or reverts that.
# $1 do or undo  $2 path  $3 suffix of the new name  $4 record of what the containers were started from
main() {
    rm -f -- "$4"
    if [ "$1" = undo ]; then
        [ ! -e "$2$3" ] || mv -f -- "$2$3" "$2"
    else
        { [ ! -e "$2" ] && [ ! -h "$2" ]; } || mv -f -- "$2" "$2$3"
    fi
}

main "$@"
