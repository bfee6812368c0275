# What is shared by all that end an apply well: what was kept to restore from is of no more use.

# Removes the directories of kept files $@, and the one that they are in once it is empty; and files of dead commands.
forget_kept() {
    forget_unfinished
    [ $# = 0 ] || rm -rf -- "$@" || return
    rmdir -- "$HOME/.o3r-deploy/previous" 2>/dev/null || :
}
