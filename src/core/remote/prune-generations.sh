# Part of record-release: what is kept of earlier releases.

# Removes the oldest releases that are kept, with the contents and images that no other one needs; more of them while the
# disk is full, because what they hold may be large. The deployed release, which was recorded before, stays.
# $1 release  $2 how many to keep beside the deployed one  $3 kilobytes to leave free
prune_generations() {
    release=$1 keep=$2 reserve=$3
    base=$HOME/.o3r-deploy
    all=$base/generations/$release store=$base/store
    [ -d "$all" ] || return 0
    IFS='
'
    deployed
    old=
    for one in $(others | tail -n "+$((keep + 1))"); do drop "$one"; done
    [ -z "$old" ] || unneeded
    while [ "$(free "$store")" -lt "$reserve" ]; do
        one=$(others | tail -n 1)
        [ -n "$one" ] || break
        drop "$one"
        unneeded
    done
    if command -v docker >/dev/null 2>&1 && held=$(held "$release"); then images; fi
    return 0
}

# Sets number, that of the deployed release, and last, that of the one which was deployed before; empty where it is not
# kept.
deployed() {
    set -- "$(sed -n 's/.*"desired":"\([^"]*\)".*/\1/p' "$base/releases/$release.jsonl" 2>/dev/null | uniq | tail -n 2)"
    number=$(number "${1##*"$IFS"}") last=$(number "${1%%"$IFS"*}")
    [ "$last" != "$number" ] || last=
}

# Prints the number of the newest generation with the digest $1.
number() {
    [ -n "$1" ] || return
    for one in $(numbers); do
        if head -n 1 -- "$all/$one" | grep -qF "\"desired\":\"$1\""; then
            echo "$one"
            return
        fi
    done
}

# Prints all numbers, the newest first.
numbers() {
    for file in "$all"/[0-9]*; do
        [ ! -f "$file" ] || echo "${file##*/}"
    done | sort -rn
}

# Prints the numbers of all but the deployed one: the one that was deployed before it, then the newest first.
others() {
    [ -z "$last" ] || echo "$last"
    numbers | grep -vxF -e "${number:-0}" -e "${last:-0}"
}

# Removes a generation, and adds its images to $old.
drop() {
    old="$old$(sed -n 's/^i [^ ]* //p' "$all/$1")$IFS"
    rm -f -- "$all/$1"
    [ "$1" != "$last" ] || last=
}

# Removes contents that no generation of any release has: those that are listed once, as files of the store.
unneeded() {
    ls -- "$store" >"$store/new" || return
    needed() { sed -n 's/^[fs] \([0-9a-f]*\) .*/\1/p' "$base"/generations/*/[0-9]*; }
    { cat -- "$store/new"; needed | sort -u | sed p; } | sort | uniq -u >"$store/old"
    while IFS= read -r name; do
        rm -f -- "$store/$name"
    done <"$store/old"
    rm -f -- "$store/new" "$store/old"
}

# Removes the names of images that no generation has: those that the manifest gave, where they still are that image's, and
# our own.
images() {
    kept=$(sed -n 's/^i [^ ]* //p' "$base"/generations/*/[0-9]*)
    set -f
    for line in $old; do
        tag=${line%% *} name=${line#* }
        if has "$kept" "$line"; then continue; fi
        case "$kept$IFS" in *" $name$IFS"*) continue ;; esac
        if is_same "$tag" "$name"; then remove "$name"; fi
    done
    for tag in $held; do
        case "$IFS$kept" in *"$IFS$tag "*) ;; *) remove "$tag" ;; esac
    done
}

is_same() {
    ids=$(docker image inspect --format '{{.Id}}' -- "$1" "$2" </dev/null 2>/dev/null) || return
    [ "${ids%%"$IFS"*}" = "${ids#*"$IFS"}" ]
}

# Removes a name, and its image with the last name unless a container uses it.
remove() {
    docker image rm -- "$1" </dev/null >/dev/null 2>&1 || :
}

