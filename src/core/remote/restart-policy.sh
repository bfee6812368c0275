# Sets the restart policy of a service's containers.
# $1 project  $2 service  $3 policy
main() {
    ids=$(docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$1" \
        --filter "label=com.docker.compose.service=$2" --filter label=com.docker.compose.oneoff=False) || exit
    for id in $ids; do docker container update "--restart=$3" "$id" >/dev/null </dev/null || exit; done
}

main "$@"
