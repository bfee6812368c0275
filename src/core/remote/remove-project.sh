# Removes a project's containers and networks by label; needs no compose file.
# $1 project  $2 record
main() {
    rm -f -- "$2"
    ids=$(docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$1") || exit
    for id in $ids; do docker container rm -f "$id" >/dev/null </dev/null || exit; done
    ids=$(docker network ls -q --no-trunc --filter "label=com.docker.compose.project=$1") || exit
    for id in $ids; do docker network rm "$id" >/dev/null </dev/null || exit; done
}

main "$@"
