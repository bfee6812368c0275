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
    settle "$2" || [ "$2" = break ] || { release; exit 76; }
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

# Settles what an apply left running that died or lost its link and does not know it yet. What brings something is
# ended: it would clean up in the middle of our doing. What loads an image that has arrived is waited for, five times as
# long: it is work done. So is a docker-compose, which goes on by itself, and two of them on one project fail; but
# not where the lock is broken. Names the one that outlasts our patience.
# What a delta was built in that one did not live to remove goes.
# $1 keep or break
settle() {
    tries=0
    while :; do
        waiting=
        for one in $(running); do
            case $one in
                in:*) [ "$waiting" ] || [ "$1" = break ] || { waiting=$one limit=$patience; } ;;
                load-part:* | load-zstd:*) waiting=$one limit=$((patience * 5)) ;;
                *) kill -9 "${one#*:}" 2>/dev/null ;;
            esac
        done
        [ -n "$waiting" ] || break
        tries=$((tries + 1))
        [ "$tries" -le "$limit" ] || break
        sleep 1
    done
    if [ -e "$base/delta" ]; then
        docker rm -f -v o3r-deploy-delta >/dev/null 2>&1
        rm -rf -- "$base/delta"
    fi
    [ -n "$waiting" ] || return 0
    name=o3r-${waiting%%:*} pid=${waiting#*:}
    printf '%s %s\n' "$pid" "$(tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | sed "1,/^$name\$/d" | tr '\n' ' ')" >&2
    return 1
}

# Prints our own processes that run one of these scripts, as name:number; of those that bring something, only where
# that is to a path of ours, here or on another file system. in-directory.sh has a docker-compose as its child. The first look is quick and finds the
# letters anywhere, in containers, too, and in ourselves.
running() {
    # shellcheck disable=SC2013 # they are words
    for file in $(grep -ls 'o3r-[ilps]' /proc/[0-9]*/cmdline 2>/dev/null); do
        [ -O "$file" ] || continue
        words=$(tr '\0' '\n' <"$file" 2>/dev/null)
        pid=${file#/proc/} pid=${pid%/cmdline}
        # A name on a line of its own, and what is behind it: never the lines of this script.
        for name in in stage-files patch-file load-delta load-part load-zstd; do
            [ "$name" = in ] && below='' || below=$base/
            case $words in
                *"
o3r-$name
$below"* | *"
o3r-$name
/"*/.o3r-staging*) printf '%s:%s\n' "$name" "$pid" ;; esac
        done
    done
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
