# Writes standard input to PATH: complete, verified and synced, or not at all.
# $1 PATH  $2 sha256 in hex  $3 bytes  $4 octal mode
# $5 where to keep the replaced file if it is the previous release's, $6 as in kept.sh
# $7 record of what was started from the old file, moved away before the file is replaced
main() {
    path=$1 sha256=$2 bytes=$3 mode=$4 kept=$5 previous=$6 record=$7
    umask 077
    (umask 022 && mkdir -p -- "${path%/*}") || exit
    if [ -d "$path" ]; then
        echo "$path is a directory" >&2
        exit 1
    fi
    keep "$path" "$kept" "$previous" || exit
    if [ "$previous" = - ]; then
        mkdir -p -- "${kept%/*}" && : >"$(added "$kept")" || exit
    fi
    unfinished "$path.o3r-new"
    cat >"$path.o3r-new" || refuse "$path could not be written"
    # Without a tool for sha256, only the size is compared.
    # shellcheck disable=SC2012 # the name is known; ls is on every VPU, stat is not
    size=$(ls -ln -- "$path.o3r-new" | { read -r _ _ _ _ size _ && echo "$size"; })
    found=$(digest "$path.o3r-new")
    if [ "$size" != "$bytes" ] || [ "${found:-$sha256}" != "$sha256" ]; then
        refuse "$path: the received data differs from the plan (the file changed on the client, or the link broke)"
    fi
    chmod "$mode" "$path.o3r-new" || refuse "$path: its permissions cannot be set"
    flush "$path.o3r-new"
    forget "$record" "$kept" || refuse "$record cannot be taken away"
    mv -f -- "$path.o3r-new" "$path" && flush "${path%/*}"
}

refuse() {
    rm -f -- "$path.o3r-new"
    echo "$1" >&2
    exit 1
}

main "$@"
