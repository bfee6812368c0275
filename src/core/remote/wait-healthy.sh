# Waits until a project's containers are healthy: each has run for the settle time without a restart, and has passed a
# health check since its start where it has one, or has ended with exit code 0 where its restart policy lets it. Then a
# text has to be in a log, and a command has to succeed. Fails at once where waiting cannot help.
# $1 project  $2 longest time in seconds; auto: 60, or more where the health checks or the settle time need more
# $3 settle time in seconds  $4 probes, or ignore: whether docker's health checks count
# $5 text that a log has to contain since the start of its container; empty for none
# $6 service in whose container the command runs; empty for the VPU  $7… the command, if any
main() {
    project=$1 limit=$2 settle=$3 probes=$4 text=$5 service=$6
    shift 6
    date=$(date +%s)
    now
    began=$now
    ids=$(containers) || exit
    [ -n "$ids" ] || { echo "project $project has no container" >&2; exit 1; }
    first=$(sample) || exit
    [ "$limit" != auto ] || limit=$(enough) || exit
    current=$first runs_since='' runs='' seen='' found='' restarted=''
    [ -n "$text" ] || found=yes
    while :; do
        said=''
        now
        judge
        [ -z "$failed" ] || give_up "$failed"
        if [ -n "$waiting" ] || [ "$runs" != "$starts" ]; then runs_since=''; fi
        runs=$starts
        if [ -z "$waiting" ]; then
            [ -n "$runs_since" ] || runs_since=$now
            if [ $((now - runs_since)) -lt "${settle}00" ]; then
                waiting="- no container was restarted, but they have not run for the settle time of $settle s"
            elif ! contains; then
                waiting="- no log of its containers contains: $text"
            elif [ $# -gt 0 ] && ! succeeds "$@"; then
                waiting="- health command $(words "$@"): $ended"
            else
                break
            fi
        fi
        now
        if [ $((now - began)) -ge "${limit}00" ]; then
            echo "project $project is not healthy after $limit s" >&2
            give_up "$waiting"
        fi
        sleep 1
        current=$(sample) || exit
    done
    [ -z "$restarted" ] || printf '%s' "$restarted" >&2
}

# The time since boot, in hundredths of a second: the clock may jump.
now() {
    read -r now _ </proc/uptime
    now=${now%.*}${now#*.}
}

containers() {
    docker container ls -a --no-trunc --format '{{.ID}} {{.Names}}' --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.oneoff=False" |
        while read -r id name; do
            # One that was renamed is to be removed.
            case $name in "$(printf %.12s "$id")_"*) ;; *) printf '%s\n' "$id" ;; esac
        done
}

# A line for each container. The last word has `fresh` where a health check began since the start, and the times of
# all: one that comes while we look is fresh, too, where the clock was set back.
sample() {
    # shellcheck disable=SC2086,SC2016 # one word an id; docker's variable
    docker container inspect --format '{{$start := .State.StartedAt}}{{.ID}} {{.RestartCount}} {{$start}} {{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{or .HostConfig.RestartPolicy.Name "no"}} {{.Name}} {{if .State.Health}}{{.State.Health.Status}} /{{range .State.Health.Log}}{{.Start.UnixNano}}/{{if ge (.Start.UTC.Format "2006-01-02T15:04:05.999999999Z07:00") $start}}fresh/{{end}}{{end}}{{else}}none /{{end}}' $ids
}

