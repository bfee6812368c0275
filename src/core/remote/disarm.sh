# Ends the watchdog of an apply: the new release stays, or the client has rolled back itself.
# $1 release  $2 nonce of the apply; empty for one that was interrupted
# $3 verdict: how the client rolled back is on standard input, a JSON object, and stays until the next apply
# Fails with exit code 78 if the watchdog has decided before: it rolls back, or has done so.
main() {
    dir=$HOME/.o3r-deploy/watchdog/$1
    # This script did it before, and its answer was lost: a watchdog leaves its verdict.
    [ -d "$dir" ] || return 0
    # One rename decides, here or in watchdog.sh.
    nonce=$2
    if [ -z "$nonce" ]; then
        for file in "$dir"/*.armed "$dir"/*.reverting; do
            [ ! -f "$file" ] || nonce=${file##*/}
        done
        # There is none, or only a verdict.
        [ -n "$nonce" ] || return 0
        nonce=${nonce%.*}
    fi
    mv -- "$dir/$nonce.armed" "$dir/$nonce.ended" 2>/dev/null || [ -f "$dir/$nonce.ended" ] || {
        echo "the VPU rolls back automatically" >&2
        exit 78
    }
    sync
    if [ "${3:-}" = verdict ] && cat >"$dir/verdict.new" 2>/dev/null && mv -f -- "$dir/verdict.new" "$dir/verdict"; then
        for file in "$dir"/*; do
            # By the second one, this script may run again.
            case $file in "$dir/verdict" | "$dir/$nonce.ended") ;; *) rm -f -- "$file" ;; esac
        done
        sync
    else
        rm -rf -- "$dir"
        rmdir -- "${dir%/*}" 2>/dev/null
    fi
    stand_down
}

main "$@"
