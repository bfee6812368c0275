# Appends the line on standard input to a release's attempts, of which the last ones stay.
# $1 release  $2 lines to keep  $3… projects whose kept files no rollback needs any more
main() {
    umask 077
    file=$HOME/.o3r-deploy/attempts/$1.jsonl lines=$2
    shift 2
    # First: the disk may be full.
    [ $# = 0 ] || forget_kept_of "$@"
    mkdir -p -- "${file%/*}" && cat >>"$file" || exit
    if [ "$(wc -l <"$file")" -gt "$((lines * 2))" ]; then
        tail -n "$lines" -- "$file" >"$file.new" && mv -f -- "$file.new" "$file"
    fi
}

forget_kept_of() {
    for project in "$@"; do
        set -- "$@" "$HOME/.o3r-deploy/previous/$project"
        shift
    done
    forget_kept "$@"
}

main "$@"
