# Runs a command of an apply to its end, also where that apply dies meanwhile: its output goes into files, so that
# it does not fail half-way because nobody reads it. Does nothing where the apply does not have the lock any more.
# $1 HOW:TOKEN, by which lock.sh knows this and all that it starts, in arguments and environment: the lock's token and
#    brings  for what reads what comes over the link
#    reads   for what reads little and then works
#    works   for what works on its own
#    loads   for what loads an image that has arrived
# $2 what it does, for people  $3… the command
main() {
    O3R_DEPLOY_RUN=$1
    export O3R_DEPLOY_RUN
    # docker-compose works in a project's directory, with its files: whatever the login says.
    unset COMPOSE_FILE COMPOSE_PROJECT_NAME COMPOSE_PATH_SEPARATOR COMPOSE_PROFILES COMPOSE_ENV_FILES
    shift 2
    holds || { printf '%s lost\n' "${O3R_DEPLOY_RUN#*:}" >&2; exit 77; }
    trap '' HUP
    if ! { out=$(place) && err=$(place); }; then
        "$@"
        exit
    fi
    # shellcheck disable=SC2094 # read when all is written
    exec 3<"$out" 4>"$out" 5<"$err" 6>"$err"
    rm -f -- "$out" "$err"
    "$@" >&4 2>&6 3<&- 4>&- 5<&- 6>&-
    code=$?
    cat <&3
    cat <&5 >&2
    exit "$code"
}

# Whether the lock has our token, and a process holds it.
holds() {
    { {
        read -r pid
        read -r _
        read -r _
        read -r _
        read -r token
    } <"$HOME/.o3r-deploy/lock/owner"; } 2>/dev/null
    [ "$token" = "${O3R_DEPLOY_RUN#*:}" ] && kill -0 "$pid" 2>/dev/null
}

# An empty file for output, in memory rather than on a disk that may be full.
place() {
    umask 077
    for directory in /dev/shm "${TMPDIR:-/tmp}" "$HOME/.o3r-deploy"; do
        [ ! -w "$directory" ] || ! mktemp "$directory/o3r-XXXXXX" 2>/dev/null || return 0
    done
    return 1
}

main "$@"
