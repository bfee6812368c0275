# Holds the VPU's lock while its client lives: until standard input ends, or is silent for long because the link froze.
# $1 token: the client's name for this lock  $2 identity of the client, one line
# $3 who applies, and since when, as members of a JSON object
# $4 keep; break: take the lock from any holder; take:TOKEN: from that holder only
# $5 seconds to wait for the processes of a dead apply  $6 seconds of silence after which the client counts as dead
# Its output lines begin with the token, because a login shell may print other lines:
#   held                  the lock is ours
#   waits PID COMMAND     the process that is waited for
#   busy JSON, and owner TOKEN CLIENT, with exit code 75: another has it
#   leftover PID COMMAND, with exit code 76: a process of a dead apply does not end
#   failed REASON, with exit code 1
main() {
    umask 077
    token=$1 client=$2 who=$3 claim=$4 patience=$5 silence=$6 watcher=
    base=$HOME/.o3r-deploy owner=$HOME/.o3r-deploy/lock/owner
    boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
    # Another apply that frees the lock may remove the directory at this moment.
    if create; then
        own || { said=${said:-"$owner cannot be written"}; rm -rf -- "$base/lock"; failed "$said"; }
    else
        [ -d "$base/lock" ] || failed "$said"
        if alive && ! may_take; then busy; fi
        take_over
    fi
    trap 'release; exit' HUP INT TERM PIPE
    if settle; then forget_load; elif [ "$claim" != break ]; then release; exit 76; fi
    forget_leftovers
    wait_for_boot
    watch
    extend
    say held
    while read -r _; do
        kill -USR1 "$watcher" 2>/dev/null
        extend
    done
    release
}

say() {
    printf '\n%s %s\n' "$token" "$*"
}

failed() {
    say failed "$1"
    exit 1
}

create() {
    said=$({ mkdir -- "$base/lock" || { mkdir -p -- "$base" && mkdir -- "$base/lock"; }; } 2>&1)
}

# Through cat: printf, a builtin, does not report why a write failed.
own() {
    started "$$"
    # shellcheck disable=SC2154 # started sets since
    said=$(printf '%s\n%s\n%s\n%s\n%s\n%s\n' "$$" "$boot" "$who" "$since" "$token" "$client" | cat 2>&1 >"$owner")
    [ -z "$said" ] && [ -s "$owner" ]
}

busy() {
    read_owner
    say busy "$held_by"
    say owner "$held_token $held_client"
    exit 75
}

read_owner() {
    held_pid='' held_boot='' held_by='' held_since='' held_token='' held_client=''
    { {
        read -r held_pid
        read -r held_boot
        read -r held_by
        read -r held_since
        read -r held_token
        read -r held_client
    } <"$owner"; } 2>/dev/null
}

# Succeeds if the lock may be taken from its live holder.
may_take() {
    [ "$claim" = break ] || [ "$claim" = "take:$held_token" ]
}

# Succeeds if the lock's holder still runs: in this boot, with the same start time, because the kernel reuses process ids.
alive() {
    tries=0
    while [ -d "$base/lock" ] && [ ! -s "$owner" ] && [ "$tries" -lt 3 ]; do sleep 1; tries=$((tries + 1)); done
    read_owner
    [ -n "$held_pid" ] && [ "$held_boot" = "$boot" ] && started "$held_pid" || return 1
    if [ -n "$held_since" ]; then [ "$since" = "$held_since" ]; else as_old "$held_pid"; fi
}

# Succeeds if the process of $since is as old as the owner file, within ten seconds: for locks of older versions, which
# did not record the start time.
as_old() {
    read -r uptime _ </proc/uptime
    noted=$(date -r "$owner" +%s 2>/dev/null) && now=$(date +%s) || return 0
    age=$((${uptime%.*} - since / 100 - now + noted))
    [ "$age" -ge -10 ] && [ "$age" -le 10 ]
}

