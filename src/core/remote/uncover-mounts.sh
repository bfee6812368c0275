# Replaces the stopped containers of a service that have a volume where the service now mounts something else:
# docker-compose would move the volume there. A stand-in holds their other anonymous volumes; no volume is removed.
# $1 project  $2 service  $3… its mounts, each as VOLUME DESTINATION; VOLUME is empty for other mounts
main() {
    project=$1 service=$2
    shift 2
    ids=$(docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.oneoff=False" --filter "label=com.docker.compose.service=$service") || exit
    for id in $ids; do
        volumes=$(volumes_of "$id") || exit
        others=$(printf '%s\n' "$volumes" | while IFS= read -r volume; do
            ! is_another "$volume" "$@" || echo yes
        done)
        [ -n "$others" ] || continue
        anonymous=$(volumes_of "$id" anonymous) || exit
        kept=$(printf '%s\n' "$anonymous" | while IFS= read -r volume; do
            is_another "$volume" "$@" || printf '%s\n' "$volume"
        done)
        if [ -n "$kept" ]; then
            image=$(docker container inspect --format '{{.Image}}' "$id") || exit
            labels=$(labels_of "$id")
            stand_in "$image" "$labels" "$kept" "$(printf %.12s "$id")" || exit
        fi
        docker container rm --force "$id" >/dev/null </dev/null || exit
    done
}

# Succeeds if $1 is not the volume that belongs at its destination.
is_another() {
    found=$1
    shift
    for mount; do
        [ "${found#* }" != "${mount#* }" ] || [ "${found%% *}" = "${mount%% *}" ] || return 0
    done
    return 1
}

main "$@"
