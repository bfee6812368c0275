# Removes volumes, and the directory that they are bound to.
# $1 directory; may be empty  $2 empty: only if there is nothing in it  $3… volumes
main() {
    dir=$1 how=$2
    shift 2
    there=$(docker volume ls -q </dev/null) || exit
    for volume; do
        printf '%s\n' "$there" | grep -Fqx -- "$volume" || continue
        docker volume rm -- "$volume" >/dev/null </dev/null || exit
    done
    [ -d "$dir" ] && [ ! -h "$dir" ] || return 0
    if [ "$how" = empty ]; then
        rmdir -- "$dir"
        return
    fi
    rm -rf -- "$dir" 2>/dev/null
    [ -d "$dir" ] || return 0
    # What containers wrote as root, only a container can remove.
    images=$(docker image ls -q --no-trunc </dev/null) || exit
    for image in $images; do
        docker run --rm --runtime runc --network none --user 0 --no-healthcheck --entrypoint sh --volume "$dir:/o3r-data" "$image" \
            -c 'rm -rf /o3r-data/* /o3r-data/.[!.]* /o3r-data/..?*' >/dev/null 2>&1 </dev/null
        rm -rf -- "$dir" 2>/dev/null
        [ -d "$dir" ] || return 0
    done
    echo "$dir: files of other users are left, and no image on the VPU has a shell to remove them" >&2
    exit 1
}

main "$@"
