# Loads the image archive on standard input.
main() {
    docker load --quiet && flush_images
}

main "$@"
