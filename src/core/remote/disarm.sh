# Ends the watchdog of an apply: the new release stays, or the client has rolled back itself.
# $1 release  $2 nonce of the apply
# Fails with exit code 78 if the watchdog has decided before: it rolls back, or has done so.
main() {
    dir=$HOME/.o3r-deploy/watchdog/$1
    # This script did it before, and its answer was lost: a watchdog leaves its verdict.
    [ -d "$dir" ] || return 0
    # One rename decides, here or in watchdog.sh.
    mv -- "$dir/$2.armed" "$dir/$2.ended" 2>/dev/null || [ -f "$dir/$2.ended" ] || {
        echo "the VPU rolls back automatically" >&2
        exit 78
    }
    sync
    rm -rf -- "$dir"
    rmdir -- "${dir%/*}" 2>/dev/null
    stand_down
}

main "$@"
