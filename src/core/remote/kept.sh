# What put-file, remove-file and restore-file share: the copy of the file that the previous release has.

# Keeps the file $1 as $2 if it is the one of the previous release: $3 is that one's sha256 in hex, "-" if
# there was none, "?" if it is someone else's, whatever that is. Where an interrupted apply already put
# another one in its place, the copy that it made stays.
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

# Where it is noted that an apply put a file there that the previous release has not: beside where that one
# would be kept, which is $1. The probe reads it; what is recorded or restored removes it.
added() {
    printf '%s/%%added-%s' "${1%/*}" "${1##*/}"
}

# Takes the record $1 of what was started away: it is not to be trusted once a file is another. It is kept
# beside $2, for those containers may come through.
forget() {
    [ -f "$1" ] || return 0
    mkdir -p -- "${2%/*}" && mv -f -- "$1" "${2%/*}/%started"
}

# Takes forget back, in the same boot: in another one, nobody knows who made the containers.
remember() {
    boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
    if [ -f "$1" ] || ! grep -Fqx "boot $boot" "${2%/*}/%started" 2>/dev/null; then return 0; fi
    mv -f -- "${2%/*}/%started" "$1"
}

# Notes the name of a file that is not complete yet: lock.sh removes it, should we not live to. Where that cannot be
# noted, it stays.
unfinished() {
    { [ ! -d "$HOME/.o3r-deploy" ] || printf '%s\n' "$1" >>"$HOME/.o3r-deploy/unfinished"; } 2>/dev/null || :
}

# Whether the file $1 is there and has the sha256 $2.
is() {
    [ -f "$1" ] && [ "$(digest "$1")" = "$2" ]
}

# Puts one file or directory on the disk; everything, where sync takes no names.
flush() {
    sync -- "$1" 2>/dev/null || sync
}

# The file's sha256 in hex; nothing where no tool can tell.
digest() {
    if command -v sha256sum >/dev/null 2>&1; then set -- "$(sha256sum <"$1")"
    elif command -v openssl >/dev/null 2>&1; then set -- "$(openssl dgst -sha256 -r <"$1")"
    else set -- "$(busybox sha256sum <"$1" 2>/dev/null)"
    fi
    printf '%s' "${1%% *}"
}

