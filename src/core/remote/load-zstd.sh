# Loads an image archive that is compressed with zstd. If decompression fails, the archive is truncated and docker loads
# nothing.
# $1 the file, removed after the load; without it, the archive is on standard input
main() {
    begin_load
    if [ $# = 0 ]; then
        zstd -dcq | docker load --quiet
        flush_images "$?"
    else
        zstd -dcq <"$1" | docker load --quiet
        flush_images "$?" && rm -f -- "$1"
    fi
}

main "$@"
