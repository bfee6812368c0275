# Shared by the scripts that load images.

# Syncs what docker loaded: docker verifies a layer only while it loads it. After a power cut, a layer with empty files
# would count as present.
flush_images() {
    info=$(docker info --format '{{.DriverStatus}} {{.DockerRootDir}}' 2>/dev/null </dev/null)
    disk=
    case $info in
        # Docker does not tell where containerd keeps its images.
        '' | *io.containerd*) ;;
        *) disk=$(df -P -- "${info##* }" 2>/dev/null | mount_point) ;;
    esac
    # Syncs one file system if it is known and sync supports that, else all. User oem may have no permission for
    # docker's directory, which may be the mount point.
    { [ -n "$disk" ] && sync -f -- "$disk" 2>/dev/null; } || sync
}

# Prints the mount point from the output of df.
mount_point() {
    read -r _
    read -r _ _ _ _ _ mount && printf '%s' "$mount"
}

