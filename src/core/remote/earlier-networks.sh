# Removes the networks that a newer release created for a project, so that docker-compose creates the earlier ones. Keeps
# a network that a running container or a container of another project uses.
# $1 project  $2… ids of the networks that stay
main() {
    project=$1
    shift
    ids=$(docker network ls -q --no-trunc --filter "label=com.docker.compose.project=$project") || exit
    for id in $ids; do
        case " $* " in *" $id "*) continue ;; esac
        # A container that never ran refers to its network by name, not by id.
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
