# Shared by the scripts that load images. Docker verifies a layer only while it loads it, and does not sync it: after a
# power cut, a layer with empty files counts as present.

# Notes that docker loads, until flush_images: the probe finds the note after a power cut. Each load has a note of its own,
# with the boot in its name, because the next part is loaded while this one is synced.
begin_load() {
    note=$HOME/.o3r-deploy/loading/$(boot).$$
    { mkdir -p -- "${note%/*}" && : >"$note" && sync -- "$note"; } 2>/dev/null || :
}

# Syncs what docker loaded, and removes the note; also after a load that failed, of which layers may be left. Returns $1,
# the exit code of the load. Notes of other boots stay: what was loaded then may be damaged.
flush_images() {
    flush_docker
    if [ -n "${note:-}" ]; then
        rm -f -- "$note"
        rmdir -- "${note%/*}" 2>/dev/null
    fi
    return "${1:-0}"
}

# Prints the boot ID; nothing if there is no /proc.
boot() {
    cat /proc/sys/kernel/random/boot_id 2>/dev/null
}

flush_docker() {
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

