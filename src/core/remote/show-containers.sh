# Shows a project's containers, for people: name, state and the last line that each printed.
# $1 project
docker container ls -a --no-trunc --filter "label=com.docker.compose.project=$1" \
    --filter "label=com.docker.compose.oneoff=False" --format '{{.ID}} {{.Names}}: {{.Status}}' |
    while read -r id state; do
        last=$(docker logs --tail 1 "$id" 2>&1 </dev/null)
        printf '%s%s\n' "$state" "${last:+ | $last}"
    done
