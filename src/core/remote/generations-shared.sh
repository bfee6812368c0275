# Shared by keep-generation.sh and prune-generations.sh.

# Prints the free kilobytes where the directory $1 is; a large number if that is unknown.
free() {
    free=$(df -Pk -- "$1" 2>/dev/null | { read -r _; IFS=' ' read -r _ _ _ free _; echo "$free"; })
    case $free in '' | *[!0-9]*) free=1000000000 ;; esac
    echo "$free"
}

# Prints the names of our own that images of the release $1 have.
held() {
    docker image ls --format '{{.Repository}}:{{.Tag}}' "o3r-deploy/$1" </dev/null 2>/dev/null
}

# Whether the lines $1 have the line $2.
has() {
    case "
$1
" in
        *"
$2
"*) ;;
        *) return 1 ;;
    esac
}

