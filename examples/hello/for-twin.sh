#!/usr/bin/env bash
# Writes a copy of this example for a running test twin into a directory: its image built for this machine, and
# a [vpu] table that says where the twin is, who it is and how to log in.
#
#   ./for-twin.sh TWIN DIRECTORY
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
[ $# = 2 ] || { echo "usage: for-twin.sh TWIN DIRECTORY" >&2; exit 2; }
directory=$2

variables=$("$project/tests/twin/twin.sh" env "$1")
eval "$variables"
case $(uname -m) in
    x86_64) arch=amd64 ;;
    aarch64) arch=arm64 ;;
    *) echo "for-twin.sh: twins run on x86_64 and aarch64, not on $(uname -m)" >&2; exit 1 ;;
esac

mkdir -p "$directory"
cp "$here/docker-compose.yml" "$here/app.env" "$here/build.sh" "$here/hello.sh" "$directory/"
"$directory/build.sh" "$arch"
{
    cat <<END
#:schema $project/schemas/deploy.schema.json

[vpu]
host = "$ADDRESS"
identity = "$KEY"
host_key = "$HOST_KEY"
serial = "$SERIAL"
arch = "$arch"

END
    sed -n '/^\[release\]/,$p' "$here/deploy.toml"
} >"$directory/deploy.toml"
