# Removes containers that were renamed; their volumes stay. One that is gone already is no error.
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
