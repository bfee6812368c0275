# Prints the home directory, then the text of a release that is kept. Read-only.
# $1 a word before the home directory, as a login shell may print lines, too  $2 release  $3 number
printf '\n%s %s\n' "$1" "$HOME"
cat -- "$HOME/.o3r-deploy/generations/$2/$3"
