# Builds a file from its old version, or leaves nothing. Standard input is a compressed tar of the new bytes and of a
# recipe.
# $1 directory for that tar; its present content is left over from an interrupted apply
# $2 new file  $3 old version  $4 sha256 in hex  $5 octal mode  $6 block size of the old version in bytes
# Lines of the recipe:
#   l BYTES         the next new bytes
#   c FIRST COUNT   blocks of the old version
main() {
    dir=$1 new=$2 old=$3 sha256=$4 mode=$5 block=$6
    umask 077
    (umask 022 && mkdir -p -- "${new%/*}") || exit
    trap 'rm -rf -- "$dir"' EXIT
    trap 'exit 129' HUP INT TERM PIPE
    rm -rf -- "$dir" && mkdir -- "$dir" || exit
    gzip -dc | (cd -- "$dir" && tar -xomf -) || exit
    [ -f "$dir/recipe" ] || { echo "the link broke, or the disk is full" >&2; exit 1; }
    cook <"$dir/recipe" 3<"$dir/bytes" >"$dir/built" || { echo "$new could not be built" >&2; exit 1; }
    if [ "$(digest "$dir/built")" != "$sha256" ]; then
        echo "$new: what was built is not what was planned ($old changed meanwhile)" >&2
        exit 1
    fi
    chmod "$mode" "$dir/built" && flush "$dir/built" && mv -f -- "$dir/built" "$new"
}

cook() {
    while read -r what one two; do
        # All readers share the open file and its position.
        case $what in
            l) dd bs="$one" count=1 <&3 ;;
            c) dd if="$old" bs="$block" skip="$one" count="$two" ;;
        esac 2>/dev/null || return
    done
}

main "$@"
