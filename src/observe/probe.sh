# Prints a VPU's state as sections framed by a nonce. Read-only.
# $1 nonce. Standard input: one query per line:
#   path KIND SIZE PATH   KIND d (look), f (look, and hash if it has SIZE bytes) or h (at most SIZE bytes)
#   project DIRECTORY     look for the files there that docker-compose reads by default, and hash them
#   environment PATH      look at an environment file, and hash it
#   unit NAME             show the text of oem-dc@NAME
# Each section ends with its exit code, so that a failed probe is never taken for "absent".
main() {
    nonce=$1
    set -f
    umask 077
    login=$(login_environment)
    LC_ALL=C
    export LC_ALL
    queries=$(cat)
    # The slow ones run in parallel; each waits in its pipe until it is read.
    section compose compose_version | {
        section autostart autostart | {
            section system system
            section listeners listeners
            section paths paths
            section projects projects
            section environment environment_files
            section records records
            cat
        }
        cat
    }
}

section() {
    name=$1
    shift
    printf '\n%s begin %s\n' "$nonce" "$name"
    # A subshell: variables of a probe must not leak.
    ("$@") </dev/null 2>&1
    code=$?
    printf '\n%s end %s %s\n' "$nonce" "$name" "$code"
}

# Starting docker-compose is the slowest probe (Python: 0.3 s on a PC). The last apply recorded the version of the
# program; as long as the program is the same, it is not started.
compose_version() {
    program=$(command -v docker-compose) || { echo "docker-compose: not found"; return 127; }
    listing=$(ls -lniL -- "$program")
    if [ -r "$HOME/.o3r-deploy/compose-version" ]; then
        { IFS= read -r known && IFS= read -r version; } <"$HOME/.o3r-deploy/compose-version"
        [ "$known" = "$listing" ] && { printf '%s\n' "$version"; return; }
    fi
    docker-compose version --short
}

# Tells of a load in another boot, which never ended.
interrupted_load() (
    set +f
    boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
    for note in "$HOME"/.o3r-deploy/loading/*; do
        case ${note##*/} in '*' | "$boot".*) ;; *) echo load_interrupted=yes; exit ;; esac
    done
)

system() {
    printf 'home=%s\n' "$HOME"
    printf 'uid=%s\n' "$(id -u)"
    printf 'machine=%s\n' "$(uname -m)"
    environment
    [ -n "$login" ] && printf 'environment=%s\n' "$login"
    [ -r /proc/sys/kernel/random/boot_id ] && printf 'boot_id=%s\n' "$(cat /proc/sys/kernel/random/boot_id)"
    interrupted_load
    [ -r /proc/uptime ] && read -r uptime rest </proc/uptime && printf 'uptime=%s\n' "$uptime"
    printf 'clock=%s\n' "$(date +%s)"
    printf 'sha256=%s\n' "$(sha256_tool)"
    command -v zstd >/dev/null 2>&1 && printf 'zstd=yes\n'
    printf 'home_disk=%s\n' "$(disk "$HOME")"
    refusal=$(home_refuses)
    [ -n "$refusal" ] && printf 'home_refuses=%s\n' "$refusal"
    [ -r /proc/meminfo ] && while read -r key value _; do
        case $key in
            MemTotal:) printf 'memory_kb=%s\n' "$value" ;;
            MemAvailable:) printf 'memory_available_kb=%s\n' "$value"; break ;;
        esac
    done </proc/meminfo
    return 0
}

# Prints why nothing can be written in ~/.o3r-deploy; nothing if it can.
home_refuses() {
    base=$HOME/.o3r-deploy
    if [ -e "$base" ] || [ -h "$base" ]; then
        [ -d "$base" ] || { echo "$base is not a directory"; return; }
    else
        base=$HOME
    fi
    if [ ! -w "$base" ]; then
        # The mode permits the owner to write, but writing fails.
        # shellcheck disable=SC2046
        set -- $(ls -ldn -- "$base/" 2>/dev/null)
        case $1:$3 in
            d?w*:"$(id -u)") echo "$base is on a file system that is read-only" ;;
            *) echo "$base cannot be written to by user $(id -u): it belongs to user $3 and has the mode $1" ;;
        esac
    fi
}

