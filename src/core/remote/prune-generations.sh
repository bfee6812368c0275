# Part of record-release: what is kept of earlier releases.

# Removes the oldest releases that are kept, with the contents and images that no other one needs; more of them while they
# hold too much or the disk is full. The deployed release, which was recorded before, stays.
# $1 release  $2 how many to keep beside the deployed one  $3 kilobytes to leave free
# $4 the most kilobytes that they may hold; empty for no limit
prune_generations() {
    release=$1 keep=$2 reserve=$3 limit=$4
    base=$HOME/.o3r-deploy
    all=$base/generations/$release store=$base/store
    [ -d "$all" ] || return 0
    IFS='
'
    deployed
    old=
    for one in $(others | tail -n "+$((keep + 1))"); do drop "$one"; done
    while [ -n "$limit" ] && one=$(others | tail -n 1) && [ -n "$one" ] && [ "$(held_alone)" -gt "$limit" ]; do
        no_longer_kept "earlier releases hold more than keep_size"
        drop "$one"
    done
    [ -z "$old" ] || unneeded
    while [ "$(free "$store")" -lt "$reserve" ]; do
        one=$(others | tail -n 1)
        [ -n "$one" ] || break
        no_longer_kept "the home directory has less than $((reserve / 1024)) MiB free"
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

# $1 why
no_longer_kept() {
    version=$(sed -n '1s/.*"version":"\([^"]*\)".*/\1/p' "$all/$one")
    echo "WARNING: release ${version:+$version }(#$one) is no longer kept for o3r-deploy rollback: $1" >&2
}

# Removes a generation, and adds its images to $old.
drop() {
    old="$old$(sed -n 's/^i [^ ]* //p' "$all/$1")$IFS"
    rm -f -- "$all/$1"
    [ "$1" != "$last" ] || last=
}

# Prints the kilobytes that only earlier releases hold: contents of files, and layers of images.
held_alone() {
    earlier=$(others) bytes=0 known=
    [ -z "$number" ] || known=$(ids "$number")
    set -f
    {
        for one in $earlier; do files "$one"; done | sort -u
        # Twice: what both have is not listed once.
        if [ -n "$number" ]; then files "$number" | sort -u | sed p; fi
    } | sort | uniq -u | {
        while IFS=' ' read -r _ size; do bytes=$((bytes + size)); done
        for one in $earlier; do
            for id in $(ids "$one"); do
                if has "$known" "$id"; then continue; fi
                bytes=$((bytes + $(bytes_alone "$id" "$known")))
                known=$known$IFS$id
            done
        done
        echo $((bytes / 1024))
    }
}

# Prints the files of the generation $1: sha256 and size.
files() {
    sed -n 's/^[fs] \([0-9a-f]*\) [0-9]* \([0-9]*\) .*/\1 \2/p' "$all/$1"
}

# Prints the IDs of its images.
ids() {
    sed -n 's/^i \([^ ]*\) .*/\1/p' "$all/$1"
}

# Prints the bytes of the image $1 without those that it shares with one of the images $2. Docker tells the size of a
# layer only in the history: there, the first steps of two images whose first layers are the same are the same.
bytes_alone() {
    bytes=$(docker image inspect --format '{{.Size}}' -- "$1" </dev/null 2>/dev/null) || { echo 0; return; }
    layers=$(layers "$1") steps=$(steps "$1") most=0
    for other in $2; do
        count=$(begin "$layers" "$(layers "$other")" | grep -c .)
        shared=$(begin "$steps" "$(steps "$other")" | added_up "$count")
        [ "$shared" -le "$most" ] || most=$shared
    done
    echo $((bytes - most))
}

# Prints the layers of the image $1, the lowest first.
layers() {
    docker image inspect --format '{{range .RootFS.Layers}}{{println .}}{{end}}' -- "$1" </dev/null 2>/dev/null
}

# Prints the history of the image $1, the oldest step first: size, time, command.
steps() {
    docker history --no-trunc --human=false --format '{{.Size}} {{.CreatedAt}} {{json .CreatedBy}}' -- "$1" </dev/null 2>/dev/null |
        sed '1!G;h;$!d'
}

# Prints the lines with which both $1 and $2 begin.
begin() {
    rest=$2$IFS
    for line in $1; do
        case $rest in "$line$IFS"*) rest=${rest#"$line$IFS"} ;; *) return 0 ;; esac
        printf '%s\n' "$line"
    done
}

# Adds up the sizes of the steps on standard input, of at most $1 that are not empty.
added_up() {
    count=$1 sum=0
    while IFS=' ' read -r size _; do
        case $size in '' | 0 | *[!0-9]*) continue ;; esac
        [ "$count" -gt 0 ] || continue
        count=$((count - 1)) sum=$((sum + size))
    done
    echo "$sum"
}

# Removes contents that no generation of any release has: those that are listed once, as files of the store.
unneeded() {
    ls -- "$store" >"$store/new" || return
    needed() { sed -n 's/^[fs] \([0-9a-f]*\) .*/\1/p' "$base"/generations/*/[0-9]* 2>/dev/null; }
    { cat -- "$store/new"; needed | sort -u | sed p; } | sort | uniq -u >"$store/old"
    while IFS= read -r name; do
        rm -f -- "$store/$name"
    done <"$store/old"
    rm -f -- "$store/new" "$store/old"
}

# Removes the names of images that no generation has: those that the manifest gave, where they still are that image's, and
# our own.
images() {
    kept=$(sed -n 's/^i [^ ]* //p' "$base"/generations/*/[0-9]* 2>/dev/null)
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

