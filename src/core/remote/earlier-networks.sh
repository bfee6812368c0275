# Removes the networks of a project that came since, so that docker-compose creates those of before again. One that a
# running container, or a container of somebody else, is on stays.
# $1 project  $2… ids of the networks that stay
main() {
    project=$1
    shift
    ids=$(docker network ls -q --no-trunc --filter "label=com.docker.compose.project=$project") || exit
    for id in $ids; do
        case " $* " in *" $id "*) continue ;; esac
        # A container that never ran has no id of it, but its name.
        name=$(docker network inspect --format '{{.Name}}' "$id") || exit
        users=$(docker container ls -aq --no-trunc --filter "network=$id" --filter "network=$name") || exit
        for user in $users; do
            found=$(docker container inspect \
                --format '{{.State.Running}} {{index .Config.Labels "com.docker.compose.project"}}' "$user") || exit
            [ "$found" = "false $project" ] || continue 2
        done
        docker network rm "$id" >/dev/null </dev/null || exit
    done
}

main "$@"
