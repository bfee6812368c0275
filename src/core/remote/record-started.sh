# Records what a project's containers were started from: the inputs on standard input, the boot id, and the containers
# with docker-compose's config hash of each. Writes nothing if the record is the same: the disk may be full.
# $1 project  $2 record
main() {
    umask 077
    mkdir -p -- "${2%/*}" || exit
    inputs=$(cat) || exit
    containers=$(docker container ls -a --no-trunc --filter "label=com.docker.compose.project=$1" \
        --format '{{.ID}} {{.Names}} {{.Label "com.docker.compose.config-hash"}}') || exit
    [ -z "$inputs" ] || inputs="$inputs
"
    record=${inputs}boot\ $(cat /proc/sys/kernel/random/boot_id 2>/dev/null)$(started)
    [ "$record" != "$(cat -- "$2" 2>/dev/null)" ] || return 0
    # Through cat: printf, a builtin, does not report why a write failed.
    if ! said=$(printf '%s\n' "$record" | cat 2>&1 >"$2.new") || [ -n "$said" ] || [ ! -s "$2.new" ]; then
        rm -f -- "$2.new"
        echo "${said:-"$2 cannot be written"}" >&2
        exit 1
    fi
    sync
    mv -f -- "$2.new" "$2" && sync
}

# A line for each container except the renamed ones, which will be removed.
started() {
    printf '%s\n' "$containers" | while read -r id name hash; do
        case $name in '' | "$(printf %.12s "$id")_"*) ;; *) printf '\ncontainer %s %s' "$id" "$hash" ;; esac
    done
}

main "$@"
