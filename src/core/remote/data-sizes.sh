# Prints what is in directories. Read-only. linked.sh comes first.
# $1 a word before each line, as a login shell may print lines, too
# Standard input: their paths
# Output: WORD KIBIBYTES empty|whole|part PATH; part if not all of it can be read
while IFS= read -r dir; do
    [ -d "$dir" ] || continue
    if [ -h "$dir" ] || linked "$dir"; then continue; fi
    # Only what this user made and can remove.
    # shellcheck disable=SC3067 # dash and busybox have -O
    [ -O "$dir" ] || continue
    [ -w "${dir%/*}/" ] || continue
    kind=whole
    size=$(du -sk -- "$dir" 2>/dev/null) || kind=part
    size=${size%%[!0-9]*}
    if found=$(ls -A -- "$dir" 2>/dev/null); then
        [ -n "$found" ] || kind=empty
    else
        kind=part
    fi
    printf '%s %s %s %s\n' "$1" "${size:-0}" "$kind" "$dir"
done
exit 0
