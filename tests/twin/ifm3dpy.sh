#!/usr/bin/env bash
# Prints the path of a Python that has ifm's own client, ifm3dpy; installs it below the directory of the twins' state first.
set -euo pipefail

state=${O3R_TWIN_STATE:-${XDG_CACHE_HOME:-$HOME/.cache}/o3r-deploy-twin}
python=$state/venv/bin/python
mkdir -p "$state"
exec 9>"$state/venv.lock"
flock 9
if ! "$python" -c 'import ifm3dpy' 2>/dev/null; then
    # A Python without the venv module's pip (Debian's without python3-venv) has none of it: then it is installed.
    python3 -m venv "$state/venv" >&2 2>/dev/null || {
        sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
        $sudo apt-get install -qy python3-venv >/dev/null
        python3 -m venv "$state/venv" >&2
    }
    "$python" -m pip install -q ifm3dpy==1.6.16 >&2
fi
echo "$python"
