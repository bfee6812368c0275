# Has docker-compose recreate the services whose containers are not the earlier ones or cannot start, because a network
# is gone or a container whose namespace they use is replaced or gone. A service without containers counts as replaced:
# others may use its namespaces. For the same reason, the other services start first.
# $1 project  $2 its directory  $3 -d or --no-start  $4… services, and earlier containers as ID=NAME
main() {
    project=$1 directory=$2 how=$3
    shift 3
    before=" "
    for word; do
        case $word in *=*) before="$before${word%%=*} " ;; esac
    done
    networks=$(docker network ls -q --no-trunc) || exit
    replace=' ' gone=' '
    for round in 1 2; do
        for word; do
            case $word in *=*) continue ;; esac
            case $replace in *" $word "*) continue ;; esac
            ids=$(docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$project" \
                --filter "label=com.docker.compose.service=$word") || exit
            [ -n "$ids" ] || replace="$replace$word "
            for id in $ids; do
                case $before in
                    *" $id "*) if [ "$round" = 1 ]; then has_networks "$id"; else has_owners "$id"; fi && continue ;;
                esac
                replace="$replace$word " gone="$gone$ids "
                break
            done
        done
    done
    [ "$replace" = ' ' ] && return
    cd -- "$directory" || exit
    known=$(docker-compose config --services </dev/null) || exit
    services='' others=''
    for word; do
        printf '%s\n' "$known" | grep -qxF -e "$word" || continue
        case $replace in
            *" $word "*) services="$services $word" ;;
            *) others="$others $word" ;;
        esac
    done
    [ -n "$services" ] || return 0
    # shellcheck disable=SC2086 # one word a service
    [ -z "$others" ] || docker-compose up "$how" --no-deps $others </dev/null || return
    # shellcheck disable=SC2086 # one word a service
    docker-compose up "$how" --no-deps --force-recreate $services </dev/null
}

has_networks() {
    for network in $(docker container inspect --format '{{range .NetworkSettings.Networks}}{{.NetworkID}} {{end}}' "$1"); do
        printf '%s\n' "$networks" | grep -qxF -e "$network" || return 1
    done
}

has_owners() {
    for mode in $(docker container inspect --format '{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.IpcMode}}' "$1"); do
        case $mode in container:*) ;; *) continue ;; esac
        case "$(printf '%s' "$gone" | tr '\n' ' ')" in *" ${mode#container:} "*) return 1 ;; esac
        docker container inspect "${mode#container:}" >/dev/null 2>&1 || return 1
    done
}

main "$@"
