# Moves staged files to their target, or takes that back, as the list on standard input says.
# $1 target  $2 what is staged for it  $3 where what it replaces is kept
# $4 a file that is there from the first move on until the release is recorded, or all was taken back
# $5 do, undo, or undo-some: what an earlier apply moved stays, and so does that file
# $6… records of what was started from the old files, taken away before the first new one is in place
# The list has one line for each step; PATH is below the target, or empty for the target itself:
#   k PATH       keep a file that is about to be replaced: a second link, so that the name is never empty
#   x PATH       take away what goes, to where it is kept
#   d MODE PATH  make a directory
#   m PATH       move a staged file, link or whole directory in place
#   c MODE PATH  change permissions
#   r PATH       remove what was new
#   b PATH       bring back what was kept
# Each may run twice. Lines of one kind and directory that follow each other are one command.
main() {
    target=$1 new=$2 old=$3 marker=$4 how=$5
    shift 5
    umask 022
    case $target in /*/*) mkdir -p -- "${target%/*}" || exit ;; esac
    failed=
    if [ "$how" = "do" ]; then
        (umask 077 && mkdir -p -- "${marker%/*}" && : >"$marker") || exit
        { sync -- "$marker" 2>/dev/null || sync; } || exit
        for record; do
            [ ! -e "$record" ] || mv -f -- "$record" "$marker.${record##*/}" || exit
        done
    fi
    # One a line, as IFS will be.
    records=$(for record; do printf '%s\n' "$record"; done)
    # Not by `read`, which takes a system call for each byte.
    list=$(cat)
    set -f
    IFS='
'
    group=
    set --
    for line in $list; do
        op=${line%% *} path=${line#* } mode=
        case $op in c | d) mode=${path%% *} path=${path#* } ;; esac
        at=$target${path:+/$path} from=$new${path:+/$path} kept=$old${path:+/$path}
        case $op in
            # Kept already: this is the second run.
            k | x) if there "$kept" || ! there "$at"; then continue; fi ;;
            m)
                if ! there "$from"; then
                    there "$at" && continue
                    echo "$at: it was not staged" >&2
                    exit 1
                fi
                ;;
            c | r) there "$at" || continue ;;
            b)
                there "$kept" || continue
                # Kept, and nothing came in its place: the two names are one file, which `mv` refuses.
                # shellcheck disable=SC3013 # dash and busybox have -ef
                if [ ! -h "$at" ] && [ ! -h "$kept" ] && [ "$at" -ef "$kept" ]; then
                    rm -f -- "$kept"
                    continue
                fi
                ;;
        esac
        case $path in
            */*) below=/${path%/*} ;;
            *) below= ;;
        esac
        if [ -z "$path" ]; then
            run "$@" || stop
            set --
            itself || stop
            continue
        fi
        if [ "$op $mode $below" != "$group" ] || [ $# -ge 200 ]; then
            run "$@" || stop
            set --
            group="$op $mode $below" do=$op with=$mode in=$below
        fi
        case $op in
            m) set -- "$@" "$from" ;;
            b)
                # Nothing can be renamed over a directory.
                if is_directory "$at" || is_directory "$kept"; then rm -rf -- "$at" || stop; fi
                set -- "$@" "$kept"
                ;;
            *) set -- "$@" "$at" ;;
        esac
    done
    run "$@" || stop
    { sync -f "${target%/*}/" 2>/dev/null || sync; } || exit
    [ -z "$failed" ] || exit 1
    [ "$how" = undo ] || return 0
    for record in $records; do
        [ -e "$record" ] || [ ! -e "$marker.${record##*/}" ] || mv -f -- "$marker.${record##*/}" "$record" || exit
    done
    rm -f -- "$marker"
    for record in $records; do rm -f -- "$marker.${record##*/}"; done
}

# Something failed: no more is done, but what can be taken back is.
stop() {
    [ "$how" != "do" ] || exit 1
    failed=yes
}

there() { [ -e "$1" ] || [ -h "$1" ]; }

# Removes a link that leads nowhere: busybox's `mv` does not replace one that leads to itself. Only when it is replaced:
# a step that was collected before may still have to keep it.
make_way() {
    if [ -h "$1" ] && [ ! -e "$1" ]; then rm -f -- "$1"; fi
}

is_directory() { [ -d "$1" ] && [ ! -h "$1" ]; }

# The collected step $do, with what it is done to.
run() {
    [ $# -gt 0 ] || return 0
    case $do in
        k) mkdir -p -- "$old$in" && keep "$@" "$old$in/" ;;
        x) mkdir -p -- "$old$in" && mv -f -- "$@" "$old$in/" ;;
        d) mkdir -p -- "$@" && chmod "$with" -- "$@" ;;
        m | b)
            for one; do make_way "$target$in/${one##*/}" || return; done
            mv -f -- "$@" "$target$in/"
            ;;
        c) chmod "$with" -- "$@" ;;
        r) rm -rf -- "$@" ;;
    esac </dev/null
}

# A copy, where the file system has no links.
keep() { ln -f -- "$@" 2>/dev/null || cp -p -- "$@"; }

# The same for the target itself.
itself() {
    case $op in
        k) mkdir -p -- "${old%/*}" && keep "$at" "$kept" ;;
        x) mkdir -p -- "${old%/*}" && mv -f -- "$at" "$kept" ;;
        d) mkdir -p -- "$at" && chmod "$mode" -- "$at" ;;
        m)
            if is_directory "$at"; then
                echo "$at: a directory appeared there meanwhile" >&2
                return 1
            fi
            make_way "$at" && mv -f -- "$from" "$at"
            ;;
        c) chmod "$mode" -- "$at" ;;
        r) rm -rf -- "$at" ;;
        b)
            if is_directory "$at" || is_directory "$kept"; then rm -rf -- "$at"; fi
            make_way "$at" && mv -f -- "$kept" "$at"
            ;;
    esac </dev/null
}

main "$@"
