# Runs a command in a directory.
# $1 directory  $2… command
main() {
    cd -- "$1" || exit
    shift
    # No exec: lock.sh finds the running command by the name of this shell.
    "$@" </dev/null
}

main "$@"
