# Removes volumes, and the directory that they are bound to. linked.sh comes first.
# $1 directory; may be empty  $2 empty: only if there is nothing in it  $3… volumes
main() {
    dir=$1 how=$2
    shift 2
    if [ -n "$dir" ]; then can_go || exit; fi
    there=$(docker volume ls -q </dev/null) || exit
    for volume; do
        printf '%s\n' "$there" | grep -Fqx -- "$volume" || continue
        docker volume rm -- "$volume" >/dev/null </dev/null || exit
    done
    is_there || return 0
    if [ "$how" = empty ]; then
        rmdir -- "$dir"
        return
    fi
    rm -rf -- "$dir" 2>/dev/null
    is_there || return 0
    # What containers wrote as root, only a container can remove.
    images=$(docker image ls -q --no-trunc </dev/null) || exit
    for image in $images; do
        docker run --rm --runtime runc --network none --user 0 --no-healthcheck --entrypoint sh --volume "$dir:/o3r-data" "$image" \
            -c 'rm -rf /o3r-data/* /o3r-data/.[!.]* /o3r-data/..?*' >/dev/null 2>&1 </dev/null
        rm -rf -- "$dir" 2>/dev/null
        is_there || return 0
        [ -n "$(ls -A -- "$dir" 2>/dev/null)" ] || break
    done
    [ -n "$(ls -A -- "$dir" 2>/dev/null)" ] || { rmdir -- "$dir"; return; }
    echo "$dir: files of other users are left, and no image on the VPU has a shell to remove them" >&2
    exit 1
}

is_there() { [ -n "$dir" ] && [ -d "$dir" ] && [ ! -h "$dir" ]; }

# Nothing goes that is at another place, or on another file system.
can_go() {
    if [ -h "$dir" ] || linked "$dir"; then
        echo "$dir leads through a symbolic link: look at it and remove it by hand" >&2
        return 1
    fi
    # The kernel writes a space as \040.
    mounted=$(printf '%s' "$dir" | sed 's/ /\\040/g')
    while read -r _ at _; do
        case $at in
            "$mounted" | "$mounted"/*)
                echo "$dir: a file system is mounted at $at; unmount it first" >&2
                return 1
                ;;
        esac
    done </proc/mounts
}

main "$@"
