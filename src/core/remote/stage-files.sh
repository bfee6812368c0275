# Unpacks the tar archive on standard input into a staging directory and checks every file in it: all of it is
# there, or nothing. Its last file, sums, has the sha256 of the others.
# $1 staging directory; what is in it already is left from an apply that was cut off
main() {
    staging=$1
    umask 077
    rm -rf -- "$staging" || exit
    mkdir -p -- "$staging/new" || exit
    cd -- "$staging/new" || exit
    # Permissions of the archive, whatever the umask; no owner; times of now, for the clock here may
    # be years behind and tar warns of each file from the future.
    tar -xpomf - 2>../said || failed "$(tail -n 5 ../said)"
    [ -f sums ] || failed "the archive was cut short"
    # The disk and the hashes are waited for at the same time.
    flush &
    said=$(check 2>&1) || failed "$said"
    wait
    rm -f sums
}

# Frees the disk before it says why.
failed() {
    wait
    cd / && rm -rf -- "$staging"
    echo "what arrived is not what was planned (a file changed here, the link broke, or the disk is full):" >&2
    printf '%s\n' "$1" | tail -n 5 >&2
    exit 1
}

# Prints the names of the files that are not what sums says; passes where no tool can tell.
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

# Puts the file system of this directory on the disk; everything, where sync takes no names.
flush() {
    sync -f . 2>/dev/null || sync
}

main "$@"