# Replaces a lock that is stale or may be taken. Several clients may try at once: a second lock, lock.turn, serializes
# them, and each checks again. It is held for milliseconds; one older than a second is left over.
take_over() {
    mkdir -- "$base/lock.turn" 2>/dev/null || {
        sleep 1
        rmdir -- "$base/lock.turn" 2>/dev/null
        said=$({ mkdir -p -- "$base" && mkdir -- "$base/lock.turn"; } 2>&1) || { [ -d "$base/lock.turn" ] || failed "$said"; busy; }
    }
    taken=
    if alive; then
        # Its client notices: its session ends.
        ! may_take || { kill "$held_pid" 2>/dev/null; taken=yes; }
    else
        taken=yes
    fi
    if [ "$taken" ]; then
        rm -rf -- "$base/lock"
        create && { own || { rm -rf -- "$base/lock"; rmdir -- "$base/lock.turn"; failed "${said:-"$owner cannot be written"}"; }; }
        code=$?
    else
        code=1
    fi
    rmdir -- "$base/lock.turn"
    [ "$code" = 0 ] || busy
}

# Waits for or ends the processes that a dead apply left running: all that run.sh started, found by their environment or
# arguments. `brings` is killed at once: its link is dead, and its clean-up would interfere. `reads` is killed after the
# patience. `works` is waited for, `loads` five times as long: killed, they would leave something incomplete. If the lock
# is broken, `works` is not waited for. Reports the one that exceeds the patience.
settle() {
    tries=0 looks=0
    while :; do
        waiting='' over=''
        for one in $(running); do
            how=${one%%:*} pid=${one##*:}
            case $how in
                works) [ "$claim" != break ] || continue; most=$patience ;;
                reads) most=$patience ;;
                loads) most=$((patience * 5)) ;;
                *) most=-1 ;;
            esac
            if [ "$tries" -lt "$most" ]; then waiting=${waiting:-$pid}; continue; fi
            case $how in works | loads) over=${over:-$pid}; continue ;; esac
            kill -9 "$pid" 2>/dev/null
            # A process that survives SIGKILL hangs in a device.
            if [ "$tries" -lt $((patience + 10)) ]; then waiting=${waiting:-$pid}; else over=$pid; fi
        done
        [ -z "$over" ] || { say leftover "$over $(words "$over")"; return 1; }
        [ -n "$waiting" ] || return 0
        # A killed process takes a moment to disappear.
        looks=$((looks + 1))
        [ "$looks" -ge 3 ] || continue
        case $tries in 1 | *0) [ "$tries" = 0 ] || say waits "$waiting $(words "$waiting")" ;; esac
        tries=$((tries + 1))
        sleep 1
    done
}

# Prints the processes that run.sh started, and run.sh itself, as HOW:TOKEN:PID. The first grep is fast and also matches
# processes in containers and this one.
running() {
    # shellcheck disable=SC2013 # they are words
    for file in $(grep -ls 'o3r-run' /proc/[0-9]*/cmdline 2>/dev/null; grep -ls 'O3R_DEPLOY_RUN=' /proc/[0-9]*/environ 2>/dev/null); do
        [ -O "$file" ] || continue
        pid=${file#/proc/} pid=${pid%/*}
        case $file in
            */environ) found=$(tr '\0' '\n' <"$file" 2>/dev/null | sed -n 's/^O3R_DEPLOY_RUN=//p') ;;
            *) found=$(tr '\0' '\n' <"$file" 2>/dev/null | sed -n '/^o3r-run$/{n;p;}') ;;
        esac
        case $found in
            *:*[!a-z0-9-]* | '') ;;
            brings:* | reads:* | works:* | loads:*)
                # Another home directory means another VPU: a container, or a test.
                home=$(tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | sed -n 's/^HOME=//p')
                [ "$home" != "$HOME" ] || printf '%s:%s\n' "$found" "$pid"
                ;;
        esac
    done
}

