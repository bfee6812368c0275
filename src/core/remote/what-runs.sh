# Shows the containers of projects, for people: name, image and state. By inspect, because docker's list is not always up to
# date: after its disk was full, docker 20.10 lists a container as up that has ended.
# $1… projects
for project; do
    docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.oneoff=False" || exit
done | while read -r id; do
    docker container inspect --format '{{.Name}}  {{.Config.Image}}  {{.State.Status}}{{if .State.Health}}, {{.State.Health.Status}}{{end -}}
        {{if eq .State.Status "exited"}} with exit code {{.State.ExitCode}}{{end}}{{if .State.Error}}: {{.State.Error}}{{end}}' \
        "$id" </dev/null 2>/dev/null | sed 's|^/||'
done
# An empty list is an answer, too.
docker container ls -q >/dev/null </dev/null
