#!/usr/bin/env python3
"""Runs a command and prints what it took: seconds, seconds of CPU, peak bytes of memory, bytes up and down the link.

  measure.py COUNTS COMMAND...      COUNTS: the file that link.py keeps

CPU: of the command and all that came of it, also where that outlived it, and of this machine's docker engine meanwhile (it does the
work of `docker save` and `docker push`). Memory: resident, of the largest single process of the command.
The command's output goes to stderr. Exits as the command does.
"""
import ctypes
import os
import resource
import signal
import struct
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
LINGER = 5      # seconds for what the command left behind
ENGINE = "/var/run/docker.pid"


def engine():
    """Seconds of CPU that the docker engine has used so far; 0 where that cannot be told."""
    try:
        with open(ENGINE) as file, open(f"/proc/{int(file.read())}/stat") as stat:
            text = stat.read()
    except (OSError, ValueError):
        return 0.0
    return sum(map(int, text[text.rindex(")") + 2:].split()[11:15])) / os.sysconf("SC_CLK_TCK")


def passed(path):
    with open(path, "rb") as file:
        return struct.unpack("=QQ", file.read(16))


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]


def reap():
    """Waits for what the command left behind; after a while, ends it."""
    end = time.monotonic() + LINGER
    while left := children():
        if time.monotonic() > end:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)


def main(counts, *command):
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before, engine_before = passed(counts), engine()
    start = time.monotonic()
    # Its own group, so that it can be ended as a whole.
    child = subprocess.Popen(command, stdout=sys.stderr, stdin=subprocess.DEVNULL, start_new_session=True)

    def end(*_):
        os.killpg(child.pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    code = child.wait()
    seconds = time.monotonic() - start
    reap()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime + engine() - engine_before
    up, down = (now - then for now, then in zip(passed(counts), before))
    print(f"{seconds:.3f} {cpu:.3f} {used.ru_maxrss * 1024} {up} {down}")
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