# Prints what a process of run.sh does: its second argument, or the whole command line.
words() {
    line=$(tr '\0' '\n' <"/proc/$1/cmdline" 2>/dev/null | sed -n '/^o3r-run$/{n;n;p;}')
    printf '%s' "${line:-$(tr '\0\n' '  ' <"/proc/$1/cmdline" 2>/dev/null)}"
}

# Removes what dead applies left: temporary files, and the directory of a delta.
forget_leftovers() {
    if [ -e "$base/delta" ]; then
        docker rm -f -v o3r-deploy-delta >/dev/null 2>&1
        rm -rf -- "$base/delta"
    fi
    forget_unfinished
}

# Writes to the flash what loads that were cut off in this boot brought, and removes their notes: no load runs any more.
forget_load() {
    [ -n "$boot" ] || return 0
    for note in "$base/loading/$boot".*; do
        [ ! -e "$note" ] || flush_images
    done
}

# Waits up to two minutes for the docker-compose of the boot: two of them on one project fail.
wait_for_boot() {
    [ -n "${XDG_RUNTIME_DIR:-}" ] || { XDG_RUNTIME_DIR=/run/user/$(id -u) && export XDG_RUNTIME_DIR; }
    tries=0
    while [ "$tries" -lt 120 ]; do
        unit=$(systemctl --user list-units --all --plain --no-legend --no-pager --state=activating 'oem-dc*' 2>/dev/null) || return 0
        unit=${unit%% *}
        [ -n "$unit" ] || return 0
        case $tries in 1 | *0) [ "$tries" = 0 ] || say waits "- $unit, which starts containers after the boot" ;; esac
        tries=$((tries + 1))
        sleep 1
    done
}

# Releases the lock if its client is silent. Counts its own sleeps, because the clock may jump; each line that arrives
# resets the count by a signal.
watch() {
    holder=$$
    started "$holder"
    born=$since
    # Until the subshell has its own trap.
    trap '' USR1
    (
        trap 'silent=0' USR1
        silent=0
        while [ "$silent" -lt 5 ]; do
            sleep $((silence / 5))
            silent=$((silent + 1))
            # The kernel may have reused the process id.
            started "$holder" && [ "$since" = "$born" ] || exit
        done
        kill "$holder"
    ) </dev/null >/dev/null 2>&1 &
    watcher=$!
}

# Extends the deadlines of armed watchdogs: a client is at work. Writes over the old line: the disk may be full.
extend() {
    for file in "$base"/watchdog/*/deadline; do
        { read -r until seconds <"$file"; } 2>/dev/null || continue
        [ -n "$seconds" ] || continue
        # No client extends the time that a person has to confirm.
        for waits in "${file%/*}"/*.waits; do [ ! -f "$waits" ] || continue 2; done
        read -r uptime _ </proc/uptime
        now=$((${uptime%%.*} + seconds))
        [ "$now" -le "$until" ] || { printf '%10d %6d\n' "$now" "$seconds" 1<>"$file"; } 2>/dev/null
    done
}

# Removes the lock unless it was taken, and its directory if that is empty. Holds lock.turn meanwhile: a client that
# takes the lock between check and removal would lose it.
release() {
    trap '' HUP INT TERM PIPE
    [ -z "$watcher" ] || kill "$watcher" 2>/dev/null
    tries=0
    until mkdir -- "$base/lock.turn" 2>/dev/null; do
        tries=$((tries + 1))
        if [ ! -d "$base/lock.turn" ]; then
            # The disk may be full.
            [ "$tries" -le 3 ] || break
        else
            # The next client finds the lock stale.
            [ "$tries" -le 3 ] || return 0
            sleep 1
        fi
    done
    { read -r pid <"$owner"; } 2>/dev/null && [ "$pid" = "$$" ] && rm -rf -- "$base/lock"
    rmdir -- "$base/lock.turn" 2>/dev/null
    rmdir -- "$base" 2>/dev/null
}

main "$@"
