# Builds the archive of an image from the files of an old image, and loads it. Standard input is a compressed tar of the
# new bytes and of a recipe: a script that combines old and new.
# $1 directory for that tar; its present content is left over from an interrupted load
# $2 id of the old image  $3 "inside" to run the recipe with the image's shell, "outside" if it has none
main() {
    dir=$1 base=$2 how=$3
    name=o3r-deploy-delta
    umask 022
    trap clean EXIT
    trap 'exit 129' HUP INT TERM PIPE
    clean
    # Otherwise docker would pull it from a registry.
    docker image inspect --format '{{.Id}}' "$base" >/dev/null || exit
    mkdir -p -- "$dir" && cd -- "$dir" || exit
    gzip -dc | tar -xomf - || exit
    [ -f recipe ] || { echo "the link broke, or the disk is full" >&2; exit 1; }
    begin_load
    "$how"
    flush_images "$?" && cat said
}

# The recipe runs in a container of the old image and writes to a named pipe: docker's stream of a container's output
# takes as long as building the archive.
inside() {
    mkfifo -m 666 stream && : >running || return
    # With both ends open here, neither side waits for the other if that fails to start.
    exec 3<>stream
    # Not `load 3>&-`: the shell keeps a copy of that end open, and docker would wait for its end.
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

# Without a reader, the recipe would block forever.
load() {
    docker load --quiet <stream >said && return
    while [ -f running ]; do
        docker rm -f -v "$name" >/dev/null 2>&1
        sleep 1
    done
    return 1
}

# Copies the old files out of the image and runs the recipe beside them.
outside() {
    set --
    while IFS= read -r file; do
        set -- "$@" "$file"
    done <names
    mkdir old && docker create --name "$name" --network none --entrypoint /none "$base" >/dev/null || return
    # Exporting the whole image is as fast as copying about ten files one by one.
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
