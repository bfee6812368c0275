# Removes files and whole directories, then the directories above them that are empty.
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
    rmdir -- "$directory" 2>/dev/null || left
}

# Reports what is left in the directory: it is not ours to remove.
left() {
    [ -d "$directory" ] || return 0
    names=
    for path in "$directory"/* "$directory"/.[!.]*; do
        if [ -e "$path" ] || [ -h "$path" ]; then names="$names${names:+, }${path##*/}"; fi
    done
    if [ -n "$names" ]; then
        echo "WARNING: $directory stays, because it contains files that this manifest does not declare: $names" >&2
    else
        echo "WARNING: $directory is empty, but cannot be removed" >&2
    fi
}

main "$@"
