# Leaves the decision on a release to a person: the VPU rolls back unless it is confirmed in time.
# $1 release  $2 nonce of the apply  $3 seconds from now  $4 version that waits, for the status
# Fails with exit code 78 if the watchdog has decided before.
main() {
    umask 077
    dir=$HOME/.o3r-deploy/watchdog/$1
    read -r _ silence <"$dir/deadline" && : >"$dir/$2.waits" || exit
    { printf '%s\n' "$4" >"$dir/$2.waits"; } 2>/dev/null || :
    read -r uptime _ </proc/uptime
    printf '%10d %6d\n' "$((${uptime%%.*} + $3))" "$silence" 1<>"$dir/deadline" || exit
    sync
    [ -f "$dir/$2.armed" ] || { echo "the VPU rolls back automatically" >&2; exit 78; }
}

main "$@"
