# Prints which contents the store has whole. Read-only.
# $1 the store  $2 a word before each, as a login shell may print lines, too
# Standard input: sha256 in hex, one per line
main() {
    while read -r sha256; do
        [ -f "$1/$sha256" ] || continue
        # Without a tool for sha256, what is there counts.
        found=$(digest "$1/$sha256")
        [ "${found:-$sha256}" != "$sha256" ] || printf '%s %s\n' "$2" "$sha256"
    done
}

main "$@"
