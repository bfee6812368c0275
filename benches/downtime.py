#!/usr/bin/env python3
"""Measures for how long a service does not answer while a release that changes one container is deployed.

    benches/downtime.py [--rounds N]    needs `cargo build --release` and docker

A program in a twin asks the example `hello` every 5 ms over HTTP. In each round, a line of its env_file changes in three ways,
one after the other: `docker-compose up -d` on the twin alone, `docker restart` (the least that a container needs, which
does not apply the change), and `o3r-deploy apply`. The first round is not counted. Prints the median and the longest gap
between two answers for each, and the difference of the first and the last.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

PROJECT = pathlib.Path(__file__).resolve().parent.parent
TWIN = PROJECT / "tests/twin/twin.sh"
DEPLOY = pathlib.Path(os.environ.get("O3R_DEPLOY", PROJECT / "target/release/o3r-deploy"))
NAME = f"downtime{os.getpid()}"
DIRECTORY = "/usr/share/oem/docker/compose/hello"

# Prints the longest time between two answers, in milliseconds, when its input ends.
ASK = r"""
import socket, sys, threading, time
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
last, longest = None, 0
while not ended.is_set():
    try:
        with socket.create_connection(("127.0.0.1", 8000), timeout=1) as peer:
            peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answers = peer.recv(12).endswith(b"200")
    except OSError:
        answers = False
    now = time.monotonic()
    if answers:
        longest = max(longest, now - (last or now))
        last = now
    time.sleep(0.005)
print(round(longest * 1000))
"""


def run(*command, **options):
    options = {"check": True, "stdout": subprocess.PIPE, "text": True} | options
    return subprocess.run([str(word) for word in command], **options)


def gap(deploy):
    """Returns how many milliseconds the service did not answer during a deployment."""
    command = [TWIN, "root", NAME, "python3", "-c", ASK]
    asks = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        run(TWIN, "ssh", NAME, "sleep 1")
        deploy()
        run(TWIN, "ssh", NAME, "sleep 1")
    finally:
        said, _ = asks.communicate("")
    return int(said)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    if not DEPLOY.exists():
        raise SystemExit("downtime.py: build first: cargo build --release")
    os.environ.setdefault("O3R_TWIN_STATE", str(pathlib.Path.home() / ".cache/o3r-deploy-bench"))
    work = pathlib.Path(tempfile.mkdtemp())
    run(TWIN, "up", NAME)
    try:
        run(PROJECT / "examples/hello/for-twin.sh", NAME, work)
        apply = lambda: run(DEPLOY, "-q", "-f", work / "deploy.toml", "apply", "--yes")
        apply()

        def compose(number):
            run(TWIN, "ssh", NAME, f"cd {DIRECTORY} && echo BY_COMPOSE={number} >>app.env && docker-compose up -d 2>&1")

        def restart(_):
            run(TWIN, "ssh", NAME, "docker restart hello_web_1")

        def deploy(number):
            with (work / "app.env").open("a") as env:
                env.write(f"BY_APPLY={number}\n")
            apply()

        ways = {"docker-compose up -d": compose, "docker restart": restart, "o3r-deploy apply": deploy}
        gaps = {way: [] for way in ways}
        for number in range(args.rounds):
            for way, change in ways.items():
                milliseconds = gap(lambda: change(number))
                if number:
                    gaps[way].append(milliseconds)
    finally:
        run(TWIN, "down", NAME, check=False)
        shutil.rmtree(work)
    print("| way | median | longest |\n|---|---|---|")
    for way, all_gaps in gaps.items():
        print(f"| `{way}` | {statistics.median(all_gaps) / 1000:.2f} s | {max(all_gaps) / 1000:.2f} s |")
    more = statistics.median(gaps["o3r-deploy apply"]) - statistics.median(gaps["docker-compose up -d"])
    print(f"apply is down {more / 1000:+.2f} s longer than docker-compose up -d alone ({args.rounds - 1} rounds)")


if __name__ == "__main__":
    main()
