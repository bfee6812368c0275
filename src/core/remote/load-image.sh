# Loads the image archive on standard input.
main() {
    begin_load
    docker load --quiet
    flush_images "$?"
}

main "$@"
