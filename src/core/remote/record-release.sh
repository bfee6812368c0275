# Appends a line to a release's history: the JSON object on standard input, who applied it and when (the third line of
# the lock), and the anonymous volumes of its containers if docker shows them. The rename of the history records the
# release; nothing fails after that: the copies of the previous release and old releases that are kept are removed.
# $1 history file  $2 lines to keep  $3 version of docker-compose, cached for the probe; may be empty
# $4 its compose projects, separated by spaces  $5 how many earlier releases to keep  $6 kilobytes to leave free
# $7 the most kilobytes that these may hold; empty for no limit
# $8 directory of a further note; may be empty  $9 the note, a JSON object; then directories of kept files
main() {
    umask 077
    mkdir -p -- "${1%/*}" || exit
    read -r record || exit
    who=$(sed -n 3p "$HOME/.o3r-deploy/lock/owner" 2>/dev/null)
    if volumes=$(anonymous_volumes "$4"); then record="{\"anonymous_volumes\":[$volumes],${record#?}"; fi
    [ -n "$who" ] && record="{$who,${record#?}"
    {
        if [ -f "$1" ]; then tail -n "$2" -- "$1"; fi && printf '%s\n' "$record"
    } >"$1.new" || { rm -f -- "$1.new"; exit 1; }
    sync
    mv -f -- "$1.new" "$1" || exit
    # What others took: this record no longer names it, or took it back.
    rm -f -- "${1%.jsonl}.taken"
    sync
    name=${1##*/}
    version=$3 keep=$5 reserve=$6 limit=$7 directory=$8 note=$9
    shift 9
    forget_kept "$@"
    # Subshells: their variables must not leak.
    (prune_generations "${name%.jsonl}" "$keep" "$reserve" "$limit")
    [ -z "$directory" ] || (stamp "$directory" "{${who:+$who,}${note#?}")
    # The verdict of an earlier apply.
    watchdog=$HOME/.o3r-deploy/watchdog/${name%.jsonl}
    rm -f -- "$watchdog/verdict" "$watchdog"/*.log "$watchdog"/*.ended
    rmdir -- "$watchdog" "${watchdog%/*}" 2>/dev/null
    if program=$(command -v docker-compose) && [ -n "$version" ]; then
        printf '%s\n%s\n' "$(ls -lniL -- "$program")" "$version" >"$HOME/.o3r-deploy/compose-version"
    fi
    return 0
}

# Prints the anonymous volumes of the containers of projects: JSON objects, separated by commas.
# $1 the projects, separated by spaces
anonymous_volumes() {
    compose=com.docker.compose
    objects=$(
        for project in $1; do
            ids=$(docker container ls -aq --no-trunc --filter "label=$compose.project=$project" \
                --filter "label=$compose.oneoff=False" </dev/null 2>/dev/null) || exit
            [ -n "$ids" ] || continue
            # Word splitting is intended: ids have no spaces.
            # shellcheck disable=SC2086
            docker container inspect --format "$object" $ids </dev/null 2>/dev/null || exit
        done
    ) || return
    printf '%s\n' "$objects" | grep -E '"volume":"[0-9a-f]{64}"}$' | tr '\n' ',' | sed 's/,$//'
}

label='index $.Config.Labels "com.docker.compose.'
object='{{range .Mounts}}{{if eq .Type "volume"}}{"container":{{json $.Id}},'\
'"project":{{json ('$label'project")}},"service":{{json ('$label'service")}},'\
'"number":{{json ('$label'container-number")}},"working_dir":{{json ('$label'project.working_dir")}},'\
'"image":{{json $.Image}},"destination":{{json .Destination}},"volume":{{json .Name}}}{{println}}{{end}}{{end}}'

main "$@"
