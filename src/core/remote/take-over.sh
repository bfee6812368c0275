# Writes the projects that a release has lost to others, one on each line of standard input; none: there is no such file.
# $1 the file beside the release's history
main() {
    umask 077
    projects=$(cat)
    if [ -n "$projects" ]; then
        { mkdir -p -- "${1%/*}" && printf '%s\n' "$projects" >"$1.new"; } || { rm -f -- "$1.new"; exit 1; }
        sync
        mv -f -- "$1.new" "$1" || exit
    else
        rm -f -- "$1" || exit
    fi
    sync
}

main "$@"
