# Forgets a release: what is kept of it, our names of its images, its history and its record. What it deployed stays.
# The record is the last that goes, so that one that is cut off can be done again. $1 release
main() {
    release=$1 base=$HOME/.o3r-deploy
    store=$base/store
    IFS='
'
    rm -rf -- "$base/generations/$release" "$base/attempts/$release.jsonl" || exit
    [ ! -d "$store" ] || unneeded
    if command -v docker >/dev/null 2>&1 && held=$(held "$release"); then
        set -f
        for tag in $held; do remove "$tag"; done
    fi
    rm -f -- "$base/releases/$release.taken" "$base/releases/$release.jsonl" || exit
    rm -rf -- "$base/watchdog/$release"
    sync
}

main "$@"
