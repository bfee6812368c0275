# Loads the image archive in a file, which then is of no more use. Where docker does not take it, it stays:
# for what is wrong with it is seen before anything is added to it, and what is wrong with docker may pass.
# $1 file
main() {
    docker load --quiet <"$1" && flush_images && rm -f -- "$1"
}

main "$@"
