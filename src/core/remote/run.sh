# Runs a command of an apply to its end, even if that apply dies: its output goes to files, so that it does not fail
# because nobody reads it. Does nothing if the apply no longer holds the lock.
# $1 HOW:TOKEN, by which lock.sh finds this process and its children, in arguments and environment: the lock's token and
#    brings  for a command that reads from the link, or changes nothing
#    reads   for a command that reads little and then works
#    works   for a command that works on its own
#    loads   for a command that loads an image that has arrived
# $2 what it does, for people
# $3 the number of the step that begins, and the file for it, which the watchdog of a cut-off apply reads; or empty
# $4… the command
main() {
    O3R_DEPLOY_RUN=$1
    export O3R_DEPLOY_RUN
    # docker-compose uses the project's directory and files, whatever the login's environment says.
    unset COMPOSE_FILE COMPOSE_PROJECT_NAME COMPOSE_PATH_SEPARATOR COMPOSE_PROFILES COMPOSE_ENV_FILES
    begins=$3
    shift 3
    holds || { printf '%s lost\n' "${O3R_DEPLOY_RUN#*:}" >&2; exit 77; }
    [ -z "$begins" ] || note "${begins%% *}" "${begins#* }" || exit
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

# Succeeds if the lock has our token and its holder lives.
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

# Notes that step $1 begins in the file $2 below ~/.o3r-deploy/watchdog; writes over the old number, because the disk may be
# full. Without it, the watchdog would not undo the step.
note() {
    file=$HOME/.o3r-deploy/watchdog/$2 noted=
    { read -r noted <"$file"; } 2>/dev/null
    [ "$noted" != "$1" ] || return 0
    { printf '%-6d\n' "$1" 1<>"$file" && { sync -- "$file" || sync; }; } 2>/dev/null && return
    echo "$file cannot be written, which the watchdog needs" >&2
    return 1
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
