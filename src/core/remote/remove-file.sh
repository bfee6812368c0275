# Removes a project's file, and the directories that it leaves empty.
# $1 PATH  $2 where to keep the file if it is the previous release's, $3 as in kept.sh
# $4 record of what was started from it, moved away before  $5 the project's directory, which stays
main() {
    path=$1 directory=$5
    umask 077
    keep "$path" "$2" "$3" || exit
    forget "$4" "$2" && rm -f -- "$path" "$(added "$2")" || exit
    while path=${path%/*} && [ "$path" != "$directory" ] && [ -n "$path" ]; do
        rmdir -- "$path" 2>/dev/null || break
    done
    sync
}

main "$@"