# The variables that docker and docker-compose read; no value that may be secret.
environment() {
    compose=$(export -p | sed -n 's/^export \(COMPOSE_[A-Z0-9_]*\)=.*/\1/p')
    set -- HOME USER LOGNAME DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_API_VERSION
    for name in "$@" $compose; do
        is_set=
        eval "value=\${$name-} is_set=\${$name+yes}"
        case $is_set$value in
            '') ;;
            *"
"*) printf 'env.%s=(several lines)\n' "$name" ;;
            *) printf 'env.%s=%s\n' "$name" "$value" ;;
        esac
    done
}

# The hash of the login's environment, without variables that differ in every session.
login_environment() {
    tool=$(sha256_tool)
    [ "$tool" = none ] && return
    export -p | grep -vE '^(export|declare -x) (SSH_[A-Z_]*|SHLVL|PWD|OLDPWD|_|XDG_SESSION_ID)(=|$)' | {
        case $tool in
            sha256sum) sha256sum ;;
            openssl) openssl dgst -sha256 -r ;;
            busybox) busybox sha256sum ;;
        esac
    } | {
        read -r hash _
        printf '%s\n' "$hash"
    }
}

# Listening sockets (TCP, state 0A) and unconnected ones (UDP, state 07), as the kernel lists them.
listeners() {
    for table in tcp tcp6 udp udp6; do
        [ -r "/proc/net/$table" ] || continue
        printf '%s\n' "$table"
        grep -E '^ *[0-9]+: [0-9A-F]+:[0-9A-F]{4} 0+:0000 0[A7] ' "/proc/net/$table"
    done
    [ -r /proc/net/tcp ]
}

sha256_tool() {
    for tool in sha256sum openssl busybox; do
        command -v "$tool" >/dev/null 2>&1 && { echo "$tool"; return; }
    done
    echo none
}

# Prints the hash of the file $1 as the first field; without a tool, the bytes in hex after `x`.
sha256() {
    case $tool in
        sha256sum) sha256sum <"$1" ;;
        openssl) openssl dgst -sha256 -r <"$1" ;;
        busybox) busybox sha256sum <"$1" ;;
        *) printf 'x'; od -An -v -tx1 <"$1" | tr -d ' \n' ;;
    esac
}

