#!/usr/bin/env bash
# Moves one release of the benchmark's image to the twin in one way. Called by transfer.sh, which exports what is used here:
#
#   ways.sh WAY VERSION
#
# WORK has VERSION.tar (the image) and VERSION.toml (a manifest of it); IMAGE:VERSION is it in this machine's docker.
# The link to the twin's sshd is PORT of this machine.
set -euo pipefail
way=$1
version=$2
# shellcheck disable=SC2153 # exported
image=$IMAGE:$version
options=(-F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o "UserKnownHostsFile=$WORK/known_hosts" -i "$KEY")
remote() { ssh "${options[@]}" -p "$PORT" "$@"; }
there=oem@127.0.0.1

apply() { "$TOOL" "$@" -f "$WORK/$version.toml" --log-dir "$WORK/logs" apply --yes; }

case $way in
    ours) apply -q ;;
    other) TOOL=$OTHER XDG_CACHE_HOME=$WORK/cache-other apply -q ;;
    # What it asks of docker here is in no log.
    ours-cold) XDG_CACHE_HOME=$WORK/cold apply -vv 2>"$WORK/trace" || { cat "$WORK/trace" >&2; exit 1; } ;;
    advice) docker save "$image" | remote -C "$there" docker load ;;
    plain) docker save "$image" | remote "$there" docker load ;;
    zstd) docker save "$image" | zstd -q | remote "$there" '/usr/lib/o3r-twin/zstd -qd | docker load' ;;
    scp)
        # As the old tool does; -O, for the twin has no sftp, as far as is known like the device.
        scp -q -O "${options[@]}" -P "$PORT" "$WORK/$version.tar" "$there:image.tar"
        remote "$there" 'docker load -i image.tar && rm image.tar'
        ;;
    rsync)
        rsync -z -e "ssh ${options[*]@Q} -p $PORT" "$WORK/$version.tar" "$there:image.tar"
        remote "$there" 'docker load -i image.tar'
        ;;
    registry)
        name=127.0.0.1:$FORWARD/bench:$version
        docker tag "$image" "$name"
        # One connection, as docker-pussh has: the registry through it, and the commands.
        remote -fNM -S "$WORK/master" -o ExitOnForwardFailure=yes -L "$FORWARD:127.0.0.1:5000" "$there"
        docker push -q "$name"
        remote -S "$WORK/master" "$there" "docker pull -q 127.0.0.1:5000/bench:$version"
        remote -S "$WORK/master" -O exit "$there"
        ;;
    *)
        echo "unknown way '$way'" >&2
        exit 2
        ;;
esac
