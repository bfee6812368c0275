# Gives a project's containers of before their names back, and stops the newer ones. A newer one goes where the
# container that it replaced is still there; else it steps aside and stays, for it has that one's anonymous
# volumes: docker-compose moves them over when it replaces it. No volume is removed.
# $1 project  $2… the containers of before, each as ID=NAME
main() {
    project=$1
    shift
    before=" $* "
    ids=$(docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.oneoff=False") || exit
    newer='' services=''
    for id in $ids; do
        case $before in
            *" $id="*) services="$services $(service "$id") " || exit ;;
            *) newer="$newer $id" ;;
        esac
    done
    # shellcheck disable=SC2086 # one word an id
    [ -z "$newer" ] || docker container stop $newer >/dev/null </dev/null || exit
    for id in $newer; do
        service=$(service "$id") || exit
        case $services in
            *" $service "*) docker container rm --force "$id" >/dev/null </dev/null || exit ;;
            *) rename "$id" "$(printf %.12s "$id")_$(name "$id")" || exit ;;
        esac
    done
    for entry; do
        id=${entry%%=*}
        case " $(printf '%s' "$ids" | tr '\n' ' ') " in
            *" $id "*) rename "$id" "${entry#*=}" || exit ;;
        esac
    done
}

service() {
    docker container inspect --format '{{index .Config.Labels "com.docker.compose.service"}}' "$1"
}

# Without what a step aside put before it.
name() {
    name=$(docker container inspect --format '{{.Name}}' "$1") || return
    name=${name#/}
    printf '%s' "${name#"$(printf %.12s "$1")_"}"
}

rename() {
    found=$(docker container inspect --format '{{.Name}}' "$1") || return
    [ "${found#/}" = "$2" ] || docker container rename "$1" "$2" </dev/null
}

main "$@"
