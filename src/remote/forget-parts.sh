# Takes the names of parts of images away, and with them the parts that no image is made of.
# $@ names; those that are not there need not be
main() {
    for name; do
        docker image inspect --format '{{.ID}}' "$name" >/dev/null 2>&1 || continue
        docker image rm --no-prune "$name" || exit
    done
}

main "$@"
