# Prints what the VPU knows of releases. Read-only.
# $1 a word that begins each line that counts, as a login shell may print lines, too
#   WORD generation RELEASE NUMBER JSON   the first line of a release that is kept
#   WORD recorded RELEASE JSON            an apply that succeeded
#   WORD attempt RELEASE JSON             the beginning or the end of an apply
# $2 how many lines of each file
base=$HOME/.o3r-deploy
for file in "$base"/generations/*/[0-9]*; do
    [ -f "$file" ] || continue
    release=${file%/*}
    head -n 1 -- "$file" | sed "s/^/$1 generation ${release##*/} ${file##*/} /"
done
for kind in releases attempts; do
    case $kind in releases) what=recorded ;; *) what=attempt ;; esac
    for file in "$base/$kind"/*.jsonl; do
        [ -f "$file" ] || continue
        release=${file##*/}
        tail -n "$2" -- "$file" | sed "s/^/$1 $what ${release%.jsonl} /"
    done
done
exit 0
