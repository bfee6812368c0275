# Prints the output of `docker-compose config` for a project before its files are placed: they arrive as a tar on standard
# input and are unpacked in memory, below a directory that stands for /. That directory is printed after `o3r-resolved`,
# because a login shell may print lines, too. Nothing else is written. Exits with docker-compose's code, or with 78 if
# docker-compose could not run.
# $1 the project's directory
main() {
    umask 077
    root=
    for place in /dev/shm "${XDG_RUNTIME_DIR:-}" "${TMPDIR:-/tmp}"; do
        if [ -n "$place" ] && [ -w "$place" ]; then
            root=$(mktemp -d "$place/o3r-config-XXXXXX" 2>/dev/null) && break
        fi
    done
    [ -n "$root" ] || { echo "there is no place for temporary files" >&2; exit 78; }
    trap 'rm -rf -- "$root"' EXIT
    trap 'exit 78' HUP INT TERM PIPE
    mkdir -p -- "$root$1" && cd -- "$root$1" || exit 78
    tar -xf - || exit 78
    printf '\no3r-resolved %s\n' "$root"
    printf '\no3r-resolved\n' >&2
    # As in production: in that directory, with the files of that name.
    unset COMPOSE_FILE COMPOSE_PROJECT_NAME COMPOSE_PATH_SEPARATOR COMPOSE_PROFILES COMPOSE_ENV_FILES
    docker-compose config </dev/null
}

main "$@"
