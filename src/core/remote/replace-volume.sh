# Binds a volume to a directory: removes a different volume of that name with the containers that use it. Does nothing
# if the volume is right. For a removed container with anonymous volumes, creates a stand-in that holds them:
# docker-compose moves them when it replaces it.
# $1 name  $2 directory  $3 label; may be empty  $4… the compose projects whose containers may be removed
main() {
    name=$1 device=$2 label=$3
    shift 3
    volumes=$(docker volume ls -q) || exit
    if printf '%s\n' "$volumes" | grep -Fqx -- "$name"; then
        found=$(describe) || exit
        [ "$found" = "local device=$device;o=bind;type=none;" ] && return
        ids=$(docker container ls -aq --no-trunc --filter "volume=$name") || exit
        for id in $ids; do may_go "$id" "$@" || exit; done
        # shellcheck disable=SC2086 # one word an id
        [ -z "$ids" ] || docker container stop $ids >/dev/null </dev/null || exit
        for id in $ids; do
            keep_anonymous "$id" && docker container rm --force "$id" >/dev/null </dev/null || exit
        done
        docker volume rm "$name" >/dev/null || exit
    fi
    docker volume create --driver local --opt type=none --opt o=bind --opt "device=$device" \
        ${label:+--label "$label"} "$name" >/dev/null
}

describe() {
    docker volume inspect --format '{{.Driver}} {{range $key, $value := .Options}}{{$key}}={{$value}};{{end}}' "$name"
}

may_go() {
    project=$(docker container inspect --format '{{index .Config.Labels "com.docker.compose.project"}}' "$1") || return
    id=$1
    shift
    for ours; do [ "$project" = "$ours" ] && return; done
    echo "container $id uses volume $name and does not belong to this release" >&2
    return 1
}

keep_anonymous() {
    volumes=$(volumes_of "$1" anonymous) || return
    [ -n "$volumes" ] || return 0
    image=$(docker container inspect --format '{{.Image}}' "$1") || return
    if ! docker image inspect --format '{{.Id}}' "$image" >/dev/null 2>&1; then
        # Docker itself may have failed.
        docker image ls -q >/dev/null || return
        echo "WARNING: the image of container $1 is gone; its anonymous volumes stay, unused:" \
            "$(printf '%s\n' "$volumes" | cut -d ' ' -f 1 | tr '\n' ' ')" >&2
        return 0
    fi
    labels=$(labels_of "$1")
    stand_in "$image" "$labels" "$volumes" "$(printf %.12s "$1")"
}

main "$@"
