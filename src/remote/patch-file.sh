# Builds a file from its old version, or leaves nothing: standard input is a compressed tar of the bytes that are
# new and of a recipe.
# $1 the file to be  $2 its old version  $3 sha256 in hex  $4 octal mode  $5 bytes of a block of the old version
# A line of the recipe is one of
#   l BYTES         the next ones of those that are new
#   c FIRST COUNT   blocks of the old version
main() {
    new=$1 old=$2 sha256=$3 mode=$4 block=$5
    dir=$new.o3r-patch
    umask 077
    (umask 022 && mkdir -p -- "${new%/*}") || exit
    trap 'rm -rf -- "$dir" "$new.o3r-new"' EXIT
    trap 'exit 129' HUP INT TERM PIPE
    rm -rf -- "$dir" && mkdir -- "$dir" || exit
    gzip -dc | (cd -- "$dir" && tar -xomf -) || exit
    [ -f "$dir/recipe" ] || { echo "the link broke, or the disk is full" >&2; exit 1; }
    cook <"$dir/recipe" 3<"$dir/bytes" >"$new.o3r-new" || { echo "$new could not be written" >&2; exit 1; }
    if [ "$(digest "$new.o3r-new")" != "$sha256" ]; then
        echo "$new: what was built is not what was planned ($old changed meanwhile)" >&2
        exit 1
    fi
    chmod "$mode" "$new.o3r-new" && flush "$new.o3r-new" && mv -f -- "$new.o3r-new" "$new"
}

cook() {
    while read -r what one two; do
        # The new bytes are read in turn, by whoever has the open file.
        case $what in
            l) dd bs="$one" count=1 <&3 ;;
            c) dd if="$old" bs="$block" skip="$one" count="$two" ;;
        esac 2>/dev/null || return
    done
}

main "$@"
