# Removes the temporary files of commands that died before they renamed them; kept.sh records their names.
forget_unfinished() {
    [ -f "$HOME/.o3r-deploy/unfinished" ] || return 0
    while IFS= read -r path; do
        case $path in /*.o3r-new) rm -f -- "$path" ;; esac
    done <"$HOME/.o3r-deploy/unfinished"
    rm -f -- "$HOME/.o3r-deploy/unfinished"
}
