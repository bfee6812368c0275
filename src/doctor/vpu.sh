# Prints what a doctor wants to know beyond an observation: lines of KIND and values. Read-only.
# $1 a word that is printed first: a login shell may print lines, too
main() {
    printf '\n%s\n' "$1"
    # The wear of eMMC flash, as its controller reports it (JEDEC JESD84-B51): two estimates in steps of 10 %, 0x01 to
    # 0x0b, and the state of the reserved blocks, 0x01 to 0x03.
    for device in /sys/block/mmcblk*/device; do
        if [ ! -r "$device/life_time" ] || [ ! -r "$device/pre_eol_info" ]; then continue; fi
        name=${device#/sys/block/}
        printf 'flash %s %s %s\n' "${name%/device}" "$(cat "$device/pre_eol_info")" "$(cat "$device/life_time")"
    done
    [ ! -r /proc/loadavg ] || { read -r load _ </proc/loadavg && printf 'load %s\n' "$load"; }
    printf 'processors %s\n' "$(grep -c '^processor' /proc/cpuinfo 2>/dev/null)"
    synchronized=$(timedatectl show -p NTPSynchronized --value 2>/dev/null) && printf 'synchronized %s\n' "$synchronized"
    # Where o3r_docker_manager links the compose file of its autostart.
    link=/usr/share/oem/docker/compose/deploy/docker-compose.yml
    [ ! -h "$link" ] || printf 'old-link %s\n' "$link"
    for file in "$HOME"/*.tar "$HOME"/*.tar.gz "$HOME"/*.tgz; do
        [ -f "$file" ] && size "$file"
    done
    used=$(du -sk "$HOME/.o3r-deploy" 2>/dev/null) && printf 'own %s\n' "${used%%[!0-9]*}"
    return 0
}

# $1 a file; not with wc, which may read all of it
size() {
    listing=$(ls -ln -- "$1") || return
    file=${1##*/}
    # shellcheck disable=SC2086
    set -- $listing
    printf 'archive %s %s\n' "$5" "$file"
}

main "$@"
