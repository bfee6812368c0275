# Gives a project's earlier containers their names back and stops the newer ones. Removes a newer container if the one
# that it replaced still exists; otherwise docker-compose replaces it, and moves its anonymous volumes, or keeps it if it
# is what the files say: the boot may have created it. No volume is removed.
# If an image is gone, docker-compose would pull it or use what has the name now. Then docker itself starts the earlier
# containers that still exist, newer ones of other services keep running, and the script fails.
# $1 project  $2 -d (start) or --no-start  $3… the earlier containers, each as ID=NAME, then --, then their images, each
# as NAME=IMAGE
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
            # It keeps running if nothing can replace it.
            *) [ -n "$gone" ] || alone="$alone $id" ;;
        esac
    done
    # shellcheck disable=SC2086 # one word an id
    [ -z "$superseded$alone" ] || docker container stop $superseded $alone >/dev/null </dev/null || exit
    for id in $superseded; do docker container rm --force "$id" >/dev/null </dev/null || exit; done
    for id in $alone; do rename "$id" "$(name "$id")" || exit; done
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
    echo "docker no longer has image$gone of the previous release, and docker-compose would pull it from a registry" >&2
    exit 1
}

# Succeeds if $1 names the image $2.
held() {
    if said=$(docker image inspect --format '{{.Id}}' "$1" "$2" 2>/dev/null); then
        printf '%s\n' "$said" | { read -r one && read -r other && [ "$one" = "$other" ]; }
    else
        # Docker itself may have failed.
        docker image ls -q >/dev/null </dev/null || exit
        return 1
    fi
}

# Some use the network of others, which have to run first.
start() {
    docker container start "$@" >/dev/null 2>&1 </dev/null || docker container start "$@" >/dev/null </dev/null || exit
}

service() {
    docker container inspect --format '{{index .Config.Labels "com.docker.compose.service"}}' "$1"
}

# The name without the prefix of step-aside.
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
