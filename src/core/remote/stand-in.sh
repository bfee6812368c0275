# What replace-volume, uncover-mounts and bring-volumes-back share: a container that never runs and has the anonymous
# volumes of one that is gone. docker-compose takes it for that one, and moves them over when it replaces it.

# Prints the volumes of a container, each as NAME DESTINATION; anonymous ones alone where $2 is there: these have 64
# hexadecimal digits for a name.
volumes_of() {
    mounts=$(docker container inspect \
        --format '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{.Destination}}{{println}}{{end}}{{end}}' "$1") || return
    if [ -n "$2" ]; then
        printf '%s\n' "$mounts" | grep -E '^[0-9a-f]{64} ' || :
    else
        printf '%s\n' "$mounts"
    fi
}

# Prints those labels of a container by which docker-compose knows it, each as NAME=VALUE.
labels_of() {
    docker container inspect --format '{{range $key, $value := .Config.Labels}}{{$key}}={{$value}}{{println}}{{end}}' "$1" |
        grep -E '^com\.docker\.compose\.(project|service|container-number|oneoff|project\.working_dir|project\.config_files|version)='
}

# $1 image  $2 labels, each a line  $3 volumes, each a line  $4 what its name says
stand_in() {
    declared=$(docker image inspect --format '{{range $path, $_ := .Config.Volumes}}{{println $path}}{{end}}' "$1") || return
    made=$(
        image=$1 labels=$2 volumes=$3
        set -- --network none
        while IFS= read -r volume; do
            [ -z "$volume" ] || set -- "$@" --volume "${volume%% *}:${volume#* }"
        done <<END
$volumes
END
        # Else docker would make a new volume there, and that would be moved over, too.
        while IFS= read -r path; do
            path=${path%/}
            [ -z "$path" ] || has "$volumes" "$path" || set -- "$@" --mount "type=tmpfs,\"destination=$path\""
        done <<END
$declared
END
        while IFS= read -r label; do
            set -- "$@" --label "$label"
        done <<END
$labels
END
        docker container create "$@" "$image" placeholder </dev/null
    ) || return
    docker container rename "$made" "$(printf %.12s "$made")_o3r-placeholder-$4"
}

# Whether one of the volumes $1 is at the path $2.
has() {
    printf '%s\n' "$1" | while read -r _ destination; do
        [ "$destination" != "$2" ] || echo yes
    done | grep -q .
}
