# Loads an image archive that is compressed with zstd. What cannot be decompressed is an archive that is cut off:
# docker takes none of it.
# $1 the file that it is in, which then is of no more use; left out where it is on standard input
main() {
    if [ $# = 0 ]; then
        zstd -dcq | docker load --quiet && flush_images
    else
        zstd -dcq <"$1" | docker load --quiet && flush_images && rm -f -- "$1"
    fi
}

main "$@"
