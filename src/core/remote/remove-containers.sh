# Removes renamed containers; their volumes stay. A missing one is no error.
# $1… ids
main() {
    there=$(docker container ls -aq --no-trunc) || exit
    for id; do
        if printf '%s\n' "$there" | grep -qxF -e "$id"; then
            docker container rm --force "$id" >/dev/null </dev/null || exit
        fi
    done
}

main "$@"
