# Removes a name from its image, if it has it; the image stays while it has another name.
# $1 name
main() {
    docker image inspect --format '{{.ID}}' "$1" >/dev/null 2>&1 || return 0
    docker image rm --no-prune "$1"
}

main "$@"
