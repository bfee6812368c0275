#!/usr/bin/env python3
"""Cuts the power of a twin while docker loads an image, and looks whether a layer that is not whole is ever trusted.

Docker's directory of the twin is an ext4 file system of its own. A cut shuts it down without writing anything more
(EXT4_IOC_SHUTDOWN without flushing the log): what docker did not sync is lost, as on a device that loses its power. Then
the twin is cut off and started, `apply` runs until it succeeds, and all files of the running container are compared with
the image's, independently of o3r-deploy. The cut comes at a random time between the plan and 1.2 times the seconds that an
apply without a cut takes from there. The plan has to name the way that was asked for:
    load    the layers that the VPU lacks, at once
    parts   two layers of more than 32 MiB, one after the other; with a link so slow that each takes 10 s, they arrive in files
    delta   one of 400 files has changed, over a slow link

    tests/powercuts.py --runs 20 --seed 1 [--way load|parts|delta] [--rate BITS] [--between FROM TO]
    tests/powercuts.py --runs 20 --control     # docker load alone
    tests/powercuts.py --runs 8 --cost         # seconds of an apply, with `sync` on the VPU and without it

Needs root, loop devices, and a built target/debug/o3r-deploy. Counts by outcome are printed at the end. Exits with 1 if a
damaged file is trusted, docker does not start, an apply does not converge, or an image is sent in another way.
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
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tarfile
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent
TWIN = PROJECT / "tests/twin/twin.sh"
LINK = PROJECT / "benches/link.py"
DEPLOY = pathlib.Path(os.environ.get("O3R_DEPLOY", PROJECT / "target/debug/o3r-deploy"))
NAME = f"cuts{os.getpid()}"
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
FILES = 150
TRIES = 4

# The files of each new layer: 30 kB on average. The tool divides images into parts of 32 MiB.
WAYS = {"load": [FILES], "parts": [1250, 1250], "delta": [400]}
# Bits a second, 0 without a limit. A delta is chosen where sending the layer would take longer than building it.
RATES = {"load": 0, "parts": 0, "delta": 8_000_000}
# What only a plan of this way says.
SAID = {"parts": "o3r-forget-parts", "delta": "built on the VPU from"}

COST_MEGABYTES = [20, 200]

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
port = {PORT}
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
    """Writes an archive of an image with busybox, and each of these parts in a layer; returns the files with their digests."""
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
    def __init__(self, work, seed, way, rate):
        self.work, self.random, self.way = work, random.Random(seed), way
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
        self.link = None
        self.variables["PORT"] = 22
        if rate:
            self.link = subprocess.Popen(
                [LINK, self.variables["ADDRESS"], "22", str(rate)], text=True, stdout=subprocess.PIPE
            )
            self.variables |= {"ADDRESS": "127.0.0.1", "PORT": int(self.link.stdout.readline())}
        self.mount = output("docker", "volume", "inspect", "-f", "{{.Mountpoint}}", NAME)
        self.arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        self.shared, self.layers = self.part(FILES), []

    def part(self, count):
        """Files of any size from 0 to 60 kB that do not compress."""
        return {f"it's {number}": self.random.randbytes(self.random.randrange(60_000)) for number in range(count)}

    def layers_of_next(self):
        """New layers, or the last one with a changed file where that is sent as a delta."""
        if self.way == "delta" and self.layers:
            self.layers[0][self.random.choice(sorted(self.layers[0]))] = self.random.randbytes(30_000)
            return self.layers
        return [self.part(count) for count in WAYS[self.way]]

    def write(self, version, layers=None):
        """A release whose image has a layer that the last one has, and others."""
        self.layers = layers or self.layers_of_next()
        self.files = image(self.work / "app.tar", version, [self.shared, *self.layers], self.arch)
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

    def apply(self, *words):
        """Starts to apply; returns the process and its output up to the end of the plan."""
        apply = self.deploy("apply", "--yes", *words)
        plan = ""
        for line in apply.stdout:
            plan += line
            if line.startswith("Plan:"):
                break
        return apply, plan

    def is_sent_as_asked(self, plan):
        return [way for way, words in SAID.items() if words in plan] == [way for way in SAID if way == self.way]

    def time_apply(self):
        """Seconds of an apply, of them those after the plan, and of the step that loads the image."""
        start = time.monotonic()
        apply, plan = self.apply("-v")
        planned = time.monotonic()
        rest, _ = apply.communicate(timeout=300)
        if apply.returncode:
            sys.exit(f"an apply without a cut failed:\n{plan}{rest}")
        self.plan = plan
        ended = time.monotonic()
        return ended - start, ended - planned, float(re.search(r"(?:created|updated) image\.\S+ \(([\d.]+) s", rest)[1])

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


# Outcomes after which the twin is of no more use.
STUCK = ["docker does not start", "does not converge", "not sent as asked"]

DIAGNOSE = """cd /var/lib/docker/overlay2
find . -maxdepth 2 \\( -name lower -o -name link \\) -size 0 -exec ls -ld --full-time {} +
docker image ls -aq --no-trunc | sort -u | while read -r id; do
    docker image inspect "$id" >/dev/null 2>&1 || { echo "docker cannot inspect $id"; docker image ls --no-trunc | grep "$id"; }
