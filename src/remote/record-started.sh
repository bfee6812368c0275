# Records what a project's containers were started from: the inputs on standard input, the boot
# and the containers themselves.
# $1 project  $2 record
main() {
    umask 077
    mkdir -p -- "${2%/*}" || exit
    {
        cat
        printf 'boot %s\n' "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
        ids=$(docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$1") || exit
        for id in $ids; do printf 'container %s\n' "$id"; done
    } >"$2.new" || exit
    sync
    mv -f -- "$2.new" "$2" && sync
}

main "$@"
