# Shared by the scripts that end a successful apply: the copies for a rollback are no longer needed.

# Removes the directories of kept files $@, their parent if it is empty, and the unfinished files of dead commands.
forget_kept() {
    forget_unfinished
    [ $# = 0 ] || rm -rf -- "$@" || return
    rmdir -- "$HOME/.o3r-deploy/previous" 2>/dev/null || :
}
