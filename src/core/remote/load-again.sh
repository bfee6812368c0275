# Removes an image, with the layers that no other image has, and loads it from the archive on standard input.
# $1 its name  $2 zstd: how the archive is compressed; empty if it is not, or with gzip
main() {
    # By its ID: with all of its names.
    id=$(docker image ls -q --no-trunc -- "$1" </dev/null) || exit
    if [ -z "$id" ]; then
        echo "there is no image $1" >&2
        exit 1
    fi
    docker image rm --force -- "$id" </dev/null >/dev/null || exit
    begin_load
    if [ "${2:-}" = zstd ]; then zstd -dcq | docker load --quiet; else docker load --quiet; fi
    flush_images "$?"
}

main "$@"
