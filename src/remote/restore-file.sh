# Takes put-file or remove-file back, also where they did nothing or only a part.
# $1 PATH  $2 where the previous release's file is kept  $3 which one that is, as keep takes it
# $4 record of what was started from it
main() {
    path=$1 kept=$2 previous=$3
    umask 077
    restore && remember "$4" "$kept" && sync
}

restore() {
    case $previous in
        -) rm -f -- "$path" "$(added "$kept")"; return ;;
        # Without a copy it was not replaced, or is back.
        "?") [ -f "$kept" ] || return 0 ;;
        *)
            if ! is "$kept" "$previous"; then
                is "$path" "$previous" && return
                echo "$path is not that of the previous release, and no copy of that one is kept" >&2
                return 1
            fi ;;
    esac
    (umask 022 && mkdir -p -- "${path%/*}") || return
    cp -p -- "$kept" "$path.o3r-new" && flush "$path.o3r-new" && mv -f -- "$path.o3r-new" "$path" || return
    # Someone else's may change before it is kept again.
    [ "$previous" != "?" ] || rm -f -- "$kept"
}

main "$@"
