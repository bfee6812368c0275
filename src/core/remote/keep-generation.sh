# Keeps a release so that one can return to it: the text on standard input (generation.rs describes it), the contents of
# its files in the store, under their sha256, and its images under names of our own.
# Succeeds in any case, because the release itself is good; it says what is not kept.
# $1 release  $2 kilobytes to leave free  $3 bytes from which a file is linked
main() {
    umask 077
    release=$1 reserve=$2 large=$3
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
    set +f
    number
    mv -f -- "$new" "$all/$number" || not_kept "$all cannot be written"
    if command -v docker >/dev/null 2>&1 && held=$(held "$release"); then images; fi
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
        [ -n "$room" ] || room=$(free "$store")
        room=$((room - bytes / 1024 - 4))
        [ "$room" -ge "$reserve" ] || not_kept "the home directory has $(($(free "$store") / 1024)) MiB free, and $((reserve / 1024)) MiB stay free"
        { cp -- "$path" "$store/new" && mv -f -- "$store/new" "$to"; } || not_kept "$path cannot be copied to $store"
        copied=yes
    done
}

# Sets number: that of the generation that declares the same and has the same images and files, or one above the last.
number() {
    number=1 wanted=$(declared "$new")
    for file in "$all"/[0-9]*; do
        [ -f "$file" ] || continue
        if [ "$(declared "$file")" = "$wanted" ]; then
            number=${file##*/}
            return
        fi
        [ "${file##*/}" -lt "$number" ] || number=$((${file##*/} + 1))
    done
}

# Prints what a generation declares: without what is not part of the release, such as how many are kept.
declared() {
    sed '1s/.*\("desired":"[^"]*"\).*/\1/' -- "$1"
}

# Gives each image of the release a name of our own, so that it outlives the name that the manifest gives it.
images() {
    set -f
    for line in $list; do
        case $line in "i "*) ;; *) continue ;; esac
        rest=${line#i * } tag=${rest%% *} name=${rest#* }
        has "$held" "$tag" || docker image tag "$name" "$tag" </dev/null ||
            echo "WARNING: image $name is not kept for o3r-deploy rollback" >&2
    done
}

main "$@"
