# Shared by put-file, remove-file and restore-file: the copy of the previous release's file.

# Copies the file $1 to $2 if it is the previous release's: $3 is its sha256 in hex, "-" if there was none, "?" if the
# file is not ours. If an interrupted apply already replaced the file, its copy is kept.
keep() {
    [ "$3" = - ] && return
    mkdir -p -- "${2%/*}" || return
    if [ "$3" = "?" ]; then
        if [ -f "$2" ] || [ ! -f "$1" ]; then return 0; fi
    else
        is "$1" "$3" || return 0
    fi
    cp -p -- "$1" "$2.new" && flush "$2.new" && mv -f -- "$2.new" "$2"
}

# Prints the path of the mark for a file that the previous release does not have: beside $1, where its copy would be. The
# probe reads the mark; recording or restoring a release removes it.
added() {
    printf '%s/%%added-%s' "${1%/*}" "${1##*/}"
}

# Moves the record $1 of what was started beside $2: it is wrong once a file changes, and right again after a rollback
# that keeps the containers. Notes the boot in which it was moved.
forget() {
    [ -f "$1" ] || return 0
    mkdir -p -- "${2%/*}" && mv -f -- "$1" "${2%/*}/%started" || return
    # Without the note, remember leaves the record: the disk may be full.
    boot >"${2%/*}/%boot" 2>/dev/null || :
}

# Reverts forget, in the same boot only: a boot may create containers from files of both releases.
remember() {
    if [ -f "$1" ] || [ ! -f "${2%/*}/%started" ] || [ "$(boot)" != "$(cat -- "${2%/*}/%boot" 2>/dev/null)" ]; then
        return 0
    fi
    mv -f -- "${2%/*}/%started" "$1"
}

# Prints the boot ID; nothing if there is no /proc.
boot() {
    cat /proc/sys/kernel/random/boot_id 2>/dev/null
}

# Records the name of an incomplete file, so that lock.sh removes it if this process dies. If the name cannot be
# recorded, the file stays.
unfinished() {
    { [ ! -d "$HOME/.o3r-deploy" ] || printf '%s\n' "$1" >>"$HOME/.o3r-deploy/unfinished"; } 2>/dev/null || :
}

# Succeeds if the file $1 exists and has the sha256 $2.
is() {
    [ -f "$1" ] && [ "$(digest "$1")" = "$2" ]
}

# Syncs one file or directory; everything if sync takes no arguments.
flush() {
    sync -- "$1" 2>/dev/null || sync
}

# Prints the file's sha256 in hex; nothing if no tool computes it.
digest() {
    if command -v sha256sum >/dev/null 2>&1; then set -- "$(sha256sum <"$1")"
    elif command -v openssl >/dev/null 2>&1; then set -- "$(openssl dgst -sha256 -r <"$1")"
    else set -- "$(busybox sha256sum <"$1" 2>/dev/null)"
    fi
    printf '%s' "${1%% *}"
}

