# Gives a project's containers of before their names back, and stops the newer ones. A newer one goes where the
# container that it replaced is still there; else it is renamed and stays, for it has that one's anonymous
# volumes: docker-compose moves them over when it replaces it. No volume is removed.
# Where an image is gone, docker-compose would ask a registry for it, or take what has the name now: then docker itself
# starts the containers of before that are still there, newer ones of other services run on, and this fails.
# $1 project  $2 how: -d (to run) or --no-start  $3… the containers of before, each as ID=NAME, then --, then the
# images of before, each as NAME=IMAGE
main() {
    project=$1 how=$2
    shift 2
    before=' ' entries='' gone=''
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        entries="$entries $1" before="$before$1 "
        shift
    done
    [ $# -eq 0 ] || shift
    for entry; do
        held "${entry%%=*}" "${entry#*=}" || gone="$gone ${entry%%=*}"
    done
    ids=$(docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.oneoff=False") || exit
    newer='' services=''
    for id in $ids; do
        case $before in
            *" $id="*) services="$services $(service "$id") " || exit ;;
            *) newer="$newer $id" ;;
        esac
    done
    superseded='' alone=''
    for id in $newer; do
        service=$(service "$id") || exit
        case $services in
            *" $service "*) superseded="$superseded $id" ;;
            # It runs on where nothing can be made in its place.
            *) [ -n "$gone" ] || alone="$alone $id" ;;
        esac
    done
    # shellcheck disable=SC2086 # one word an id
    [ -z "$superseded$alone" ] || docker container stop $superseded $alone >/dev/null </dev/null || exit
    for id in $superseded; do docker container rm --force "$id" >/dev/null </dev/null || exit; done
    for id in $alone; do rename "$id" "$(printf %.12s "$id")_$(name "$id")" || exit; done
    there=''
    for entry in $entries; do
        id=${entry%%=*}
        case " $(printf '%s' "$ids" | tr '\n' ' ') " in
            *" $id "*) rename "$id" "${entry#*=}" && there="$there $id" || exit ;;
        esac
    done
    [ -z "$gone" ] && return
    # shellcheck disable=SC2086 # one word an id
    [ "$how" != -d ] || [ -z "$there" ] || start $there
    echo "docker has no image$gone of the previous release any more, and docker-compose would ask a registry for it" >&2
    exit 1
}

# Whether the name $1 is that of the image $2.
held() {
    if said=$(docker image inspect --format '{{.Id}}' "$1" "$2" 2>/dev/null); then
        printf '%s\n' "$said" | { read -r one && read -r other && [ "$one" = "$other" ]; }
    else
        # It may be docker that fails.
        docker image ls -q >/dev/null </dev/null || exit
        return 1
    fi
}

# Some need others to run, whose network they use.
start() {
    docker container start "$@" >/dev/null 2>&1 </dev/null || docker container start "$@" >/dev/null </dev/null || exit
}

service() {
    docker container inspect --format '{{index .Config.Labels "com.docker.compose.service"}}' "$1"
}

# Without what renaming put before it.
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
