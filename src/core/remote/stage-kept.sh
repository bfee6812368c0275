# Puts contents that the VPU keeps into a staging directory, as stage-files does with received ones: all or nothing.
# $1 staging directory; its present content is left over from an interrupted apply  $2 the store
# $3 bytes from which a file is a link, as in the store
# Standard input: a line for each member
#   f SHA256 MODE MEMBER
#   d MODE MEMBER
#   l MEMBER<TAB>TARGET
main() {
    staging=$1 store=$2 large=$3
    umask 077
    rm -rf -- "$staging" || exit
    mkdir -p -- "$staging/new" || exit
    cd -- "$staging/new" || exit
    list=$(cat)
    set -f
    IFS='
'
    for line in $list; do
        kind=${line%% *} rest=${line#* }
        case $kind in
            f)
                sha256=${rest%% *} rest=${rest#* }
                mode=${rest%% *} name=${rest#* }
                { above "$name" && put; } || failed "$name"
                ;;
            d)
                mode=${rest%% *} name=${rest#* }
                { mkdir -p -- "$name" && chmod "$mode" -- "$name"; } || failed "$name"
                ;;
            l)
                name=${rest%%	*}
                { above "$name" && ln -s -- "${rest#*	}" "$name"; } || failed "$name"
                ;;
        esac
    done
    sync -f . 2>/dev/null || sync
}

above() {
    case $1 in */*) mkdir -p -- "${1%/*}" ;; esac
}

put() {
    # shellcheck disable=SC2012 # ls is on every VPU, stat is not
    size=$(ls -ln -- "$store/$sha256" | { IFS=' ' read -r _ _ _ _ size _ && echo "$size"; })
    if [ "${size:-0}" -lt "$large" ] || ! ln -- "$store/$sha256" "$name" 2>/dev/null; then
        cp -- "$store/$sha256" "$name" || return
    fi
    found=$(digest "$name")
    [ "${found:-$sha256}" = "$sha256" ] && chmod "$mode" -- "$name"
}

# Frees the disk, then reports the reason.
failed() {
    cd / && rm -rf -- "$staging"
    echo "the VPU does not keep the contents of $1 any more, or the disk is full" >&2
    exit 1
}

main "$@"
