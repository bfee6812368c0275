# Forgets a release: what is kept of it, our names of its images, its history and its record. What it deployed stays.
# The record is the last that goes, so that one that is cut off can be done again.
# $1 release, then names of its images that go, too
main() {
    release=$1 base=$HOME/.o3r-deploy
    store=$base/store
    IFS='
'
    shift
    named="$*"
    rm -rf -- "$base/generations/$release" "$base/attempts/$release.jsonl" || exit
    [ ! -d "$store" ] || unneeded
    if command -v docker >/dev/null 2>&1 && held=$(held "$release"); then
        set -f
        for tag in $held; do
            if [ -n "$named" ] && ! is_used "$tag"; then names "$tag"; fi
            remove "$tag"
        done
        set +f
    fi
    rm -f -- "$base/releases/$release.taken" "$base/releases/$release.jsonl" || exit
    rm -rf -- "$base/watchdog/$release"
    sync
}

# Whether a container has the image $1; also where docker does not tell.
is_used() {
    ids=$(docker container ls -aq --filter "ancestor=$1" </dev/null 2>/dev/null) || return 0
    [ -n "$ids" ]
}

# Removes those of the names that the image $1 has and no kept release needs.
names() {
    names=$(docker image inspect --format '{{range .RepoTags}}{{println .}}{{end}}' -- "$1" </dev/null 2>/dev/null) || return 0
    kept=$(sed -n 's/^i [^ ]* [^ ]* //p' "$base"/generations/*/[0-9]* 2>/dev/null)
    for name in $names; do
        if has "$named" "$name" && ! has "$kept" "$name"; then remove "$name"; fi
    done
}

main "$@"