done
docker ps -a; date; ls -l /home/oem/.o3r-deploy"""


def seconds_uncut(bench):
    """Seconds from the plan of a second release to the end of its apply."""
    bench.write("0.1")
    bench.time_apply()
    bench.write("0.2")
    _, seconds, _ = bench.time_apply()
    if not bench.is_sent_as_asked(bench.plan):
        sys.exit(f"the image is not sent as asked ({bench.way}):\n{bench.plan}")
    return seconds


def cut_once(bench, number, span):
    bench.write(f"1.{number}")
    apply, plan = bench.apply("-v")
    is_as_asked = bench.is_sent_as_asked(plan)
    after = bench.random.uniform(*span)
    if is_as_asked:
        time.sleep(after)
        bench.cut()
    os.killpg(apply.pid, signal.SIGKILL)
    apply.wait()
    if not is_as_asked:
        return "not sent as asked", [plan]
    print(f"cut {after:.2f} s after the plan: ", end="")
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


def control_once(bench, number, span):
    """The same with docker load alone, twice: before the cut, and after it."""
    bench.write(f"1.{number}")

    def load():
        with (bench.work / "app.tar").open("rb") as archive:
            return output(TWIN, "ssh", NAME, "docker load", check=False, stdin=archive)

    load()
    time.sleep(bench.random.uniform(*span))
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


def cost(bench, rounds):
    """Prints the seconds of applies with `sync` on the VPU, alternating with those where it does nothing."""
    print("| image | syncs | applies | apply: median, least, most | step of the image |\n|---|---|---|---|---|")
    version = 0
    for megabytes in COST_MEGABYTES:
        took = {"yes": [], "no": []}
        # The first round is not counted: it fills caches.
        for number in range(rounds + 1):
            for syncs in sorted(took, reverse=number % 2 == 0):
                version += 1
                bench.write(f"2.{version}", [{str(part): bench.random.randbytes(1_000_000) for part in range(megabytes)}])
                if syncs == "no":
                    output(TWIN, "root", NAME, "mount", "--bind", "/bin/true", "/bin/sync")
                os.sync()
                apply, _, step = bench.time_apply()
                if syncs == "no":
                    output(TWIN, "root", NAME, "umount", "/bin/sync")
                if number:
                    took[syncs].append((apply, step))
        medians = []
        for syncs, rows in took.items():
            columns = list(zip(*rows))
            medians.append([statistics.median(column) for column in columns])
            spread = [f"{statistics.median(column):.2f} s, {min(column):.2f}, {max(column):.2f}" for column in columns]
            print(f"| {megabytes} MB | {syncs} | {len(rows)} | {' | '.join(spread)} |", flush=True)
        ratios = [f"{with_syncs / without:.2f}" for with_syncs, without in zip(*medians)]
        print(f"| {megabytes} MB | ratio of the medians | | {' | '.join(ratios)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, default="load", help="how the image is sent")
    parser.add_argument("--rate", type=int, help="bits a second of the link, 0 without a limit")
    parser.add_argument("--between", type=float, nargs=2, metavar=("FROM", "TO"), help="seconds after the plan")
    parser.add_argument("--control", action="store_true", help="docker load alone, without o3r-deploy")
    parser.add_argument("--cost", action="store_true", help="what `sync` costs, without a cut")
    args = parser.parse_args()
    if not DEPLOY.exists():
        sys.exit("powercuts.py: build first: cargo build")
    os.environ.setdefault("O3R_TWIN_STATE", str(pathlib.Path.home() / ".cache/o3r-deploy-powercuts"))
    work = pathlib.Path(tempfile.mkdtemp(prefix="o3r-cuts.", dir=os.environ.get("TMPDIR", "/tmp")))
    counts = collections.Counter()
    bench = None
    try:
        bench = Bench(work, args.seed, args.way, RATES[args.way] if args.rate is None else args.rate)
        if args.cost:
            return cost(bench, args.runs)
        span = (0, 2.5 if args.control else 1.2 * seconds_uncut(bench))
        span = args.between or span
        print(f"cuts between {span[0]:.2f} and {span[1]:.2f} s", flush=True)
        for number in range(args.runs):
            outcome, said = (control_once if args.control else cut_once)(bench, number, span)
            counts[outcome] += 1
            print(f"{number + 1}/{args.runs} {outcome}", flush=True)
            if said:
                print("\n".join(said), flush=True)
            if outcome in STUCK:
                print(output(TWIN, "root", NAME, "sh", "-c", DIAGNOSE, check=False))
                break
    finally:
        output(TWIN, "down", NAME, check=False)
        output("docker", "volume", "rm", NAME, check=False)
        if bench:
            if bench.link:
                bench.link.kill()
            output("losetup", "--detach", bench.loop, check=False)
        shutil.rmtree(work)
    print("\n| outcome | cuts |\n|---|---|")
    for outcome, count in counts.most_common():
        print(f"| {outcome} | {count} |")
    sys.exit(1 if counts["ROTTEN FILES ARE TRUSTED"] or any(counts[outcome] for outcome in STUCK) else 0)


if __name__ == "__main__":
    main()
