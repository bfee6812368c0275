# What the scripts that load images share.

# Puts what docker loaded on its disk: it verifies a layer while it loads it, and never again. One whose files were
# lost with the power would stay "present" and be empty.
flush_images() {
    info=$(docker info --format '{{.DriverStatus}} {{.DockerRootDir}}' 2>/dev/null </dev/null)
    disk=
    case $info in
        # Containerd keeps its images where docker does not say.
        '' | *io.containerd*) ;;
        *) disk=$(df -P -- "${info##* }" 2>/dev/null | mount_point) ;;
    esac
    # The one file system where that is known and sync takes one, else all of them. User oem may not open docker's
    # own directory, which may be where it is mounted.
    { [ -n "$disk" ] && sync -f -- "$disk" 2>/dev/null; } || sync
}

# The mount point in what df says.
mount_point() {
    read -r _
    read -r _ _ _ _ _ mount && printf '%s' "$mount"
}

