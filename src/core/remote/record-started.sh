# Records what a project's containers were started from: the inputs on standard input, the boot id, the containers with
# docker-compose's config hash of each, and for how long services were down when they were replaced. Writes nothing if
# the record is the same: the disk may be full.
# $1 project  $2 record
main() {
    project=$1
    umask 077
    mkdir -p -- "${2%/*}" || exit
    inputs=$(cat) || exit
    containers=$(docker container ls -a --no-trunc --filter "label=com.docker.compose.project=$1" \
        --format '{{.ID}} {{.Names}} {{.Label "com.docker.compose.config-hash"}}') || exit
    [ -z "$inputs" ] || inputs="$inputs
"
    record=${inputs}boot\ $(cat /proc/sys/kernel/random/boot_id 2>/dev/null)$(started)$(down "$2" "${2%/started/*}/previous/$1/%started")
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

# A line `down SERVICE MILLISECONDS` for each service whose container replaced one that was stopped, by docker's events;
# for others, the line of the earlier records $1 and $2.
down() {
    events=$(docker events --since 1h --until 0s --filter type=container --filter event=kill --filter event=die \
        --filter event=create --filter event=start --filter event=destroy --format '{{.TimeNano}} {{.Action}} {{.ID}} {{index .Actor.Attributes "com.docker.compose.service"}}' \
        --filter "label=com.docker.compose.project=$project" </dev/null 2>/dev/null) || events=
    lines=$(
        printf '%s\n' "$containers" | while read -r id _; do
            printf '%s\n' "$events" | downtime "$id"
        done
        cat -- "$1" "$2" 2>/dev/null | grep '^down '
    )
    seen=' '
    printf '%s\n' "$lines" | while read -r _ service milliseconds; do
        case $seen in *" $service "*) continue ;; esac
        seen="$seen$service "
        [ -z "$service" ] || printf '\ndown %s %s' "$service" "$milliseconds"
    done
}

# Prints the line for the container $1, from the events on standard input: the time since the container before it got its
# first signal. A service that was stopped long before was not stopped by this apply, and a container that was
# removed before its successor was created was not replaced.
downtime() {
    [ -n "$1" ] || return 0
    service=$(printf '%s\n' "$events" | grep -m 1 " start $1 ")
    service=${service##* } since='' created=''
    [ -n "$service" ] || return 0
    while read -r at what id whose; do
        [ "$whose" = "$service" ] || continue
        if [ "$id" = "$1" ]; then
            [ "$what" != create ] || created=yes
            [ "$what" = start ] || continue
            [ -z "$since" ] || [ $((at - since)) -ge 300000000000 ] || echo "down $service $(((at - since) / 1000000))"
            return
        fi
        case $what in
            create) ;;
            start) since= ;;
            destroy) [ -n "$created" ] || since= ;;
            *) since=${since:-$at} ;;
        esac
    done
}

main "$@"
