# Has docker-compose replace the containers of those services that are not of before any more.
# $1 project  $2 its directory  $3 how: -d or --no-start  $4… services, and containers of before as ID=NAME
main() {
    project=$1 directory=$2 how=$3
    shift 3
    before=" "
    for word; do
        case $word in *=*) before="$before${word%%=*} " ;; esac
    done
    replace=
    for word; do
        case $word in *=*) continue ;; esac
        ids=$(docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$project" \
            --filter "label=com.docker.compose.service=$word") || exit
        for id in $ids; do
            case $before in *" $id "*) ;; *) replace="$replace $word"; break ;; esac
        done
    done
    [ -z "$replace" ] && return
    cd -- "$directory" || exit
    known=$(docker-compose config --services </dev/null) || exit
    services=
    for service in $replace; do
        printf '%s\n' "$known" | grep -qxF -e "$service" && services="$services $service"
    done
    # shellcheck disable=SC2086 # one word a service
    [ -z "$services" ] || docker-compose up "$how" --no-deps --force-recreate $services </dev/null
}

main "$@"
