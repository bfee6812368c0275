# Removes the note of loads that a power cut interrupted: the files of images were compared since.
main() {
    rm -f -- "$HOME/.o3r-deploy/loading" && sync
}

main "$@"
