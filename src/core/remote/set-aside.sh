# Renames a file that docker-compose would read on its own and that nobody declared, or takes that back.
# $1 do or undo  $2 path  $3 what its name gets behind it  $4 record of what the containers were started from
main() {
    rm -f -- "$4"
    if [ "$1" = undo ]; then
        [ ! -e "$2$3" ] || mv -f -- "$2$3" "$2"
    else
        { [ ! -e "$2" ] && [ ! -h "$2" ]; } || mv -f -- "$2" "$2$3"
    fi
}

main "$@"