paths() {
    tool=$(sha256_tool)
    index=0
    [ -z "$queries" ] && return 0
    printf '%s\n' "$queries" | while IFS= read -r line; do
        rest=${line#path }
        [ "$rest" = "$line" ] && continue
        # Not with `read`, which strips trailing spaces.
        kind=${rest%% *} rest=${rest#* }
        size=${rest%% *}
        below_home "${rest#* }"
        printf '%s ' "$index"
        look "$path" "$kind" "$size"
        index=$((index + 1))
    done
}

# The files that docker-compose reads in a project's directory by default, or in place of docker-compose.yml.
projects() {
    tool=$(sha256_tool)
    index=0
    [ -z "$queries" ] && return 0
    printf '%s\n' "$queries" | while IFS= read -r line; do
        directory=${line#project }
        [ "$directory" = "$line" ] && continue
        for name in docker-compose.yml docker-compose.yaml compose.yml compose.yaml docker-compose.override.yml \
            docker-compose.override.yaml compose.override.yml compose.override.yaml .env; do
            printf '%s %s ' "$index" "$name"
            look "$directory/$name" h 1048576
        done
        index=$((index + 1))
    done
}

# Environment files outside the projects' directories.
environment_files() {
    tool=$(sha256_tool)
    index=0
    [ -z "$queries" ] && return 0
    printf '%s\n' "$queries" | while IFS= read -r line; do
        rest=${line#environment }
        [ "$rest" = "$line" ] && continue
        printf '%s ' "$index"
        below_home "$rest"
        look "$path" h 1048576
        index=$((index + 1))
    done
}

# $1 path; its tilde is the manifest's, not the shell's. Sets `path`.
below_home() {
    # shellcheck disable=SC2088
    case $1 in
        "~") path=$HOME ;;
        "~/"*) path=$HOME/${1#"~/"} ;;
        *) path=$1 ;;
    esac
}

# $1 path  $2 f to hash a file of $3 bytes, h to hash one of at most $3 bytes, else d
look() {
    if [ -d "$1" ]; then type=d
    elif [ -h "$1" ]; then link "$1"; return
    elif [ -f "$1" ]; then type=f
    elif [ -e "$1" ]; then echo other; return
    elif reachable "$1"; then missing; return
    else echo "unknown no permission to read it"; return
    fi
    # The trailing / follows a symbolic link to a directory.
    if [ "$type" = d ]; then listing=$(ls -ldn -- "$1/"); else listing=$(ls -ldn -- "$1"); fi || { echo "unknown cannot list it"; return; }
    # shellcheck disable=SC2086
    set -- "$1" "$2" "$3" $listing
    # Positional parameters: path kind wanted-size permissions links uid gid size …
    if [ "$type" = d ]; then
        printf 'directory %s %s\n' "$4" "$6"
    elif { [ "$2" = f ] && [ "$3" = "$8" ]; } || { [ "$2" = h ] && [ "$8" -le "$3" ]; }; then
        if [ -r "$1" ]; then printf 'file %s %s %s %s\n' "$4" "$6" "$8" "$(sha256 "$1")"
        else echo "unknown no permission to read it"
        fi
    else
        printf 'file %s %s %s -\n' "$4" "$6" "$8"
    fi
}

link() {
    # Not every VPU has readlink.
    listing=$(ls -ldn -- "$1")
    target=${listing#*" $1 -> "}
    case $target in
        "$listing" | *"
"*) echo other ;;
        *) printf 'link %s\n' "$target" ;;
    esac
}

# Reports a missing path, whose nearest existing parent `reachable` has found.
missing() {
    if [ ! -d "$parent" ] || [ -w "$parent" ]; then echo missing; return; fi
    listing=$(ls -ldn -- "$parent/") || { echo "unknown cannot list $parent"; return; }
    # shellcheck disable=SC2086
    set -- $listing
    printf 'unwritable %s %s\n' "$3" "$parent"
}

# Succeeds if a path is surely missing: its nearest existing parent is searchable.
reachable() {
    parent=$1
    while :; do
        case $parent in
            /*/*) parent=${parent%/*} ;;
            *) parent=/; return 0 ;;
        esac
        [ -d "$parent" ] && { [ -x "$parent" ]; return; }
        { [ -e "$parent" ] || [ -h "$parent" ]; } && return 0
    done
}

# The generation of autostart, and what is enabled. If there is none, systemctl exits with 1 and no output (systemd 252)
# or with 0; an unreachable manager prints an error.
autostart() {
    files=$(systemctl --user list-unit-files 'oem-dc*' --no-legend --no-pager 2>&1) || {
        code=$?
        if [ "$code" != 1 ] || [ -n "$files" ]; then
            printf 'systemctl --user list-unit-files: %s\n' "$files"
            return "$code"
        fi
    }
    printf '%s\n' "$files" | while read -r file state _; do
        if [ -n "$file" ]; then printf 'file %s %s\n' "$file" "$state"; fi
    done
    printf 'lingering %s\n' "$(lingering)"
    set +f
    # systemctl does not list the instances of a template: they are links.
    for link in "${XDG_CONFIG_HOME:-$HOME/.config}"/systemd/user/*.wants/oem-dc@*.service; do enabled own "$link"; done
    for link in /etc/systemd/user/*.wants/oem-dc@*.service; do enabled all "$link"; done
    set -f
    case $files in *oem-dc@.service*) units ;; esac
}

# $1 own, or all for links that root made for every user  $2 link
enabled() {
    { [ -e "$2" ] || [ -h "$2" ]; } || return
    instance=${2##*/oem-dc@}
    printf 'enabled %s %s\n' "$1" "${instance%.service}"
}

units() {
    printf '%s\n' "$queries" | while IFS= read -r line; do
        unit=${line#unit }
        [ "$unit" = "$line" ] && continue
        text=$(systemctl --user cat "oem-dc@$unit.service" 2>&1)
        printf 'unit %s %s\n' "$?" "$unit"
        printf '%s\n' "$text" | sed 's/^/ /'
    done
}

# Prints whether this user's services run without a login: yes, no or unknown.
lingering() {
    user=$(id -un)
    if [ -e "/var/lib/systemd/linger/$user" ]; then echo yes; return; fi
    case $(loginctl show-user "$user" --property Linger 2>/dev/null) in
        *=yes) echo yes ;;
        *=no) echo no ;;
        *) if [ -x /var/lib/systemd ]; then echo no; else echo unknown; fi ;;
    esac
}

