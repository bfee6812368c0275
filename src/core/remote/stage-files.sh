# Unpacks the tar archive on standard input into a staging directory and verifies every file: all or nothing. Its last
# file, sums, has the sha256 of the others.
# $1 staging directory; its present content is left over from an interrupted apply
main() {
    staging=$1
    umask 077
    rm -rf -- "$staging" || exit
    mkdir -p -- "$staging/new" || exit
    cd -- "$staging/new" || exit
    # Permissions of the archive, whatever the umask; no owner; no times, because the clock may be years behind and
    # tar warns of each file from the future.
    tar -xpomf - 2>../said || failed "$(tail -n 5 ../said)"
    [ -f sums ] || failed "the archive was cut short"
    # Syncs and hashes at the same time.
    flush &
    said=$(check 2>&1) || failed "$said"
    wait
    rm -f sums
}

# Frees the disk, then reports the reason.
failed() {
    wait
    cd / && rm -rf -- "$staging"
    echo "the received data differs from the plan (a file changed on the client, the link broke, or the disk is full):" >&2
    printf '%s\n' "$1" | tail -n 5 >&2
    exit 1
}

# Prints the names of files that differ from sums; succeeds if no tool computes sha256.
check() {
    if command -v sha256sum >/dev/null 2>&1; then set -- sha256sum
    elif command -v busybox >/dev/null 2>&1; then set -- busybox sha256sum
    elif command -v openssl >/dev/null 2>&1; then one_by_one; return
    else return 0
    fi
    [ -s sums ] || return 0
    "$@" -c sums >../said 2>&1 || { grep -v ': OK$' ../said; return 1; }
}

one_by_one() {
    while read -r sha256 name; do
        set -- "$(openssl dgst -sha256 -r <"$name")"
        [ "${1%% *}" = "$sha256" ] || { printf '%s\n' "$name"; return 1; }
    done <sums
}

# Syncs the file system of this directory; everything if sync takes no arguments.
flush() {
    sync -f . 2>/dev/null || sync
}

main "$@"
