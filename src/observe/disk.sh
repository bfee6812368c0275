# Shared by the probes. Prints the file system of the directory $1, if df knows it: kilobytes, free kilobytes, free inodes
# (- if it does not count them), device, mount point.
disk() {
    { df -Pk -- "$1"; df -Pi -- "$1"; } 2>/dev/null </dev/null | {
        read -r _
        read -r device total _ free _ mount
        read -r _
        read -r _ all _ inodes _
        # Some file systems make inodes as they need them: they count none.
        case ${all:-0}:${inodes:--} in 0:* | *[!0-9:]*) inodes=- ;; esac
        [ -z "$mount" ] || printf '%s %s %s %s %s\n' "$total" "$free" "$inodes" "$device" "$mount"
    }
}

