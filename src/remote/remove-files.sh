# Removes files (directories whole), and then the directories that they were in, as far as nothing else is
# left in them.
# $1 directory  $2… files, all below it
main() {
    directory=$1
    shift
    rm -rf -- "$@" || exit
    for path in "$@"; do
        while path=${path%/*} && [ "$path" != "$directory" ] && [ -n "$path" ]; do
            rmdir -- "$path" 2>/dev/null || break
        done
    done
    rmdir -- "$directory" 2>/dev/null || :
}

main "$@"
