# Moves staged files to their target, or takes that back, as the list on standard input says.
# $1 target  $2 what is staged for it  $3 where what it replaces is kept  $4… records of what was started from the
# old files, removed before the first new one is in place
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
    target=$1 new=$2 old=$3
    shift 3
    umask 022
    case $target in /*/*) mkdir -p -- "${target%/*}" || exit ;; esac
    for record; do rm -f -- "$record" || exit; done
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
            b) there "$kept" || continue ;;
        esac
        case $path in
            */*) below=/${path%/*} ;;
            *) below= ;;
        esac
        if [ -z "$path" ]; then
            run "$@" || exit
            set --
            itself || exit
            continue
        fi
        if [ "$op $mode $below" != "$group" ] || [ $# -ge 200 ]; then
            run "$@" || exit
            set --
            group="$op $mode $below" do=$op with=$mode in=$below
        fi
        case $op in
            m) set -- "$@" "$from" ;;
            b)
                # Nothing can be renamed over a directory.
                if is_directory "$at" || is_directory "$kept"; then rm -rf -- "$at" || exit; fi
                set -- "$@" "$kept"
                ;;
            *) set -- "$@" "$at" ;;
        esac
    done
    run "$@" && { sync -f "${target%/*}/" 2>/dev/null || sync; }
}

there() { [ -e "$1" ] || [ -h "$1" ]; }

is_directory() { [ -d "$1" ] && [ ! -h "$1" ]; }

# The collected step $do, with what it is done to.
run() {
    [ $# -gt 0 ] || return 0
    case $do in
        k) mkdir -p -- "$old$in" && keep "$@" "$old$in/" ;;
        x) mkdir -p -- "$old$in" && mv -f -- "$@" "$old$in/" ;;
        d) mkdir -p -- "$@" && chmod "$with" -- "$@" ;;
        m | b) mv -f -- "$@" "$target$in/" ;;
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
            mv -f -- "$from" "$at"
            ;;
        c) chmod "$mode" -- "$at" ;;
        r) rm -rf -- "$at" ;;
        b)
            if is_directory "$at" || is_directory "$kept"; then rm -rf -- "$at"; fi
            mv -f -- "$kept" "$at"
            ;;
    esac </dev/null
}

main "$@"
