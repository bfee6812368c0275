# Succeeds if record-release recorded the release although it failed, was killed or lost its connection; then does what
# follows the record.
# $1 history file  $2… directories of kept files
# Standard input: the JSON object
main() {
    read -r record || exit
    last=$(tail -n 1 -- "$1" 2>/dev/null)
    case $last in
        "$record" | "{"*",${record#?}") ;;
        *) exit 1 ;;
    esac
    rm -f -- "${1%.jsonl}.taken"
    shift
    forget_kept "$@"
    return 0
}

main "$@"
