#!/usr/bin/env python3
"""Cuts the power of a twin while docker loads an image, and looks whether a layer that is not whole is ever trusted.

Docker's directory of the twin is an ext4 file system of its own. A cut shuts it down without writing anything more
(EXT4_IOC_SHUTDOWN without flushing the log): what docker did not sync is lost, as on a device that loses its power. Then
the twin is cut off and started, `apply` runs until it succeeds, and all files of the running container are compared with
the image's, independently of o3r-deploy.

    tests/powercuts.py --runs 20 --seed 1
    tests/powercuts.py --runs 20 --control     # docker load alone

Needs root, loop devices, and a built target/debug/o3r-deploy. Counts by outcome are printed at the end.
"""

import argparse
import collections
import fcntl
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent
TWIN = PROJECT / "tests/twin/twin.sh"
DEPLOY = pathlib.Path(os.environ.get("O3R_DEPLOY", PROJECT / "target/debug/o3r-deploy"))
NAME = f"cuts{os.getpid()}"
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
FILES = 150
TRIES = 4

COMPOSE = """version: "2.4"
services:
  app:
    image: app:{version}
    command: sleep 100000
    stop_signal: SIGKILL
    restart: unless-stopped
"""

MANIFEST = """[release]
name = "cuts"
version = "{version}"

[vpu]
host = "{ADDRESS}"
identity = "{KEY}"
host_key = "{HOST_KEY}"
arch = "{arch}"

[[images]]
name = "app:{version}"
archive = "app.tar"

[[compose]]
name = "app"
health = {{ settle = "1s" }}

[apply]
keep_releases = 1
"""


