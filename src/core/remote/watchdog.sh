# shellcheck disable=SC2154 # the variables are set by what precedes it
# Rolls a release back if its apply falls silent: the part of the program on the VPU that is the same for every release.
# What precedes it sets release, nonce, token, who, missing, steps, always, projects, records and settles, and defines
# undo_N, settle_N, address_N and lock.
# $1 watch: from now on  after-boot: because the VPU restarted
#    confirm, cancel: because a person said so; exit code 78 if it is decided
# In ~/.o3r-deploy/watchdog/RELEASE:
#   NONCE.armed      until confirmed or reverting; the id of the boot, and the token of the lock. Whoever renames or
#                    removes it decides.
#   NONCE.reverting  this program rolls back, or was cut off while it did
#   NONCE.confirmed  a person confirmed: the rest of the apply is being done
#   NONCE.ended      the client confirmed, or rolled back and left the verdict
#   NONCE.waits      it waits for a person to confirm; the version
#   NONCE.at         the number of the last step that began
#   NONCE.watches    the watchdog has started
#   NONCE.path       PATH of the login, where docker-compose may be
#   NONCE.log        what the rollback printed
#   deadline         seconds since boot at which the VPU rolls back, and those of silence; lock.sh extends it
#   verdict          a JSON object: how the rollback ended, by this program or by the client
main() {
    umask 077
    trap '' HUP PIPE
    cd / || exit
    dir=$HOME/.o3r-deploy/watchdog/$release
    IFS= read -r PATH <"$dir/$nonce.path" && export PATH
    [ -n "${XDG_RUNTIME_DIR:-}" ] || { XDG_RUNTIME_DIR=/run/user/$(id -u) && export XDG_RUNTIME_DIR; }
    unset COMPOSE_FILE COMPOSE_PROJECT_NAME COMPOSE_PATH_SEPARATOR COMPOSE_PROFILES COMPOSE_ENV_FILES
    why='' failed='' feeder='' holder='' log=$dir/$nonce.log
    boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
    case $1 in
        watch) watch ;;
        after-boot)
            # The service manager also starts when a user without lingering logs in again.
            armed=
            { read -r armed <"$dir/$nonce.armed"; } 2>/dev/null
            if [ "$boot" = "$armed" ]; then watch; else roll_back restart; fi
            ;;
        confirm) confirm ;;
        cancel)
            roll_back cancel
            # Another client, or the deadline, came first.
            [ "$why" = cancel ] || exit 78
            cat -- "$dir/verdict"
            ;;
    esac
}

# Waits until the apply is confirmed, or the deadline is over.
watch() {
    deadline=
    : >"$dir/$nonce.watches"
    while [ -f "$dir/$nonce.armed" ]; do
        # Half a line is one that is being written.
        { read -r until silence <"$dir/deadline"; } 2>/dev/null && [ -n "$silence" ] && deadline=$until
        read -r uptime _ </proc/uptime
        if [ -n "$deadline" ] && [ "${uptime%%.*}" -ge "$deadline" ]; then roll_back silence; return; fi
        sleep 1
    done
}

