# Puts back the file that put-file replaced; removes the new one where there was none.
# $1 PATH  $2 where the old file is kept
main() {
    if [ -f "$2" ]; then
        cp -p -- "$2" "$1.o3r-new" && sync && mv -f -- "$1.o3r-new" "$1"
    else
        rm -f -- "$1"
    fi && sync
}

main "$@"
