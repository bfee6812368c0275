# Sets $since to a process's start time, in clock ticks since boot.
started() {
    since=
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return
    # The name, in parentheses, may contain anything; field 22 is the 20th after it.
    # shellcheck disable=SC2086 # they are words without patterns
    set -- ${stat##*) }
    # shellcheck disable=SC2034 # who includes this reads it
    since=${20}
}

