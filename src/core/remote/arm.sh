# Arms the watchdog of a release: from now on the VPU rolls back automatically if it does not hear from a client.
# $1 release  $2 nonce of this apply, a word of a-z0-9-  $3 seconds of silence after which the VPU rolls back
# $4 token of its lock  $5 yes if this user's services run without a login: then it also rolls back after a restart
# $6 bytes of the program that rolls back, on standard input
main() {
    umask 077
    base=$HOME/.o3r-deploy/watchdog dir=$HOME/.o3r-deploy/watchdog/$1 nonce=$2 seconds=$3 lingers=$5
    mkdir -p -- "$dir" || exit
    # Through cat: printf, a builtin, does not report why a write failed.
    cat >"$dir/$nonce.sh" || refuse "$dir cannot be written"
    [ "$(wc -c <"$dir/$nonce.sh")" -eq "$6" ] || refuse "the program that rolls back was cut short"
    printf '%s\n' "$PATH" | cat >"$dir/$nonce.path" || refuse "$dir cannot be written"
    printf '%s\n%s\n' "$(cat /proc/sys/kernel/random/boot_id)" "$4" | cat >"$dir/$nonce.new" || refuse "$dir cannot be written"
    # Its room is taken now: the disk may be full later.
    printf '%-6d\n' 0 | cat >"$dir/$nonce.at" || refuse "$dir cannot be written"
    rm -f -- "$dir/verdict"
    read -r uptime _ </proc/uptime
    printf '%10d %6d\n' "$((${uptime%%.*} + seconds))" "$seconds" | cat >"$dir/deadline" || refuse "$dir cannot be written"
    # shellcheck disable=SC2154 # watchdog-unit.sh sets it
    [ "$lingers" != yes ] || stand_by || refuse "${unit%/*} cannot be written"
    sync
    mv -- "$dir/$nonce.new" "$dir/$nonce.armed" || exit
    sync
    # This apply takes the place of one that was cut off.
    for file in "$dir"/*; do
        case $file in "$dir/$nonce".* | "$dir/deadline") ;; *) rm -f -- "$file" ;; esac
    done
    start
    tries=0
    until [ -e "$dir/$nonce.watches" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 50 ] || { rm -rf -- "$dir"; stand_down; echo "the watchdog does not start" >&2; exit 1; }
        sleep 0.1 2>/dev/null || sleep 1
    done
}

# $1 why not
refuse() {
    rm -f -- "$dir/$nonce".*
    # That of an apply that was cut off stays.
    is_armed=
    for file in "$dir"/*.armed "$dir"/*.reverting; do [ ! -f "$file" ] || is_armed=yes; done
    [ "$is_armed" ] || { rm -rf -- "$dir"; rmdir -- "$base" 2>/dev/null; }
    echo "$1" >&2
    exit 1
}

# Starts the watchdog outside this session, whose processes may be killed when it ends.
start() {
    # By it, lock.sh finds the processes of a dead apply.
    unset O3R_DEPLOY_RUN
    if [ "$lingers" = yes ] && systemd-run --user --quiet --unit="o3r-deploy-watchdog-$nonce" sh "$dir/$nonce.sh" watch >/dev/null 2>&1 </dev/null; then
        return
    fi
    (
        cd /
        trap '' HUP
        set -- sh "$dir/$nonce.sh" watch
        if command -v setsid >/dev/null 2>&1; then set -- setsid "$@"; fi
        exec "$@"
    ) </dev/null >/dev/null 2>&1 &
}

main "$@"
