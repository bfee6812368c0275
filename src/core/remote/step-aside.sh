# Stops containers of a project and renames them, so that their ports and names are free for the new ones; docker-compose
# moves their anonymous volumes. The new name is the one that docker-compose itself gives to a container that it is about
# to replace.
# $1 project  $2… services, each as NAME=SECONDS: the stop timeout; empty for docker's default
main() {
    project=$1
    shift
    pids=
    for service; do
        ids=$(of_service "${service%%=*}") || exit
        [ -z "$ids" ] && continue
        seconds=${service#*=}
        # shellcheck disable=SC2086 # one word an id
        docker container stop ${seconds:+--time "$seconds"} $ids >/dev/null </dev/null &
        pids="$pids $!"
    done
    for pid in $pids; do wait "$pid" || exit; done
    for service; do
        ids=$(of_service "${service%%=*}") || exit
        for id in $ids; do
            name=$(docker container inspect --format '{{.Name}}' "$id") || exit
            short=$(printf %.12s "$id")
            case ${name#/} in
                "${short}_"*) ;;
                *) docker container rename "$id" "${short}_${name#/}" </dev/null || exit ;;
            esac
        done
    done
}

of_service() {
    docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.oneoff=False" --filter "label=com.docker.compose.service=$1"
}

main "$@"
