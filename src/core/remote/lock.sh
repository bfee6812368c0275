# Holds the VPU's lock while its client lives: until standard input ends, or brings nothing for long, as it does
# where the link froze.
# $1 token: a word of the client's own, by which this lock is known  $2 who the client is, one line
# $3 who applies and when, as members of a JSON object
# $4 keep; break takes the lock from its holder, take:TOKEN from that one only
# $5 seconds to wait for what a dead apply left running  $6 seconds of silence after which the client is dead
# What it says is on lines that begin with the token, whatever a login shell prints before:
#   held                  the lock is ours
#   waits PID COMMAND     what is waited for
#   busy JSON, and owner TOKEN CLIENT, with exit code 75: another has it
#   leftover PID COMMAND, with exit code 76: what was left running does not end
#   failed REASON, with exit code 1
main() {
    umask 077
    token=$1 client=$2 who=$3 claim=$4 patience=$5 silence=$6 watcher=
    base=$HOME/.o3r-deploy owner=$HOME/.o3r-deploy/lock/owner
    boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
    # Who frees the lock of a VPU that has nothing of ours takes the directory away, too: that may be now.
    if create; then
        own || { said=${said:-"$owner cannot be written"}; rm -rf -- "$base/lock"; failed "$said"; }
    else
        [ -d "$base/lock" ] || failed "$said"
        if alive && ! may_take; then busy; fi
        take_over
    fi
    trap 'release; exit' HUP INT TERM PIPE
    settle || [ "$claim" = break ] || { release; exit 76; }
    forget_leftovers
    wait_for_boot
    watch
    say held
    while read -r _; do
        kill -USR1 "$watcher" 2>/dev/null
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

# Not by printf alone: a shell does not say why a file could not be written.
own() {
    started "$$"
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

# Whether the lock may be taken from its holder, which lives.
may_take() {
    [ "$claim" = break ] || [ "$claim" = "take:$held_token" ]
}

# Whether the lock's holder still runs. A holder of another boot, or one that is gone, does not; a number alone is
# no proof: by now it may be that of another process.
alive() {
    tries=0
    while [ -d "$base/lock" ] && [ ! -s "$owner" ] && [ "$tries" -lt 3 ]; do sleep 1; tries=$((tries + 1)); done
    read_owner
    [ -n "$held_pid" ] && [ "$held_boot" = "$boot" ] && started "$held_pid" || return 1
    if [ -n "$held_since" ]; then [ "$since" = "$held_since" ]; else as_old "$held_pid"; fi
}

# When a process was started, in clock ticks since boot, as $since.
started() {
    since=
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return
    # The name, in parentheses, may hold anything; field 22 is the 20th behind it.
    # shellcheck disable=SC2086 # they are words without patterns
    set -- ${stat##*) }
    since=${20}
}

# Whether the process of $since is as old as the owner file, to ten seconds: a lock that was taken by an o3r-deploy
# that did not note it.
as_old() {
    read -r uptime _ </proc/uptime
    noted=$(date -r "$owner" +%s 2>/dev/null) && now=$(date +%s) || return 0
    age=$((${uptime%.*} - since / 100 - now + noted))
    [ "$age" -ge -10 ] && [ "$age" -le 10 ]
}

# Removes a lock that is stale or may be taken. Several may find it so at once: they take turns,
# and look again when it is theirs. A turn lasts milliseconds; one of over a second was cut off.
take_over() {
    mkdir -- "$base/lock.turn" 2>/dev/null || {
        sleep 1
        rmdir -- "$base/lock.turn" 2>/dev/null
        said=$({ mkdir -p -- "$base" && mkdir -- "$base/lock.turn"; } 2>&1) || { [ -d "$base/lock.turn" ] || failed "$said"; busy; }
    }
    taken=
    if alive; then
        # Its client learns of it, for its session ends.
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

# Settles what an apply left running that died or lost its link and does not know it yet: all processes that run.sh
# started, by the word in their environment or arguments. What brings something is ended: its link is dead, and it
# would clean up in the middle of our doing. What reads little and then works is ended after our patience. What works
# is waited for, and what loads an image five times as long: ended in the middle, they leave something half done.
# Where the lock is broken, what works is not waited for. Names the one that outlasts our patience.
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
            # What the kernel does not end is hung in a device.
            if [ "$tries" -lt $((patience + 10)) ]; then waiting=${waiting:-$pid}; else over=$pid; fi
        done
        [ -z "$over" ] || { say leftover "$over $(words "$over")"; return 1; }
        [ -n "$waiting" ] || return 0
        # What was ended is gone in a moment.
        looks=$((looks + 1))
        [ "$looks" -ge 3 ] || continue
        case $tries in 1 | *0) [ "$tries" = 0 ] || say waits "$waiting $(words "$waiting")" ;; esac
        tries=$((tries + 1))
        sleep 1
    done
}

# Prints the processes that run.sh started, and run.sh itself, as HOW:TOKEN:PID. The first look is quick and finds
# the letters anywhere, in containers, too, and in ourselves.
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
                # With another home, it works on another VPU's: as in a container, or a test.
                home=$(tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | sed -n 's/^HOME=//p')
                [ "$home" != "$HOME" ] || printf '%s:%s\n' "$found" "$pid"
                ;;
        esac
    done
}

# What a process of run.sh does, for people: that is its second argument, or else the whole.
words() {
    line=$(tr '\0' '\n' <"/proc/$1/cmdline" 2>/dev/null | sed -n '/^o3r-run$/{n;n;p;}')
    printf '%s' "${line:-$(tr '\0\n' '  ' <"/proc/$1/cmdline" 2>/dev/null)}"
}

# Removes what dead applies did not live to remove: files that were not moved in place, and what a delta was built in.
forget_leftovers() {
    if [ -e "$base/delta" ]; then
        docker rm -f -v o3r-deploy-delta >/dev/null 2>&1
        rm -rf -- "$base/delta"
    fi
    forget_unfinished
}

# Waits for a boot's own docker-compose, up to two minutes: two of them on one project fail.
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

# Ends this lock where its client is silent. It counts its own sleeps: a clock that jumps is nothing to it. Of each
# line that arrives it learns by a signal.
watch() {
    holder=$$
    started "$holder"
    born=$since
    # Until it has a trap of its own.
    trap '' USR1
    (
        trap 'silent=0' USR1
        silent=0
        while [ "$silent" -lt 5 ]; do
            sleep $((silence / 5))
            silent=$((silent + 1))
            # Its number may be that of another process by now.
            started "$holder" && [ "$since" = "$born" ] || exit
        done
        kill "$holder"
    ) </dev/null >/dev/null 2>&1 &
    watcher=$!
}

# Removes the lock unless someone took it, and what it was made in if that is empty. In turn: whoever takes it over
# between the look and the removal would lose it.
release() {
    trap '' HUP INT TERM PIPE
    [ -z "$watcher" ] || kill "$watcher" 2>/dev/null
    tries=0
    until mkdir -- "$base/lock.turn" 2>/dev/null; do
        tries=$((tries + 1))
        if [ ! -d "$base/lock.turn" ]; then
            # There may be no room for it.
            [ "$tries" -le 3 ] || break
        else
            # A lock that stays is stale for the next.
            [ "$tries" -le 3 ] || return 0
            sleep 1
        fi
    done
    { read -r pid <"$owner"; } 2>/dev/null && [ "$pid" = "$$" ] && rm -rf -- "$base/lock"
    rmdir -- "$base/lock.turn" 2>/dev/null
    rmdir -- "$base" 2>/dev/null
}

main "$@"
