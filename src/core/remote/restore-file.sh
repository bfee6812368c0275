# Reverts put-file or remove-file, also if they did nothing or only a part.
# $1 PATH  $2 copy of the previous release's file  $3 as in kept.sh
# $4 record of what was started from it  $5 the project's directory, removed if it is left empty
# $6 where the store would have the previous release's file, if somebody changed it before it was replaced  $7 its mode
main() {
    path=$1 kept=$2 previous=$3 directory=$5 stored=$6 stored_mode=$7
    umask 077
    restore && remember "$4" "$kept" && sync
}

restore() {
    case $previous in
        -)
            rm -f -- "$path" "$(added "$kept")" || return
            above=$path
            while [ "$above" != "$directory" ] && above=${above%/*} && [ -n "$above" ]; do
                rmdir -- "$above" 2>/dev/null || [ ! -e "$above" ] || break
            done
            return ;;
        # Without a copy, the file was not replaced or is restored.
        "?") [ -f "$kept" ] || return 0 ;;
        *)
            if ! is "$kept" "$previous"; then
                is "$path" "$previous" && return
                if is "$stored" "$previous"; then
                    bring_back "$stored" "$stored_mode"
                    return
                fi
                echo "$path differs from the previous release, and there is no copy of it" >&2
                return 1
            fi
            # Writes only if needed: the disk may be full.
            if is "$path" "$previous" && [ "$(mode "$path")" = "$(mode "$kept")" ]; then return 0; fi ;;
    esac
    bring_back "$kept" '' || return
    # A file that is not ours may change before it is copied again.
    [ "$previous" != "?" ] || rm -f -- "$kept"
}

# Restores the file from $1, with the mode $2; empty: that of $1. What is kept stays, so that this can run again; if the
# disk is full, it is moved instead of copied. The store's files are of all releases.
bring_back() {
    if [ -d "$path" ]; then
        echo "$path is a directory" >&2
        return 1
    fi
    (umask 022 && mkdir -p -- "${path%/*}") || return
    unfinished "$path.o3r-new"
    if said=$({ cp -p -- "$1" "$path.o3r-new" && { [ -z "$2" ] || chmod "$2" "$path.o3r-new"; }; } 2>&1) &&
        flush "$path.o3r-new"; then
        mv -f -- "$path.o3r-new" "$path" && return
    fi
    rm -f -- "$path.o3r-new"
    [ -n "$2" ] || ! mv -f -- "$1" "$path" || return 0
    [ -z "$said" ] || echo "$said" >&2
    return 1
}

mode() {
    # shellcheck disable=SC2012 # the name is known; ls is on every VPU, stat is not
    ls -ln -- "$1" | { read -r mode _ && echo "$mode"; }
}

main "$@"
