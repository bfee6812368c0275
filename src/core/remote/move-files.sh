# Moves staged files to their target, or reverts that, following the list on standard input.
# $1 target  $2 staged files  $3 directory for what they replace
# $4 mark: a file that exists from the first move until the release is recorded or all is reverted
# $5 do, undo, or undo-some: keep what an earlier apply moved, and the mark
# $6… records of what was started from the old files, moved away before the first file is replaced
# The list has one line per step; PATH is relative to the target, empty for the target itself:
#   k PATH       keep a file that is about to be replaced: a second link, so that the name always exists
#   x PATH       move away what is removed, and keep it
#   e PATH       remove a directory if it is empty
#   d MODE PATH  create a directory
#   m PATH       move a staged file, link or directory into place
#   c MODE PATH  change permissions
#   r PATH       remove a new file
#   b PATH       restore what was kept
# Each step is idempotent. Consecutive lines of one kind and directory run as one command.
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
    # One per line, like IFS below.
    records=$(for record; do printf '%s\n' "$record"; done)
    # Not with `read`, which makes a system call per byte.
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
            # Already kept by an earlier run.
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
                # Kept and not replaced: both names are one file, which `mv` refuses.
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
                # rename does not replace a directory.
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

# After a failure: do stops, undo continues with what it can.
stop() {
    [ "$how" != "do" ] || exit 1
    failed=yes
}

there() { [ -e "$1" ] || [ -h "$1" ]; }

# Removes a dangling link: busybox's `mv` does not replace one that points to itself. Called when the link is replaced,
# because a step collected earlier may have to keep it.
make_way() {
    if [ -h "$1" ] && [ ! -e "$1" ]; then rm -f -- "$1"; fi
}

is_directory() { [ -d "$1" ] && [ ! -h "$1" ]; }

# Runs the collected step $do with its files.
run() {
    [ $# -gt 0 ] || return 0
    case $do in
        k) mkdir -p -- "$old$in" && keep "$@" "$old$in/" ;;
        x) mkdir -p -- "$old$in" && mv -f -- "$@" "$old$in/" ;;
        e) for one; do rmdir -- "$one" 2>/dev/null || :; done ;;
        d) mkdir -p -- "$@" && chmod "$with" -- "$@" ;;
        m | b)
            for one; do make_way "$target$in/${one##*/}" || return; done
            mv -f -- "$@" "$target$in/"
            ;;
        c) chmod "$with" -- "$@" ;;
        r) rm -rf -- "$@" ;;
    esac </dev/null
}

# A copy if the file system has no hard links.
keep() { ln -f -- "$@" 2>/dev/null || cp -p -- "$@"; }

# The same for the target itself.
itself() {
    case $op in
        k) mkdir -p -- "${old%/*}" && keep "$at" "$kept" ;;
        x) mkdir -p -- "${old%/*}" && mv -f -- "$at" "$kept" ;;
        e) rmdir -- "$at" 2>/dev/null || : ;;
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
