# Adds a line to a release's history: the JSON object on standard input, and who applied it when,
# which is the third line of the lock. With the renaming of the history, the release is recorded: nothing fails after
# that. What was kept of the release before is then of no more use.
# $1 history file  $2 lines to keep  $3 docker-compose's version, kept for the probe; may be empty
# $4… directories of kept files
main() {
    umask 077
    mkdir -p -- "${1%/*}" || exit
    read -r record || exit
    who=$(sed -n 3p "$HOME/.o3r-deploy/lock/owner" 2>/dev/null)
    [ -n "$who" ] && record="{$who,${record#?}"
    {
        if [ -f "$1" ]; then tail -n "$2" -- "$1"; fi && printf '%s\n' "$record"
    } >"$1.new" || { rm -f -- "$1.new"; exit 1; }
    sync
    mv -f -- "$1.new" "$1" || exit
    sync
    version=$3
    shift 3
    forget_kept "$@"
    rm -f -- "$HOME/.o3r-deploy/unfinished"
    if program=$(command -v docker-compose) && [ -n "$version" ]; then
        printf '%s\n%s\n' "$(ls -lniL -- "$program")" "$version" >"$HOME/.o3r-deploy/compose-version"
    fi
    return 0
}

main "$@"
