# Shared by replace-volume, uncover-mounts, bring-volumes-back and stand-in-for: a container that never runs and holds the
# anonymous volumes of a removed one. docker-compose takes it for that container and moves the volumes when it replaces it.

# Prints the volumes of a container, each as NAME DESTINATION; with $2 only anonymous ones, whose names are 64 hexadecimal
# digits.
volumes_of() {
    mounts=$(docker container inspect \
        --format '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{.Destination}}{{println}}{{end}}{{end}}' "$1") || return
    if [ -n "$2" ]; then
        printf '%s\n' "$mounts" | grep -E '^[0-9a-f]{64} ' || :
    else
        printf '%s\n' "$mounts"
    fi
}

# Prints the labels by which docker-compose finds a container, each as NAME=VALUE.
labels_of() {
    docker container inspect --format '{{range $key, $value := .Config.Labels}}{{$key}}={{$value}}{{println}}{{end}}' "$1" |
        grep -E '^com\.docker\.compose\.(project|service|container-number|oneoff|project\.working_dir|project\.config_files|version)='
}

# $1 image  $2 labels, one per line  $3 volumes, one per line  $4 part of its name
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
        # Otherwise docker would create a new volume there, which would be moved, too.
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

# Succeeds if one of the volumes $1 is mounted at $2.
has() {
    printf '%s\n' "$1" | while read -r _ destination; do
        [ "$destination" != "$2" ] || echo yes
    done | grep -q .
}
