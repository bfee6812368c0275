# Appends a line about the release to a file that people and programs on the VPU read: who applied it and when (the third
# line of the lock), and what standard input says.
# Succeeds in any case, because the release itself is good.
# $1 directory  $2 lines to keep
main() {
    file=$1/deployments.jsonl
    IFS= read -r release || return 0
    who=$(sed -n 3p "$HOME/.o3r-deploy/lock/owner" 2>/dev/null)
    [ -z "$who" ] || release="{$who,${release#?}"
    if ! { mkdir -p -- "$1" && printf '%s\n' "$release" >>"$file"; }; then
        echo "WARNING: $file cannot be written" >&2
        return 0
    fi
    if [ "$(wc -l <"$file")" -gt "$2" ]; then
        tail -n "$(($2 / 2))" -- "$file" >"$file.new" && mv -f -- "$file.new" "$file"
    fi
    return 0
}

main "$@"
