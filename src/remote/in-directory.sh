# Runs a command in a directory.
# $1 directory  $2… command
main() {
    cd -- "$1" || exit
    shift
    exec "$@" </dev/null
}

main "$@"
