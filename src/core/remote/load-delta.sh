# Loads an image whose archive is built here, from the files of an image that is here already: standard input is
# a compressed tar of the bytes that are new, and of a recipe, a script that puts old and new together.
# $1 directory for that tar; what is in it already is left from a load that was cut off
# $2 id of the old image  $3 "inside" where its own shell runs the recipe, "outside" where it has none
main() {
    dir=$1 base=$2 how=$3
    name=o3r-deploy-delta
    umask 022
    trap clean EXIT
    trap 'exit 129' HUP INT TERM PIPE
    clean
    # Or else docker would look for it in registries.
    docker image inspect --format '{{.Id}}' "$base" >/dev/null || exit
    mkdir -p -- "$dir" && cd -- "$dir" || exit
    gzip -dc | tar -xomf - || exit
    [ -f recipe ] || { echo "the link broke, or the disk is full" >&2; exit 1; }
    "$how" && flush_images && cat said
}

# The recipe runs in a container of the old image and writes to a named pipe: docker's own way for a container's
# output costs as much time as building it.
inside() {
    mkfifo -m 666 stream && : >running || return
    # With both ends open here, neither side waits for one that failed to start.
    exec 3<>stream
    # Not `load 3>&-`: a shell keeps such an end open aside, and docker would wait for it to close.
    (exec 3>&-; load) &
    loader=$!
    docker run --rm --name "$name" --runtime runc --network none --user 0 --log-driver none --no-healthcheck \
        --read-only --volume "$dir:/.o3r:ro" --workdir /.o3r --env LC_ALL=C \
        --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        --entrypoint sh "$base" -c 'exec sh ./recipe >stream' 3>&- </dev/null
    built=$?
    rm -f running
    exec 3>&-
    wait "$loader"
    loaded=$?
    [ "$built" -eq 0 ] && [ "$loaded" -eq 0 ]
}

# A recipe whose output nobody reads would wait forever.
load() {
    docker load --quiet <stream >said && return
    while [ -f running ]; do
        docker rm -f -v "$name" >/dev/null 2>&1
        sleep 1
    done
    return 1
}

# The old files are taken out of the image, and the recipe runs beside them.
outside() {
    set --
    while IFS= read -r file; do
        set -- "$@" "$file"
    done <names
    mkdir old && docker create --name "$name" --network none --entrypoint /none "$base" >/dev/null || return
    # The whole image comes out of it as quickly as ten files or so do one by one.
    if [ $# -gt 10 ]; then
        docker export "$name" | tar -C old -xomf - "$@" || return
    else
        for file in "$@"; do
            parent=old/$file parent=${parent%/*}
            mkdir -p -- "$parent" && docker cp "$name:/$file" - | tar -C "$parent" -xomf - || return
        done
    fi
    docker rm -f -v "$name" >/dev/null || return
    { LC_ALL=C sh ./recipe && : >built; } | docker load --quiet >said && [ -f built ]
}

clean() {
    docker rm -f -v "$name" >/dev/null 2>&1
    cd / && rm -rf -- "$dir"
}

main "$@"
