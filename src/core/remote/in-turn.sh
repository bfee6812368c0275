# Runs commands one after the other, up to the first that fails. If the client dies in between, the later commands still
# run: what was stopped is started.
# $@ for each command: the number of its words, then its words
main() {
    while [ $# -gt 0 ]; do
        count=$1
        shift
        words=
        index=1
        while [ "$index" -le "$count" ]; do
            words="$words \"\${$index}\""
            index=$((index + 1))
        done
        eval "$words" </dev/null || exit
        shift "$count"
    done
}

main "$@"
