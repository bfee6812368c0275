# Prints which files are whole. Read-only.
# $1 a word before each, as a login shell may print lines, too
# Standard input: lines of sha256 in hex, a space, and a path
main() {
    while read -r sha256 path; do
        [ -f "$path" ] || continue
        # Without a tool for sha256, what is there counts.
        found=$(digest "$path")
        [ "${found:-$sha256}" != "$sha256" ] || printf '%s %s %s\n' "$1" "$sha256" "$path"
    done
}

main "$@"