# Sets $failed to what waiting does not help, $waiting to what is to come (each a line of an id and words), and $starts
# to which runs these are.
judge() {
    failed='' waiting='' starts=''
    while read -r id count start status code oom policy name health checks; do
        starts="$starts$id $count $start
"
        is_fresh
        rest=${first#*"$id "}
        restarts=$((count - ${rest%% *}))
        rest=${rest#* }
        [ "$restarts" != 0 ] || [ "${rest%% *}" = "$start" ] || restarts=1
        why=$code
        # While it runs, docker says 0 of a run that ended otherwise.
        [ "$restarts" = 0 ] || [ "$status" != running ] || why=$(last_exit)
        [ "$oom" != true ] || why="$why, out of memory"
        case $status:$code:$policy in
            running:* | restarting:*)
                if [ "$restarts" -gt 1 ]; then
                    fails "was restarted $restarts times in $(((now - began) / 100)) s, last after exit code $why"
                elif [ "$restarts" = 1 ] && [ "${why%%,*}" = 137 ]; then
                    fails "was killed, as the kernel does when memory runs out, and restarted after exit code $why"
                elif [ "$status" = restarting ]; then
                    waits "restarts after exit code $why"
                else
                    [ "$restarts" = 0 ] || restarted="WARNING: container ${name#/} was restarted once, after exit code $why
"
                    [ "$probes" = ignore ] || probed
                fi ;;
            # Docker says nothing, too, where a service has no `restart`.
            exited:0:no | exited:0:on-failure) ;;
            exited:*) fails "exited with code $why" ;;
            *) fails "is $status" ;;
        esac
    done <<LINES
$current
LINES
}

fails() {
    failed="$failed$id ${name#/} $1
"
}

waits() {
    waiting="$waiting$id ${name#/} $1
"
}

# Whether docker's word on the container's health is of this run of it.
is_fresh() {
    fresh=''
    case $checks in *fresh*) fresh=yes; return ;; esac
    case $seen in
        *"$id $start $checks
"*) ;;
        *) seen="$seen$id $start $checks
" ;;
    esac
    case $seen in
        *"$id $start "*"$id $start "*) fresh=yes ;;
    esac
}

probed() {
    case $health:$fresh in
        none:* | healthy:yes) ;;
        unhealthy:yes) fails "is unhealthy" ;;
        *) waits "is starting: no health check has passed since its start" ;;
    esac
}

# The exit code of the last run that ended, as far as docker remembers.
last_exit() {
    codes=$(docker events --since "$date" --until 0s --filter "container=$id" --filter event=die --format '{{.Actor.Attributes.exitCode}}' 2>/dev/null </dev/null)
    codes=${codes##*
}
    printf '%s' "${codes:-unknown}"
}

# The time that docker may need to call a container unhealthy; where a health check leaves something out, docker's
# defaults count: 30 s, 30 s, 3 times.
enough() {
    # shellcheck disable=SC2086 # one word an id
    docker container inspect --format '{{if .State.Health}}{{with .Config.Healthcheck}}{{printf "%d %d %d %d" .StartPeriod .Interval .Timeout .Retries}}{{end}}{{end}}' $ids | {
        most=$((settle + 55))
        [ "$most" -ge 60 ] || most=60
        while read -r start interval timeout retries; do
            [ -n "$start" ] || continue
            [ "$interval" != 0 ] || interval=30000000000
            [ "$timeout" != 0 ] || timeout=30000000000
            [ "$retries" != 0 ] || retries=3
            needs=$(((start + retries * (interval + timeout)) / 1000000000 + settle + 5))
            [ "$needs" -le "$most" ] || most=$needs
        done
        echo "$most"
    }
}

# Whether the text is in a log of the present runs.
contains() {
    [ -z "$found" ] || return 0
    while read -r id _ start status _; do
        if log_of_run | grep -qF -e "$text"; then
            found=yes
            return 0
        fi
    done <<LINES
$current
LINES
    return 1
}

# Prints what the container has logged in its last run. Docker notes the start after the process has begun, so that the
# first lines are up to some milliseconds older: the end of the run before counts, and of a run that ended, a second more.
log_of_run() {
    before=''
    if [ "$status" = running ]; then
        before=$(docker container inspect --format '{{.State.FinishedAt}}' "$id" 2>/dev/null </dev/null)
    elif second=$(date -u -d "$(printf %.19s "$start" | tr T ' ')" +%s 2>/dev/null); then
        start=$((second - 1))
    fi
    case $before in
        '') docker logs --since "$start" "$id" ;;
        # It has not ended before.
        0001-*) docker logs "$id" ;;
        *) docker logs --since "$before" "$id" ;;
    esac 2>&1 </dev/null
}

