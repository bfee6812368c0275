# Removes networks that no running container uses. A missing one is no error.
# $1… ids
main() {
    there=$(docker network ls -q --no-trunc) || exit
    for id; do
        if printf '%s\n' "$there" | grep -qxF -e "$id"; then
            docker network rm "$id" >/dev/null </dev/null || exit
        fi
    done
}

main "$@"