def output(*command, check=True, **more):
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True, check=False, **more)
    if check and done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def layer(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size, member.mode = len(content), 0o755
                tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def image(path, version, contents, arch):
    """Writes an archive of an image with busybox, and these files in two layers; returns the files with their digests."""
    busybox = pathlib.Path(shutil.which("busybox")).read_bytes()
    base = {"bin/busybox": busybox}
    base.update({f"bin/{name}": "busybox" for name in ("sh", "sleep", "find", "sha256sum", "xargs")})
    layers = [layer(base)] + [
        layer({f"files/{number}/{name}": content for name, content in part.items()})
        for number, part in enumerate(contents)
    ]
    diff_ids = ["sha256:" + hashlib.sha256(bytes_).hexdigest() for bytes_ in layers]
    config = json.dumps(
        {"architecture": arch, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    ).encode()
    members = {f"{number}/layer.tar": bytes_ for number, bytes_ in enumerate(layers)}
    manifest = [{"Config": "config.json", "RepoTags": [f"app:{version}"], "Layers": list(members)}]
    members |= {"config.json": config, "manifest.json": json.dumps(manifest).encode()}
    path.write_bytes(layer(members))
    return {
        f"files/{number}/{name}": hashlib.sha256(content).hexdigest()
        for number, part in enumerate(contents)
        for name, content in part.items()
    }


class Bench:
    def __init__(self, work, seed):
        self.work, self.random = work, random.Random(seed)
        disk = work / "disk"
        with disk.open("wb") as file:
            file.truncate(2 << 30)
        output("mkfs.ext4", "-q", disk)
        self.loop = output("losetup", "--find", "--show", disk)
        output("docker", "volume", "create", "-o", "type=ext4", "-o", f"device={self.loop}", NAME)
        os.environ["O3R_TWIN_DOCKER"] = NAME
        self.variables = dict(
            line.split("=", 1) for line in output(TWIN, "up", NAME).replace("'", "").splitlines() if "=" in line
        )
        self.mount = output("docker", "volume", "inspect", "-f", "{{.Mountpoint}}", NAME)
        self.arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        self.shared = self.part(FILES)

    def part(self, count):
        """Files of any size from 0 to 60 kB that do not compress."""
        return {f"it's {number}": self.random.randbytes(self.random.randrange(60_000)) for number in range(count)}

    def write(self, version):
        """A release whose image has a layer that the last one has, and a new one."""
        self.files = image(self.work / "app.tar", version, [self.shared, self.part(FILES)], self.arch)
        (self.work / "docker-compose.yml").write_text(COMPOSE.format(version=version))
        text = MANIFEST.format(version=version, arch=self.arch, **self.variables)
        (self.work / "deploy.toml").write_text(text)

    def deploy(self, *words):
        environment = dict(os.environ, HOME=str(self.work), XDG_CACHE_HOME=str(self.work / "cache"))
        return subprocess.Popen(
            [DEPLOY, *words],
            cwd=self.work,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def cut(self):
        """What a loss of power leaves of docker's directory; nothing in the twin runs after that."""
        container = output("docker", "ps", "-q", "--filter", f"volume={NAME}")
        init = int(output("docker", "inspect", "-f", "{{.State.Pid}}", container))
        directory = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
            os.kill(init, signal.SIGKILL)
        finally:
            os.close(directory)

    def rotten(self):
        """The files of the running container that are not as in the image; None if it does not run."""
        script = "cd / && find files -type f -exec sha256sum {} +"
        said = output(TWIN, "ssh", NAME, f"docker exec app_app_1 sh -c '{script}'", check=False)
        found = dict(reversed(line.split("  ", 1)) for line in said.splitlines() if "  " in line)
        if not found:
            return None
        return sorted(name for name, digest in self.files.items() if found.get(name) != digest)


DIAGNOSE = """cd /var/lib/docker/overlay2
find . -maxdepth 2 \\( -name lower -o -name link \\) -size 0 -exec ls -ld --full-time {} +
docker image ls -aq --no-trunc | sort -u | while read -r id; do
    docker image inspect "$id" >/dev/null 2>&1 || { echo "docker cannot inspect $id"; docker image ls --no-trunc | grep "$id"; }
done
docker ps -a; date; ls -l /home/oem/.o3r-deploy"""


def cut_once(bench, number):
    bench.write(f"1.{number}")
    apply = bench.deploy("apply", "--yes")
    lines = []
    for line in apply.stdout:
        lines.append(line)
        if line.startswith("Plan:"):
            break
    time.sleep(bench.random.uniform(0, 2.5))
    bench.cut()
    os.killpg(apply.pid, signal.SIGKILL)
    apply.wait()
    output(TWIN, "power-cut", NAME, check=False)
    if not output(TWIN, "ssh", NAME, "docker version -f '{{.Server.Version}}'", check=False):
        return "docker does not start", []
    said = []
    for attempt in range(1, TRIES + 1):
        apply = bench.deploy("apply", "--yes")
        text, _ = apply.communicate(timeout=300)
        said.append(text)
        if apply.returncode == 0:
            break
    else:
        return "does not converge", said
    doubted = "in doubt after a power cut" in "".join(said)
    repaired = " -> as in its source" in "".join(said)
    rotten = bench.rotten()
    if rotten is None or rotten:
        return "ROTTEN FILES ARE TRUSTED", [str(rotten), *said]
    outcome = "damaged, found and repaired" if repaired else "whole, compared" if doubted else "whole"
    return outcome, said if attempt > 2 else []


def control_once(bench, number):
    """The same with docker load alone, twice: before the cut, and after it."""
    bench.write(f"1.{number}")

    def load():
        with (bench.work / "app.tar").open("rb") as archive:
            return output(TWIN, "ssh", NAME, "docker load", check=False, stdin=archive)

    load()
    time.sleep(bench.random.uniform(0, 2.5))
    bench.cut()
    output(TWIN, "power-cut", NAME, check=False)
    if not output(TWIN, "ssh", NAME, "docker version -f '{{.Server.Version}}'", check=False):
        return "docker does not start", []
    said = load()
    run = f"docker rm -f app_app_1; docker run -d --name app_app_1 app:1.{number} sleep 1000 2>&1; docker image ls"
    said += output(TWIN, "ssh", NAME, run, check=False)
    rotten = bench.rotten()
    if rotten is None:
        return "the image cannot be run", [said]
    return (f"rotten files are trusted ({len(rotten)} of {len(bench.files)})" if rotten else "whole"), []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control", action="store_true", help="docker load alone, without o3r-deploy")
    args = parser.parse_args()
    if not DEPLOY.exists():
        sys.exit("powercuts.py: build first: cargo build")
    os.environ.setdefault("O3R_TWIN_STATE", str(pathlib.Path.home() / ".cache/o3r-deploy-powercuts"))
    work = pathlib.Path(tempfile.mkdtemp(prefix="o3r-cuts.", dir=os.environ.get("TMPDIR", "/tmp")))
    counts = collections.Counter()
    bench = None
    try:
        bench = Bench(work, args.seed)
        for number in range(args.runs):
            outcome, said = (control_once if args.control else cut_once)(bench, number)
            counts[outcome] += 1
            print(f"{number + 1}/{args.runs} {outcome}", flush=True)
            if said:
                print("\n".join(said), flush=True)
            if outcome in ("docker does not start", "does not converge"):
                print(output(TWIN, "root", NAME, "sh", "-c", DIAGNOSE, check=False))
                break
    finally:
        output(TWIN, "down", NAME, check=False)
        output("docker", "volume", "rm", NAME, check=False)
        if bench:
            output("losetup", "--detach", bench.loop, check=False)
        shutil.rmtree(work)
    print("\n| outcome | cuts |\n|---|---|")
    for outcome, count in counts.most_common():
        print(f"| {outcome} | {count} |")
    sys.exit(1 if counts["ROTTEN FILES ARE TRUSTED"] or counts["does not converge"] else 0)


if __name__ == "__main__":
    main()
