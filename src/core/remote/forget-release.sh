# Forgets a release: what is kept of it, our names of its images, its history and its record. What it deployed stays.
# The record is the last that goes, so that one that is cut off can be done again.
# $1 release, then names of its images that go, too, if one of its kept releases brought them: others gave its images names, too
main() {
    release=$1 base=$HOME/.o3r-deploy
    store=$base/store
    IFS='
'
    shift
    named="$*" own=$(brought "$base/generations/$release")
    if command -v docker >/dev/null 2>&1 && held=$(held "$release"); then
        set -f
        for tag in $held; do
            if [ -n "$named" ] && ! is_used "$tag"; then names "$tag"; fi
            remove "$tag"
        done
        set +f
    fi
    rm -rf -- "$base/generations/$release" "$base/attempts/$release.jsonl" || exit
    [ ! -d "$store" ] || unneeded
    rm -f -- "$base/releases/$release.taken" "$base/releases/$release.jsonl" || exit
    rm -rf -- "$base/watchdog/$release"
    sync
}

# Whether a container has the image $1; also where docker does not tell.
is_used() {
    ids=$(docker container ls -aq --filter "ancestor=$1" </dev/null 2>/dev/null) || return 0
    [ -n "$ids" ]
}

# Prints the names of the images of the kept releases in the directory $1.
brought() {
    sed -n 's/^i [^ ]* [^ ]* //p' "$1"/[0-9]* 2>/dev/null
}

# Removes those of the names that the image $1 has and no kept release of another name needs.
names() {
    names=$(docker image inspect --format '{{range .RepoTags}}{{println .}}{{end}}' -- "$1" </dev/null 2>/dev/null) || return 0
    kept=$(set +f; for other in "$base"/generations/*; do [ "${other##*/}" = "$release" ] || brought "$other"; done)
    for name in $names; do
        if has "$named" "$name" && has "$own" "$name" && ! has "$kept" "$name"; then remove "$name"; fi
    done
}

main "$@"