# Whether the command succeeds; $ended and $said tell how it ended.
succeeds() {
    said='' left=$((limit - (now - began) / 100))
    [ "$left" -gt 0 ] || left=1
    if [ -n "$service" ]; then
        of=$(docker container ls -q --no-trunc --filter "label=com.docker.compose.project=$project" \
            --filter "label=com.docker.compose.oneoff=False" --filter "label=com.docker.compose.service=$service") || exit
        of=${of%%
*}
        [ -n "$of" ] || { ended="no container of service $service runs"; return 1; }
        set -- docker exec "$of" "$@"
    fi
    # A file: what the command leaves running may keep a pipe open.
    if place; then
        "$@" </dev/null >&7 2>&1 7>&- 8<&- &
    else
        "$@" </dev/null >/dev/null 2>&1 &
    fi
    command=$!
    {
        trap 'kill "$sleeping"; exit' TERM
        sleep "$left" &
        sleeping=$!
        wait "$sleeping"
        kill "$command"
        sleep 2
        kill -9 "$command"
    } </dev/null >/dev/null 2>&1 7>&- 8<&- &
    clock=$!
    { wait "$command"; } 2>/dev/null
    code=$?
    kill "$clock" 2>/dev/null
    { said=$(tail -n 20 <&8); } 2>/dev/null
    case $code in
        0) return 0 ;;
        143 | 137) ended="did not end within $left s" ;;
        *) ended="exit code $code" ;;
    esac
    return 1
}

# The words of a command on one line, 80 bytes of them at most.
words() {
    shown=$(printf '%s' "$*" | tr '\n' ' ')
    [ ${#shown} -le 80 ] || shown=$(printf %.77s "$shown")...
    printf '%s' "$shown"
}

# Opens an empty file, for writing as 7, for reading as 8.
place() {
    umask 077
    for directory in /dev/shm "${TMPDIR:-/tmp}" "$HOME/.o3r-deploy"; do
        [ -w "$directory" ] || continue
        file=$(mktemp "$directory/o3r-XXXXXX" 2>/dev/null) || continue
        # shellcheck disable=SC2094 # read when the command has ended
        exec 7>"$file" 8<"$file"
        rm -f -- "$file"
        return 0
    done
    return 1
}

# Says what is wrong, and what the containers said last.
# $1 lines of an id (or -, where it is none of a container) and words
give_up() {
    printf '%s\n' "$1" | while read -r id what; do
        case $id in
            '') ;;
            -)
                echo "$what" >&2
                [ -z "$said" ] || printf '%s\n' "$said" | sed 's/^/  /' >&2
                ;;
            *)
                echo "container $what" >&2
                case $what in *' is unhealthy' | *'health check'*) last_check "$id" >&2 ;; esac
                output "$id" "${what%% *}" >&2
                ;;
        esac
    done
    [ -n "$found" ] || printf '%s\n' "$current" | while read -r id _ _ _ _ _ _ name _; do output "$id" "${name#/}" >&2; done
    exit 1
}

# $1 id
last_check() {
    # shellcheck disable=SC2016 # sed's
    docker container inspect --format '{{if .State.Health}}{{range .State.Health.Log}}{{.ExitCode}} {{json .Output}}{{println}}{{end}}{{end}}' "$1" 2>/dev/null </dev/null |
        sed -n '/./h;${x;s/^\([0-9-]*\) /  its last health check ended with exit code \1: /p;}'
}

# The last lines that a container printed.
# $1 id  $2 name
output() {
    lines=$(docker logs --tail 20 "$1" 2>&1 </dev/null | sed 's/^/  /')
    if [ -n "$lines" ]; then
        printf 'last output of %s:\n%s\n' "$2" "$lines"
    else
        echo "$2 printed nothing"
    fi
}

main "$@"
