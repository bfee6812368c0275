# Removes files (directories whole) and then the directory that they are in, if nothing else is left in it.
# $1 directory  $2… files
main() {
    directory=$1
    shift
    rm -rf -- "$@" || exit
    rmdir -- "$directory" 2>/dev/null || :
}

main "$@"
