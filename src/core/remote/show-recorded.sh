# Prints the home directory, then the text of the release with this digest, if it is kept. Read-only.
# $1 a word before the home directory, as a login shell may print lines, too  $2 release  $3 digest of what was declared
# $4 header (only the first line), or text
for file in "$HOME/.o3r-deploy/generations/$2"/[0-9]*; do
    [ -f "$file" ] || continue
    header=$(head -n 1 -- "$file") || continue
    case $header in
        *"\"desired\":\"$3\""*) ;;
        *) continue ;;
    esac
    printf '\n%s %s\n' "$1" "$HOME"
    if [ "$4" = header ]; then printf '%s\n' "$header"; else cat -- "$file"; fi
    break
done
exit 0
