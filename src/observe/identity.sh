# Prints what identifies this machine: lines of KIND and a value. Read-only.
# $1 a word that is printed first: a login shell may print lines, too
main() {
    printf '\n%s\n' "$1"
    [ ! -r /proc/sys/kernel/random/boot_id ] || printf 'boot %s\n' "$(cat /proc/sys/kernel/random/boot_id)"
    # Only of devices: docker's bridges have generated addresses.
    for file in /sys/class/net/*/address; do
        [ -e "${file%/address}/device" ] && [ -r "$file" ] && printf 'mac %s\n' "$(cat "$file")"
    done
    for file in /etc/ssh/ssh_host_*_key.pub; do
        [ -r "$file" ] && read -r type key _ <"$file" && printf 'key %s %s\n' "$type" "$key"
    done
    return 0
}

main "$@"
