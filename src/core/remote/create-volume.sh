# Creates a bind volume and checks its options: if the name exists, `docker volume create` succeeds and ignores them.
# $1 name  $2 directory  $3 label
main() {
    docker volume create --driver local --opt type=none --opt o=bind --opt "device=$2" --label "$3" "$1" >/dev/null || exit
    found=$(docker volume inspect --format '{{.Options.device}}' "$1") || exit
    [ "$found" = "$2" ] && return
    echo "volume $1 exists already and is bound to $found" >&2
    exit 1
}

main "$@"
