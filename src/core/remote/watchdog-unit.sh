# Shared by arm.sh, disarm.sh and watchdog.sh: the unit that rolls back after a restart.

unit=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user/o3r-deploy-watchdog.service

# Enables it; a link is what `systemctl enable` creates. It is only there while a watchdog is armed, so that a VPU without
# one starts nothing.
stand_by() {
    wants=${unit%/*}/default.target.wants
    mkdir -p -- "$wants" || return
    cat >"$unit.new" <<'END' && mv -f -- "$unit.new" "$unit" && ln -sf "../${unit##*/}" "$wants/${unit##*/}"
[Unit]
Description=o3r-deploy: roll back a release that the restart interrupted

[Service]
ExecStart=/bin/sh -c 'for file in %h/.o3r-deploy/watchdog/*/*.armed %h/.o3r-deploy/watchdog/*/*.reverting; do [ ! -e "$$file" ] || sh "$${file%%.*}.sh" after-boot & done; wait'

[Install]
WantedBy=default.target
END
}

# Disables it unless a watchdog of another release is armed.
stand_down() {
    for armed in "$HOME"/.o3r-deploy/watchdog/*/*.armed "$HOME"/.o3r-deploy/watchdog/*/*.reverting; do
        [ ! -e "$armed" ] || return 0
    done
    rm -f -- "${unit%/*}/default.target.wants/${unit##*/}" "$unit"
    rmdir -- "${unit%/*}/default.target.wants" 2>/dev/null
    return 0
}