# $1 why: silence or restart
roll_back() {
    # One rename decides: it fails if the apply was confirmed, or another client took over.
    mv -- "$dir/$nonce.armed" "$dir/$nonce.reverting" 2>/dev/null || [ -f "$dir/$nonce.reverting" ] || return 0
    sync
    state=reverting
    scratch=$(scratch) || return
    take_lock '"by":"the watchdog of this VPU"' || return 0
    why=$1
    # All was done, and nobody confirmed it.
    if [ -f "$dir/$nonce.waits" ]; then
        case $why in
            silence) why=unconfirmed ;;
            restart) why=unconfirmed-restart ;;
        esac
    fi
    wait_for_docker
    at=0
    { read -r at <"$dir/$nonce.at"; } 2>/dev/null
    # The autostart may have started containers from files of both releases.
    { read -r armed <"$dir/$nonce.reverting"; } 2>/dev/null
    if [ "${at:-0}" -gt 0 ] && [ "$armed" != "$boot" ]; then always="$always $projects"; fi
    for step in $steps; do
        if [ "$step" -le "${at:-0}" ] || among "$step" "$always"; then undo "$step"; fi
    done
    for step in $records; do undo "$step"; done
    [ -z "$missing" ] || failed=$failed${failed:+,}$missing
    # On a full disk there is room once the program is gone; the shell has it open.
    note_outcome 2>/dev/null
    verdict || { rm -f -- "$dir/$nonce.sh" "$log" && verdict; }
    for file in "$dir"/*; do
        case $file in "$dir/verdict" | "$log") ;; *) rm -f -- "$file" ;; esac
    done
    stand_down
    release_lock
}

# Ends the apply on its client's behalf: what waited for the confirmation is done, such as the release's record.
confirm() {
    mv -- "$dir/$nonce.armed" "$dir/$nonce.confirmed" 2>/dev/null || [ -f "$dir/$nonce.confirmed" ] || exit 78
    sync
    state=confirmed
    scratch=$(scratch) || exit
    take_lock "$who" || exit 78
    code=0
    for step in $settles; do
        : >"$scratch/last"
        "settle_$step" && continue
        code=1
        cat -- "$scratch/last" >&2
        break
    done
    note '"result":"confirmed"' 2>/dev/null
    rm -rf -- "$dir"
    rmdir -- "${dir%/*}" 2>/dev/null
    stand_down
    release_lock
    exit "$code"
}

# Rolls back a step. Continues after a failure: a partial rollback is better than none.
undo() {
    { printf 'step %s\n' "$1" >>"$log"; } 2>/dev/null
    : >"$scratch/last"
    "undo_$1" && return
    said=$(tail -n 3 -- "$scratch/last" 2>/dev/null | json_text)
    address=$("address_$1")
    failed=$failed${failed:+,}"{\"address\":$address,\"said\":\"$said\"}"
}

# Runs a command of the rollback; its standard input may be a payload. A hung command must not stop the others.
run() {
    { printf '+ %s\n' "$1" >>"$log"; } 2>/dev/null
    shift
    set -- env "O3R_DEPLOY_RUN=works:$nonce" "$@"
    if timeout 5 true 2>/dev/null; then set -- timeout -s KILL 900 "$@"; fi
    "$@" >"$scratch/last" 2>&1 9>&-
    code=$?
    {
        cat -- "$scratch/last" >>"$log"
        [ "$code" = 0 ] || printf 'exit code %s\n' "$code" >>"$log"
    } 2>/dev/null
    return "$code"
}

# Of a step that cannot be undone.
lost() {
    printf '%s\n' "$1" >"$scratch/last"
    return 1
}

among() {
    case " $2 " in *" $1 "*) return 0 ;; esac
    return 1
}

# Escapes text for a JSON string, as one line.
json_text() {
    tr '\n\t' '  ' | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g; s/ *$//'
}

# Takes the lock, from the dead apply, too. Fails if another client has taken over meanwhile: it decides then.
# $1 who holds it, as members of a JSON object
take_lock() {
    fifo=$scratch/fifo
    [ -p "$fifo" ] || mkfifo -- "$fifo"
    refusals=0
    while :; do
        date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
        case $1 in *'"at":'*) holds=$1 ;; *) holds="$1,\"at\":\"$date\"" ;; esac
        lock "$nonce" '' "$holds" "take:$token" 60 60 <"$fifo" >"$scratch/lock" 2>&1 &
        holder=$!
        # For reading, too: this does not wait for a reader.
        exec 9<>"$fifo"
        while kill -0 "$holder" 2>/dev/null && ! grep -q "^$nonce held" "$scratch/lock"; do
            echo >&9
            sleep 0.2 2>/dev/null || sleep 1
        done
        if kill -0 "$holder" 2>/dev/null; then
            (
                while sleep 5 >/dev/null 9>&-; do echo || exit; done
            ) >&9 2>/dev/null &
            feeder=$!
            [ -f "$dir/$nonce.$state" ] && return
            release_lock
            return 1
        fi
        wait "$holder" 2>/dev/null
        holder=
        exec 9>&-
        [ -f "$dir/$nonce.$state" ] || return
        # A command of the dead apply that hangs.
        hung=$(sed -n "s/^$nonce leftover \([0-9]*\) .*/\1/p" "$scratch/lock")
        [ -z "$hung" ] || kill -KILL "$hung" 2>/dev/null
        # The disk may be full: a robot that stands still needs no lock.
        if grep -q "^$nonce failed" "$scratch/lock"; then
            refusals=$((refusals + 1))
            [ "$refusals" -lt 5 ] || return 0
        fi
        sleep 2
    done
}

release_lock() {
    [ -z "$feeder" ] || kill "$feeder" 2>/dev/null
    exec 9>&-
    [ -z "$holder" ] || wait "$holder" 2>/dev/null
    rm -rf -- "$scratch"
}

# Prints a new directory for what is only needed meanwhile: in memory rather than on a disk that may be full.
scratch() {
    for place in /dev/shm "${TMPDIR:-/tmp}" "$dir"; do
        [ ! -w "$place" ] || ! mktemp -d "$place/o3r-XXXXXX" 2>/dev/null || return 0
    done
    return 1
}

# After a boot, dockerd takes a while.
wait_for_docker() {
    tries=0
    until docker version >/dev/null 2>&1 </dev/null || [ "$tries" -ge 150 ]; do
        tries=$((tries + 1))
        sleep 2
    done
}

# Adds the outcome to the history of applies.
note_outcome() {
    if [ -n "$failed" ]; then how=' in part'; else how=; fi
    case $why in
        silence) result="connection lost, rolled back by the VPU$how" ;;
        restart) result="the VPU restarted, rolled back by the VPU$how" ;;
        unconfirmed) result="not confirmed in time, rolled back by the VPU$how" ;;
        unconfirmed-restart) result="the VPU restarted before the confirmation, rolled back by the VPU$how" ;;
        *) result="cancelled$how" ;;
    esac
    note "\"result\":\"$result\""
}

# $1 how the apply ended, as a member of a JSON object. The nonce is the token that a person answers with.
note() {
    attempts=$HOME/.o3r-deploy/attempts/$release.jsonl
    [ ! -f "$attempts" ] || printf '{%s,%s,"token":"%s"}\n' "$who" "$1" "$nonce" >>"$attempts"
}

verdict() {
    if [ -z "$failed" ]; then outcome=restored; else outcome=failed; fi
    began=$("address_${at:-0}" 2>/dev/null) || began=null
    printf '{%s,"outcome":"%s","why":"%s","step":%s,"failed":[%s],"clock":"%s","log":"%s"}\n' \
        "$who" "$outcome" "$why" "${began:-null}" "$failed" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$nonce.log" | cat >"$dir/verdict.new" 2>/dev/null &&
        mv -f -- "$dir/verdict.new" "$dir/verdict" && sync
}

main "$@"
