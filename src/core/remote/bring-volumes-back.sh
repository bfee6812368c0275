# Attaches the anonymous volumes of a removed container to a stand-in, and removes the newer containers of the same
# service and number. Does nothing if the container still exists.
# $1 id of the removed container  $2 project  $3 service  $4 number  $5 directory of the project  $6 image  $7… its volumes, each as NAME DESTINATION
main() {
    old=$1 project=$2 service=$3 number=$4 directory=$5 image=$6
    shift 6
    ids=$(docker container ls -aq --no-trunc --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.oneoff=False" --filter "label=com.docker.compose.service=$service" \
        --filter "label=com.docker.compose.container-number=$number") || exit
    case " $(printf '%s' "$ids" | tr '\n' ' ') " in *" $old "*) return ;; esac
    there=$(docker volume ls -q) || exit
    volumes=$(for volume; do
        if printf '%s\n' "$there" | grep -qxF -e "${volume%% *}"; then
            printf '%s\n' "$volume"
        else
            echo "WARNING: volume ${volume%% *} no longer exists, and ${volume#* } gets a new one" >&2
        fi
    done)
    [ -n "$volumes" ] || return 0
    # docker-compose fails on a container without the label of its version.
    version=$(docker-compose version --short </dev/null) || exit
    label=com.docker.compose
    labels="$label.project=$project
$label.service=$service
$label.container-number=$number
$label.oneoff=False
$label.version=$version
$label.project.working_dir=$directory
$label.project.config_files=docker-compose.yml"
    stand_in "$image" "$labels" "$volumes" "$(printf %.12s "$old")" || exit
    for id in $ids; do docker container rm --force "$id" >/dev/null </dev/null || exit; done
}

main "$@"
