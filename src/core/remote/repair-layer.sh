# Replaces files of a layer in docker's own directory by those of the tar on standard input.
# $1 image  $2 number of the layer, counted from the top, from 0
main() {
    image=$1 number=$2
    trap clean EXIT
    trap 'exit 129' HUP INT TERM PIPE
    clean
    format='{{.GraphDriver.Name}} {{.GraphDriver.Data.UpperDir}}:{{.GraphDriver.Data.LowerDir}}'
    dirs=$(docker image inspect --format "$format" -- "$image" </dev/null) || exit
    case $dirs in
        'overlay2 /'*) dirs=${dirs#* } ;;
        *) echo "docker does not keep its layers with overlay2: remove the image and its containers, and apply again" >&2; exit 1 ;;
    esac
    while [ "$number" -gt 0 ]; do
        dirs=${dirs#*:} number=$((number - 1))
    done
    dir=${dirs%%:*}
    case $dir in /*/diff) ;; *) echo "docker does not tell the directory of the layer: $dir" >&2; exit 1 ;; esac
    docker create --name "$name" --network none --entrypoint /none --volume "$dir:/layer" "$image" >/dev/null </dev/null &&
        docker cp - "$name:/layer" && flush_images
}

clean() {
    docker rm -f -v "$name" >/dev/null 2>&1 </dev/null
}

name=o3r-deploy-repair
main "$@"