records() {
    base=$HOME/.o3r-deploy
    [ -e "$base" ] || return 0
    set +f
    lock
    watchdogs
    for file in "$base"/started/*; do
        [ -f "$file" ] || continue
        printf 'started %s\n' "${file##*/}"
        cat -- "$file" || return
        printf '.\n'
    done
    for file in "$base"/releases/*.jsonl; do
        [ -f "$file" ] || continue
        name=${file##*/}
        printf 'release %s\n' "${name%.jsonl}"
        tail -n 1 -- "$file" || return
        printf '.\n'
    done
    for file in "$base"/releases/*.taken; do
        [ -f "$file" ] || continue
        name=${file##*/}
        printf 'taken %s\n' "${name%.taken}"
        cat -- "$file" || return
        printf '.\n'
    done
    held=$(sed -n 's/^i [^ ]* \([^ ]*\) .*/\1/p' "$base"/generations/*/[0-9]* 2>/dev/null)
    [ -z "$held" ] || printf 'held\n%s\n.\n' "$held"
    for file in "$base"/moved/*; do
        [ -f "$file" ] && printf 'moved %s\n.\n' "${file##*/}"
    done
    for file in "$base"/previous/*/%added-*; do
        [ -f "$file" ] && printf 'added %s\n.\n' "${file#"$base"/previous/}"
    done
    tool=$(sha256_tool)
    for file in "$base"/arriving/*; do
        [ -f "$file" ] || continue
        # Without a tool it cannot be verified, and is sent again.
        case $tool in none) hash=- ;; *) hash=$(sha256 "$file") ;; esac
        printf 'arrived %s %s %s\n.\n' "${file##*/}" "$(wc -c <"$file")" "${hash%% *}"
    done
    set -f
}

# Prints who holds the lock, if its process runs.
lock() {
    { read -r pid && read -r boot && IFS= read -r who && read -r held_since; } 2>/dev/null <"$base/lock/owner" || return 0
    [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return 0
    started "$pid" || return 0
    # shellcheck disable=SC2154 # started sets it
    [ "$since" != "$held_since" ] || printf 'lock\n{%s}\n.\n' "$who"
}

watchdogs() {
    for directory in "$base"/watchdog/*/; do
        [ -d "$directory" ] || continue
        directory=${directory%/}
        printf 'watchdog %s\n' "${directory##*/}"
        for file in "$directory"/*.armed; do
            [ -f "$file" ] || continue
            # The apply runs if it holds the lock.
            token=$(sed -n 2p "$file")
            holder=$(sed -n 5p "$base/lock/owner" 2>/dev/null)
            if [ -n "$token" ] && [ "$token" = "$holder" ]; then printf 'armed '; else printf 'interrupted '; fi
            cat -- "$directory/deadline"
        done
        for file in "$directory"/*.waits; do
            [ -f "$file" ] || continue
            version=
            { read -r version <"$file"; } 2>/dev/null
            printf 'waits %s\n' "$version"
        done
        for file in "$directory"/*.reverting; do [ ! -f "$file" ] || echo reverting; done
        [ ! -f "$directory/verdict" ] || cat -- "$directory/verdict"
        printf '.\n'
    done
}

main "$@"
