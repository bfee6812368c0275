# Runs a command in a directory.
# $1 directory  $2… command
main() {
    cd -- "$1" || exit
    shift
    # Not by exec: while it runs, this shell's name tells lock.sh that it does.
    "$@" </dev/null
}

main "$@"
