# What the scripts that load images share.

# Puts what docker loaded on its disk: it verifies a layer while it loads it, and never again. One whose files were
# lost with the power would stay "present" and be empty.
flush_images() {
    root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null </dev/null)
    disk=$(df -P -- "$root" /var/lib/containerd 2>/dev/null | one_disk)
    # The one file system where that is known and sync takes one, else all of them. User oem may not open docker's
    # own directory.
    { [ -n "$disk" ] && sync -f -- "$disk" 2>/dev/null; } || sync
}

# The mount point in what df says, if there is only one.
one_disk() {
    read -r _
    disk=
    while read -r _ _ _ _ _ mount; do
        [ -z "$disk" ] || [ "$mount" = "$disk" ] || return 0
        disk=$mount
    done
    printf '%s' "$disk"
}

