# Prints which paths lead through symbolic links, so that another path may name the same. Read-only.
# $1 a word before each, as a login shell may print lines, too
# Standard input: absolute paths
# linked.sh comes first.
while IFS= read -r path; do
    dir=$path
    [ -d "$dir" ] || dir=${path%/*}
    ! linked "${dir:-/}" || printf '%s %s\n' "$1" "$path"
done
exit 0
