# Untags parts of images; docker removes the parts that no image uses.
# $@ names; missing ones are no error
main() {
    there=$(docker image ls --format '{{.Repository}}:{{.Tag}}') || exit
    for name; do
        shift
        case "
$there
" in *"
$name
"*) set -- "$@" "$name" ;; esac
    done
    [ $# = 0 ] || docker image rm --no-prune -- "$@"
}

main "$@"
