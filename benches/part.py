#!/usr/bin/env python3
"""Copies a docker archive without its lowest layers, as `docker load` takes it where these are there already.

  part.py ARCHIVE LAYERS PART
"""
import json
import sys
import tarfile


def main(archive, layers, part):
    with tarfile.open(archive) as whole, tarfile.open(part, "w") as tar:
        manifest = json.load(whole.extractfile("manifest.json"))
        left_out = set(manifest[0]["Layers"][:int(layers)])
        for member in whole:
            if member.name not in left_out:
                tar.addfile(member, whole.extractfile(member) if member.isreg() else None)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
