# Prints the cksum and sha256sum of each block of a file, then "end". Read-only.
# $1 file  $2 block size in bytes  $3 blocks to split off into a temporary directory at a time
main() {
    file=$1 block=$2 batch=$3
    LC_ALL=C
    export LC_ALL
    umask 077
    if [ ! -f "$file" ] || [ ! -r "$file" ]; then
        echo "$file cannot be read" >&2
        exit 1
    fi
    dir=$(mktemp -d) || exit
    trap 'rm -rf -- "$dir"' EXIT
    trap 'exit 129' HUP INT TERM PIPE
    cd -- "$dir" || exit
    # A login shell may have printed an unfinished line.
    echo
    first=0
    while :; do
        # One process per block would take longer than sending the file.
        dd if="$file" bs="$block" skip="$first" count="$batch" 2>/dev/null | split -b "$block" -a 3 - b || exit
        set -- b*
        [ -e "$1" ] || break
        cksum -- "$@" && sha256 "$@" || exit
        rm -f -- "$@"
        [ $# -ge "$batch" ] || break
        first=$((first + batch))
    done
    echo end
}

sha256() {
    if command -v sha256sum >/dev/null 2>&1; then sha256sum -- "$@"
    elif command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r "$@"
    else busybox sha256sum "$@"
    fi
}

main "$@"
