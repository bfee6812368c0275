# Holds the VPU's lock while standard input stays open: it ends with the connection.
# $1 who and when, as members of a JSON object  $2 "break" takes the lock from its holder
# Prints one line when the lock is held; exits 75, naming the holder, when another has it.
main() {
    umask 077
    base=$HOME/.o3r-deploy
    boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
    mkdir -p -- "$base" || exit
    if ! mkdir -- "$base/lock" 2>/dev/null; then
        [ -d "$base/lock" ] || { echo "cannot make $base/lock" >&2; exit 1; }
        if [ "$2" != break ] && alive; then
            sed -n 3p "$base/lock/owner" >&2
            exit 75
        fi
        # Only one of several who find it stale gets to move it away.
        mv -- "$base/lock" "$base/lock.$$" 2>/dev/null && rm -rf -- "$base/lock.$$"
        mkdir -- "$base/lock" 2>/dev/null || { echo "another apply was quicker" >&2; exit 75; }
    fi
    printf '%s\n%s\n%s\n' "$$" "$boot" "$1" >"$base/lock/owner" || exit
    trap 'release; exit' HUP INT TERM PIPE
    echo locked
    cat >/dev/null
    release
}

# Whether the lock's holder still runs. A holder of another boot, or one that is gone, does not.
alive() {
    tries=0
    while [ ! -s "$base/lock/owner" ] && [ "$tries" -lt 3 ]; do sleep 1; tries=$((tries + 1)); done
    { read -r pid && read -r at_boot; } <"$base/lock/owner" 2>/dev/null || return 1
    [ "$at_boot" = "$boot" ] && kill -0 "$pid" 2>/dev/null
}

# Removes the lock unless someone broke it.
release() {
    read -r pid <"$base/lock/owner" 2>/dev/null && [ "$pid" = "$$" ] && rm -rf -- "$base/lock"
}

main "$@"
