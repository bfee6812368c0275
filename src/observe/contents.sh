# Prints the contents of small files in hexadecimal, one line per file, after `=`; an empty line for a file that is large
# or unreadable. Read-only.
# $1 largest file in bytes  $2 a word that is printed before the first file: a login shell may print lines, too
# Standard input: absolute paths, one per line
main() {
    LC_ALL=C
    export LC_ALL
    printf '\n%s\n' "$2"
    while IFS= read -r path; do
        if [ -f "$path" ] && [ -r "$path" ] && [ "$(wc -c <"$path")" -le "$1" ]; then
            printf '='
            od -An -v -tx1 <"$path" | tr -d ' \n'
        fi
        echo
    done
}

main "$@"
