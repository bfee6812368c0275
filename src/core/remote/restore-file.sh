# Reverts put-file or remove-file, also if they did nothing or only a part.
# $1 PATH  $2 copy of the previous release's file  $3 as in kept.sh
# $4 record of what was started from it
main() {
    path=$1 kept=$2 previous=$3
    umask 077
    restore && remember "$4" "$kept" && sync
}

restore() {
    case $previous in
        -) rm -f -- "$path" "$(added "$kept")"; return ;;
        # Without a copy, the file was not replaced or is restored.
        "?") [ -f "$kept" ] || return 0 ;;
        *)
            if ! is "$kept" "$previous"; then
                is "$path" "$previous" && return
                echo "$path differs from the previous release, and there is no copy of it" >&2
                return 1
            fi
            # Writes only if needed: the disk may be full.
            if is "$path" "$previous" && [ "$(mode "$path")" = "$(mode "$kept")" ]; then return 0; fi ;;
    esac
    if [ -d "$path" ]; then
        echo "$path is a directory" >&2
        return 1
    fi
    (umask 022 && mkdir -p -- "${path%/*}") || return
    bring_back || return
    # A file that is not ours may change before it is copied again.
    [ "$previous" != "?" ] || rm -f -- "$kept"
}

# The copy stays, so that this can run again; if the disk is full, it is moved instead of copied.
bring_back() {
    unfinished "$path.o3r-new"
    if said=$(cp -p -- "$kept" "$path.o3r-new" 2>&1) && flush "$path.o3r-new"; then
        mv -f -- "$path.o3r-new" "$path" && return
    fi
    rm -f -- "$path.o3r-new"
    mv -f -- "$kept" "$path" && return
    [ -z "$said" ] || echo "$said" >&2
    return 1
}

mode() {
    # shellcheck disable=SC2012 # the name is known; ls is on every VPU, stat is not
    ls -ln -- "$1" | { read -r mode _ && echo "$mode"; }
}

main "$@"
