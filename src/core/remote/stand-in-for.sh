# Replaces a container whose image docker no longer has by a stand-in that holds its anonymous volumes: docker-compose
# refuses to recreate the container itself. Does nothing if it is gone.
# $1 its id  $2 the image of the stand-in
main() {
    ids=$(docker container ls -aq --no-trunc) || exit
    printf '%s\n' "$ids" | grep -qxF -e "$1" || return 0
    volumes=$(volumes_of "$1" anonymous) || exit
    docker container stop "$1" >/dev/null </dev/null || exit
    if [ -n "$volumes" ]; then
        labels=$(labels_of "$1")
        stand_in "$2" "$labels" "$volumes" "$(printf %.12s "$1")" || exit
    fi
    docker container rm --force "$1" >/dev/null </dev/null
}

main "$@"
