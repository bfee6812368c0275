# Waits and checks that a project's containers stay up: running and not restarted meanwhile, or
# done with exit code 0 where their restart policy lets them be.
# $1 project  $2 seconds
main() {
    ids=$(docker container ls -a --no-trunc --format '{{.ID}} {{.Names}}' --filter "label=com.docker.compose.project=$1" |
        while read -r id name; do
            # One that was renamed is to be removed.
            case $name in "$(printf %.12s "$id")_"*) ;; *) printf '%s\n' "$id" ;; esac
        done) || exit
    [ -z "$ids" ] && { echo "project $1 has no container" >&2; exit 1; }
    first=$(sample) || exit
    sleep "$2"
    second=$(sample) || exit
    failed=$(printf '%s\n' "$second" | while read -r id count status code name policy; do
        case $first in
            *"$id $count "*) ;;
            *)
                # While it runs, docker says 0 of a run that ended otherwise.
                after=" after exit code $code"
                [ "$status" = running ] && after=
                echo "$id ${name#/} was restarted$after"
                continue ;;
        esac
        case $status:$code:$policy in
            running:*) ;;
            # Docker says nothing, too, where a service has no `restart`: therefore it is the last word.
            exited:0: | exited:0:no | exited:0:on-failure) ;;
            *) echo "$id ${name#/} is $status with exit code $code" ;;
        esac
    done)
    [ -z "$failed" ] && return
    printf '%s\n' "$failed" | while read -r id what; do
        echo "container $what; its last output:" >&2
        docker logs --tail 10 "$id" 2>&1 </dev/null | sed 's/^/  /' >&2
    done
    exit 1
}

sample() {
    # shellcheck disable=SC2086 # one word an id
    docker container inspect --format '{{.ID}} {{.RestartCount}} {{.State.Status}} {{.State.ExitCode}} {{.Name}} {{.HostConfig.RestartPolicy.Name}}' $ids
}

main "$@"
