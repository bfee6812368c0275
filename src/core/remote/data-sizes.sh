# Prints what is in directories and in docker's own volumes. Read-only. linked.sh comes first.
# $1 a word before each line, as a login shell may print lines, too
# Standard input: paths of directories, and names of volumes
# Output: WORD KIBIBYTES empty|whole|part PATH; part if not all of it can be read; WORD SIZE volume NAME, as docker writes
# a size
volumes=
while IFS= read -r dir; do
    case $dir in
        /*) ;;
        *)
            volumes="$volumes $dir "
            continue
            ;;
    esac
    [ -d "$dir" ] || continue
    if [ -h "$dir" ] || linked "$dir"; then continue; fi
    # Only what this user made and can remove.
    # shellcheck disable=SC3067 # dash and busybox have -O
    [ -O "$dir" ] || continue
    [ -w "${dir%/*}/" ] || continue
    kind=whole
    size=$(du -sk -- "$dir" 2>/dev/null) || kind=part
    size=${size%%[!0-9]*}
    if found=$(ls -A -- "$dir" 2>/dev/null); then
        [ -n "$found" ] || kind=empty
    else
        kind=part
    fi
    printf '%s %s %s %s\n' "$1" "${size:-0}" "$kind" "$dir"
done
[ -n "$volumes" ] || exit 0
# Docker adds up the sizes of all images and containers for it, too.
timeout 60 docker system df -v --format '{{range .Volumes}}{{println .Name .Size}}{{end}}' </dev/null 2>/dev/null |
    while read -r name size; do
        case $volumes in
            *" $name "*) printf '%s %s volume %s\n' "$1" "$size" "$name" ;;
        esac
    done
exit 0
