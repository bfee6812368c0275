# Whether record-release got as far as to record the release, though it failed, was killed or was not heard of; then it
# does what comes after that.
# $1 history file  $2… directories of kept files
# Standard input: the JSON object
main() {
    read -r record || exit
    last=$(tail -n 1 -- "$1" 2>/dev/null)
    case $last in
        "$record" | "{"*",${record#?}") ;;
        *) exit 1 ;;
    esac
    shift
    forget_kept "$@"
    return 0
}

main "$@"
