# Removes the notes of loads that a power cut interrupted: the files of images were compared since.
main() {
    rm -rf -- "$HOME/.o3r-deploy/loading" && sync
}

main "$@"
