# Loads the image archive in a file and removes the file. If docker rejects it, the file stays: a corrupt file is found
# before the next bytes are appended, and a problem of docker's may be temporary.
# $1 file
main() {
    begin_load
    docker load --quiet <"$1"
    flush_images "$?" && rm -f -- "$1"
}

main "$@"
