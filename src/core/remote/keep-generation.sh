# Keeps a release so that one can return to it: the text on standard input (generation.rs describes it), the contents of
# its files in the store, under their sha256, and its images under names of our own. Then removes the oldest releases,
# with the contents and images that no other one needs; all others if the disk would be full with them.
# Succeeds in any case, because the release itself is good; it says what is not kept.
# $1 release  $2 how many to keep beside this one  $3 kilobytes to leave free  $4 bytes from which a file is linked
main() {
    umask 077
    release=$1 keep=$2 reserve=$3 large=$4
    base=$HOME/.o3r-deploy
    all=$base/generations/$release store=$base/store new=$base/generations/$release/new
    # What a keep that was cut off left.
    rm -f -- "$new" "$store/new"
    { mkdir -p -- "$all" "$store" && cat >"$new"; } || not_kept "$all cannot be written"
    list=$(cat -- "$new")
    set -f
    IFS='
'
    contents
    [ -z "$copied" ] || sync
    number
    mv -f -- "$new" "$all/$number" || not_kept "$all cannot be written"
    if command -v docker >/dev/null 2>&1 && held=$(held); then images; fi
    prune
    return 0
}

not_kept() {
    cat >/dev/null 2>&1
    rm -f -- "$new" "$store/new"
    echo "WARNING: this release is not kept for o3r-deploy rollback: $1" >&2
    exit 0
}

# Stores the contents that the store lacks: small files as copies, which a program that changes its file does not
# change; large ones as links, which take no space.
contents() {
    copied='' room=
    for line in $list; do
        kind=${line%% *} rest=${line#* }
        case $kind in
            t | p) at=$rest; continue ;;
            f | s) ;;
            *) continue ;;
        esac
        sha256=${rest%% *} rest=${rest#* }
        rest=${rest#* } # the mode
        bytes=${rest%% *} name=${rest#* }
        path=$at${name:+/$name} to=$store/$sha256
        # shellcheck disable=SC3013 # dash and busybox have -ef
        if [ "$bytes" -ge "$large" ]; then
            [ "$path" -ef "$to" ] && continue
            # A link to another file than the one that was just applied: somebody changed that one in place.
            if ln -- "$path" "$store/new" 2>/dev/null; then
                mv -f -- "$store/new" "$to" || not_kept "$to cannot be written"
                continue
            fi
        fi
        [ ! -e "$to" ] || continue
        [ -n "$room" ] || room=$(free)
        room=$((room - bytes / 1024 - 4))
        [ "$room" -ge "$reserve" ] || not_kept "$path would leave less than $((reserve / 1024)) MiB free"
        { cp -- "$path" "$store/new" && mv -f -- "$store/new" "$to"; } || not_kept "$path cannot be copied to $store"
        copied=yes
    done
}

# Prints the free kilobytes where the store is; a large number if that is unknown.
free() {
    free=$(df -Pk -- "$store" 2>/dev/null | { read -r _; IFS=' ' read -r _ _ _ free _; echo "$free"; })
    case $free in '' | *[!0-9]*) free=1000000000 ;; esac
    echo "$free"
}

# Sets number: that of the generation with the same text, or one above the last; and last, the number of the release that
# was deployed before, if that is another one.
number() {
    number=1 same='' last=''
    was=$(tail -n 1 -- "$base/releases/$release.jsonl" 2>/dev/null | sed -n 's/.*"desired":"\([^"]*\)".*/\1/p')
    set +f
    for file in "$all"/[0-9]*; do
        [ -f "$file" ] || continue
        [ "${file##*/}" -lt "$number" ] || number=$((${file##*/} + 1))
        if cmp -s -- "$file" "$new"; then
            same=${file##*/}
        elif [ -n "$was" ] && head -n 1 -- "$file" | grep -qF "\"desired\":\"$was\""; then
            last=${file##*/}
        fi
    done
    set -f
    number=${same:-$number}
}

# Prints the names of our own that images of this release have.
held() {
    docker image ls --format '{{.Repository}}:{{.Tag}}' "o3r-deploy/$release" </dev/null 2>/dev/null
}

# Gives each image of the release a name of our own, so that it outlives the name that the manifest gives it.
images() {
    for line in $list; do
        case $line in "i "*) ;; *) continue ;; esac
        rest=${line#i * } tag=${rest%% *} name=${rest#* }
        has "$held" "$tag" || docker image tag "$name" "$tag" </dev/null ||
            echo "WARNING: image $name is not kept for o3r-deploy rollback" >&2
    done
}

# Whether the lines $1 have the line $2.
has() {
    case "
$1
" in
        *"
$2
"*) ;;
        *) return 1 ;;
    esac
}

# Prints the numbers of all other generations: the one that was deployed before, then the newest first.
others() {
    [ -z "$last" ] || echo "$last"
    for file in "$all"/[0-9]*; do echo "${file##*/}"; done | grep -vxF -e "$number" -e "${last:-0}" | sort -rn
}

# Removes the oldest generations of this release, and more of them while the disk is full: what they hold may be large.
prune() {
    set +f
    old=
    for one in $(others | tail -n "+$((keep + 1))"); do drop "$one"; done
    [ -z "$old" ] || unneeded
    while [ "$(free)" -lt "$reserve" ]; do
        one=$(others | tail -n 1)
        [ -n "$one" ] || break
        drop "$one"
        unneeded
    done
    kept=$(sed -n 's/^i [^ ]* //p' "$base"/generations/*/[0-9]*)
    set -f
    # The name that the manifest gave an image, if it still is that image's.
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

# Removes a generation, and adds its images to $old.
drop() {
    old="$old$(sed -n 's/^i [^ ]* //p' "$all/$1")$IFS"
    rm -f -- "$all/$1"
    [ "$1" != "$last" ] || last=
}

is_same() {
    ids=$(docker image inspect --format '{{.Id}}' -- "$1" "$2" </dev/null 2>/dev/null) || return
    [ "${ids%%"$IFS"*}" = "${ids#*"$IFS"}" ]
}

# Removes a name, and its image with the last name unless a container uses it.
remove() {
    docker image rm -- "$1" </dev/null >/dev/null 2>&1 || :
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

main "$@"
