# Records what a project's containers were started from: the inputs on standard input, the boot
# and the containers themselves, with docker-compose's hash of each.
# $1 project  $2 record
main() {
    umask 077
    mkdir -p -- "${2%/*}" || exit
    {
        cat
        printf 'boot %s\n' "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
        containers=$(docker container ls -a --no-trunc --filter "label=com.docker.compose.project=$1" \
            --format '{{.ID}} {{.Names}} {{.Label "com.docker.compose.config-hash"}}') || exit
        printf '%s\n' "$containers" | while read -r id name hash; do
            # One that stepped aside is to go.
            case $name in '' | "$(printf %.12s "$id")_"*) ;; *) printf 'container %s %s\n' "$id" "$hash" ;; esac
        done
    } >"$2.new" || exit
    sync
    mv -f -- "$2.new" "$2" && sync
}

main "$@"
