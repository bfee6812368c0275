# Holds the VPU's lock while standard input stays open: it ends with the connection.
# $1 who and when, as members of a JSON object  $2 "break" takes the lock from its holder
# $3 seconds to wait for what a dead apply left running
# Prints one line when the lock is held; exits 75, naming the holder, when another has it, and 76, naming
# the process, when what was left running does not end.
main() {
    umask 077
    patience=$3
    base=$HOME/.o3r-deploy
    boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
    # Who frees the lock of a VPU that has nothing of ours takes the directory away, too: that may be now.
    if ! { mkdir -- "$base/lock" || { mkdir -p -- "$base" && mkdir -- "$base/lock"; }; } 2>/dev/null; then
        [ -d "$base/lock" ] || { echo "cannot make $base/lock" >&2; exit 1; }
        if [ "$2" != break ] && alive; then busy; fi
        take_over "$2"
    fi
    own "$1" || exit
    trap 'release; exit' HUP INT TERM PIPE
    abandoned || [ "$2" = break ] || { release; exit 76; }
    [ "$2" = break ] || leftovers || { release; exit 76; }
    echo locked
    cat >/dev/null
    release
}

own() {
    printf '%s\n%s\n%s\n' "$$" "$boot" "$1" >"$base/lock/owner"
}

busy() {
    sed -n 3p "$base/lock/owner" >&2
    exit 75
}

# Removes a lock that is stale or to be broken. Several may find it so at once: they take turns,
# and look again when it is theirs. A turn lasts milliseconds; one of over a second was cut off.
take_over() {
    mkdir -- "$base/lock.turn" 2>/dev/null || {
        sleep 1
        rmdir -- "$base/lock.turn" 2>/dev/null
        mkdir -- "$base/lock.turn" 2>/dev/null || busy
    }
    if [ "$1" = break ] || ! alive; then
        rm -rf -- "$base/lock"
        mkdir -- "$base/lock" 2>/dev/null && own ""
        code=$?
    else
        code=1
    fi
    rmdir -- "$base/lock.turn"
    [ "$code" = 0 ] || busy
}

# Ends what an apply left running that lost its link and does not know it yet: it would clean up in the middle of
# our doing. What loads an image that has arrived is waited for instead, five times as long: it is work done.
# Names one that outlasts our patience.
abandoned() {
    tries=0
    while :; do
        loading=
        for one in $(staging); do
            case $one in
                load-part:* | load-zstd:*) loading=$one ;;
                *) kill -9 "${one#*:}" 2>/dev/null ;;
            esac
        done
        [ -n "$loading" ] || return 0
        tries=$((tries + 1))
        [ "$tries" -le $((patience * 5)) ] || break
        sleep 1
    done
    printf '%s %s\n' "${loading#*:}" "${loading%:*}" >&2
    return 1
}

# Prints our own processes that run one of the scripts that bring something to a path of ours, as name:number.
staging() {
    # shellcheck disable=SC2013 # they are words
    for file in $(grep -ls 'o3r-[lps]' /proc/[0-9]*/cmdline 2>/dev/null); do
        [ -O "$file" ] || continue
        words=$(tr '\0' '\n' <"$file" 2>/dev/null)
        pid=${file#/proc/}
        for name in stage-files patch-file load-delta load-part load-zstd; do
            # The script's name, and the path behind it.
            case $words in *"
o3r-$name
$base/"*) printf '%s:%s\n' "$name" "${pid%/cmdline}" ;; esac
        done
    done
}

# Waits for a docker-compose whose apply died or lost its link: it goes on by itself, and two of them on
# one project fail. in-directory.sh has it as its child. Names the one that outlasts our patience.
leftovers() {
    tries=0
    while left=$(leftover); do
        tries=$((tries + 1))
        [ "$tries" -le "$patience" ] || { printf '%s\n' "$left" >&2; return 1; }
        sleep 1
    done
}

# Prints one by number and words. The first look is quick and finds the letters anywhere, in containers,
# too; the second wants our own process with just that word.
leftover() {
    # shellcheck disable=SC2013 # they are words
    for file in $(grep -ls 'o3r-[i]n' /proc/[0-9]*/cmdline 2>/dev/null); do
        [ -O "$file" ] || continue
        words=$(tr '\0' '\n' <"$file" 2>/dev/null)
        printf '%s\n' "$words" | grep -Fqx o3r-in || continue
        pid=${file#/proc/}
        printf '%s %s\n' "${pid%/cmdline}" "$(printf '%s\n' "$words" | sed '1,/^o3r-in$/d' | tr '\n' ' ')"
        return
    done
    return 1
}

# Whether the lock's holder still runs. A holder of another boot, or one that is gone, does not.
alive() {
    tries=0
    while [ ! -s "$base/lock/owner" ] && [ "$tries" -lt 3 ]; do sleep 1; tries=$((tries + 1)); done
    { read -r pid && read -r at_boot; } <"$base/lock/owner" 2>/dev/null || return 1
    [ "$at_boot" = "$boot" ] && kill -0 "$pid" 2>/dev/null
}

# Removes the lock unless someone broke it, and what it was made in if that is empty.
release() {
    { read -r pid <"$base/lock/owner"; } 2>/dev/null && [ "$pid" = "$$" ] && rm -rf -- "$base/lock"
    rmdir -- "$base" 2>/dev/null
}

main "$@"
