#!/usr/bin/env python3
"""Writes releases of a benchmark's image as docker archives: base, Python, dependencies, application, a layer each.

  image.py DIRECTORY NAME BASE.tar VERSION...   writes DIRECTORY/VERSION.tar, an image named NAME:VERSION; BASE.tar is
                                                a root file system (of docker export)
  image.py --tiny DIRECTORY NAME BUSYBOX VERSION...   a few hundred kilobytes on a static busybox

Versions: 1; 2, in which a tenth of the application's files changed; 3, in which one file of the dependencies changed, a library
that was built again; 4, on a new base: what is above is the same files with new times, as a rebuild makes them.
The files are those of this machine: its Python, libraries and programs. They compress as such files do, to about a third.
Prints the megabytes of each layer, base first, and the bytes of the changed file of the dependencies as gzip.
"""
import gzip
import hashlib
import io
import json
import os
import platform
import random
import sys
import sysconfig
import tarfile
from pathlib import Path

MEGABYTE = 1_000_000
SIZES = {"python": 118 * MEGABYTE, "deps": 275 * MEGABYTE, "app": 10 * MEGABYTE}
TINY = {"python": 200_000, "deps": 600_000, "app": 100_000}
NOT_IN_AN_IMAGE = ("usr/share/doc/", "usr/share/locale/", "usr/share/man/", "usr/share/info/")
BUILT, REBUILT = 1_700_000_000, 1_710_000_000   # times of files


def found(places, budget, largest):
    """Files below the places, in a fixed order, until they make up the budget: (name, contents)."""
    for place in places:
        for directory, names, files in os.walk(place):
            names[:] = sorted(set(names) - {"__pycache__", "site-packages", "dist-packages"})
            for path in (Path(directory, name) for name in sorted(files)):
                if path.is_symlink() or not path.is_file() or not 0 < path.stat().st_size <= min(largest, budget):
                    continue
                try:
                    contents = path.read_bytes()
                except OSError:
                    continue    # not for everybody
                budget -= len(contents)
                yield str(path).lstrip("/"), contents


def layer(path, top, files, time):
    """Writes files below a directory of the image; returns the diff id."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        made = {""}
        for name, contents in files:
            name = f"{top}/{name}"
            for parent in reversed(Path(name).parents[:-1]):
                if str(parent) not in made:
                    made.add(str(parent))
                    member = tarfile.TarInfo(str(parent))
                    member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, time
                    tar.addfile(member)
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(contents), 0o755, time
            tar.addfile(member, io.BytesIO(contents))
    return digest(path)


def base_layer(path, source, tiny, release):
    """Writes the root file system, with a file that names its release."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        if tiny:
            add(tar, "bin/busybox", Path(source).read_bytes(), 0o755)
            for name in ("sh", "cat", "tail", "head", "dd", "tar", "gzip", "printf", "cp", "mkdir", "rm", "sha256sum"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        else:
            with tarfile.open(source) as root:
                for member in root:
                    if not member.name.startswith(NOT_IN_AN_IMAGE) and not member.isdev():
                        tar.addfile(member, root.extractfile(member) if member.isreg() else None)
        add(tar, "etc/release-of-the-base", f"{release}\n".encode(), 0o644)
    return digest(path)


def add(tar, name, contents, mode):
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(contents), mode, BUILT
    tar.addfile(member, io.BytesIO(contents))


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rebuilt(contents):
    """A library as another compiler makes it: changed all over, and as compressible."""
    changed = bytearray(contents)
    for place in range(0, len(changed), 256):
        changed[place] ^= 0x55
    return bytes(changed)


def archive(path, tag, layers):
    """Writes an image of layers: (file, diff id)."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = json.dumps({
        "architecture": machine, "os": "linux", "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": f"layer {n}"} for n, _ in enumerate(layers)],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}" for _, diff_id in layers]},
    }).encode()
    name = hashlib.sha256(config).hexdigest()
    with tarfile.open(path, "w") as tar:
        paths = []
        for file, diff_id in layers:
            member = tar.gettarinfo(file, f"{diff_id}/layer.tar")
            with open(file, "rb") as contents:
                tar.addfile(member, contents)
            paths.append(member.name)
        add(tar, f"{name}.json", config, 0o644)
        manifest = [{"Config": f"{name}.json", "RepoTags": [tag], "Layers": paths}]
        add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)


def main(arguments):
    tiny = arguments[:1] == ["--tiny"]
    work, name, source, *versions = arguments[tiny:]
    sizes = TINY if tiny else SIZES
    largest = 50_000 if tiny else 40 * MEGABYTE
    triplet = f"/usr/lib/{platform.machine()}-linux-gnu"
    library = sysconfig.get_paths()["stdlib"]

    python = list(found([library, "/usr/lib/python3", "/usr/lib/gcc"], sizes["python"], largest))
    deps = list(found([triplet, "/usr/bin", "/usr/lib", "/usr/share"], sizes["deps"], largest))
    app = [file for file in found([library], 3 * sizes["app"], largest) if file[0].endswith(".py")]
    total = 0
    app = [file for file in app if (total := total + len(file[1])) <= sizes["app"]]
    next_app = [(file, contents + b"# changed\n" if n % 10 == 0 else contents) for n, (file, contents) in enumerate(app)]
    wanted = (20_000, 50_000) if tiny else (200_000, 500_000)
    one = next(n for n, (file, contents) in enumerate(deps) if wanted[0] <= len(contents) <= wanted[1])
    next_deps = list(deps)
    next_deps[one] = (deps[one][0], rebuilt(deps[one][1]))

    made = {}

    def once(key, make, *rest):
        if key not in made:
            path = Path(work, f"{key}.layer")
            made[key] = (path, make(path, *rest))
        return made[key]

    for version in versions:
        release, time = (2, REBUILT) if version == "4" else (1, BUILT)
        layers = [
            once(f"base-{release}", base_layer, source, tiny, release),
            once(f"python-{time}", layer, "opt/python", python, time),
            once(f"deps-{version == '3'}-{time}", layer, "opt/deps", next_deps if version == "3" else deps, time),
            once(f"app-{version == '2'}-{time}", layer, "opt/app", next_app if version == "2" else app, time),
        ]
        archive(Path(work, f"{version}.tar"), f"{name}:{version}", layers)
    print(" ".join(f"{file.stat().st_size / MEGABYTE:.1f}" for file, _ in layers))
    print(len(gzip.compress(next_deps[one][1], 6)))
    for path, _ in made.values():
        path.unlink()


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(sys.argv[1:])
