# Stops and removes the containers of some of a project's services, whatever its compose file says of them.
# $1 project  $2… services
main() {
    project=$1
    shift
    for service; do
        ids=$(docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$project" \
            --filter "label=com.docker.compose.service=$service") || exit
        [ -z "$ids" ] && continue
        # shellcheck disable=SC2086 # one word an id
        docker container stop $ids >/dev/null </dev/null && docker container rm --force $ids >/dev/null </dev/null || exit
    done
}

main "$@"
