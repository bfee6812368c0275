# Whether the directory $1 is another one by its physical path; the home directory itself may be a link.
linked() {
    real=$(cd -P -- "$1" 2>/dev/null && pwd -P) || {
        # What cannot be entered may be one.
        [ -h "$1" ] || [ -d "$1" ]
        return
    }
    home=$(cd -P -- "$HOME" 2>/dev/null && pwd -P) || home=$HOME
    case $1 in
        "$HOME") named=$home ;;
        "$HOME"/*) named=$home/${1#"$HOME"/} ;;
        *) named=$1 ;;
    esac
    [ "$real" != "$named" ]
}
