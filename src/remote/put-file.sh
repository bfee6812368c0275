# Puts standard input at PATH: complete, checked and synced, or not at all.
# $1 PATH  $2 sha256 in hex  $3 octal mode  $4 where the file that it replaces is kept
# $5 record of what was started from the old file, removed before the new one is in place
main() {
    path=$1 sha256=$2 mode=$3 kept=$4 record=$5
    umask 077
    mkdir -p -- "${kept%/*}" || exit
    (umask 022 && mkdir -p -- "${path%/*}") || exit
    if [ -d "$path" ]; then
        echo "$path is a directory" >&2
        exit 1
    fi
    cat >"$path.o3r-new" || exit
    found=$(digest "$path.o3r-new")
    if [ -n "$found" ] && [ "$found" != "$sha256" ]; then
        rm -f -- "$path.o3r-new"
        echo "$path: what arrived is not what was planned (the file changed here, or the link broke)" >&2
        exit 1
    fi
    chmod "$mode" "$path.o3r-new" || exit
    flush "$path.o3r-new"
    if [ -f "$path" ]; then cp -p -- "$path" "$kept" || exit; else rm -f -- "$kept"; fi
    if [ -n "$record" ]; then rm -f -- "$record"; fi
    mv -f -- "$path.o3r-new" "$path" && flush "${path%/*}"
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

main "$@"
