# Takes the names of parts of images away, and with them the parts that no image is made of.
# $@ names; those that are not there need not be
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
