"""Watches a twin while an image arrives. Runs in the twin as root; answers lines on stdin:

  start   begins a measurement
  stop    ends it and prints: seconds of CPU, peak bytes of memory, peak bytes of disk

CPU: of the whole twin by its cgroup, docker's work included, without what watching costs.
Memory: proportional set size, summed over the processes that were not there when watching began, but without docker's own (dockerd and
what it starts, containerd, its shims, runc): sshd's sessions, shells, the docker client, a registry, a recipe's container.
Disk: what files take up in docker's temporary directory, /tmp, the user's home and a registry's storage: all that is not an
image of docker's.
"""
import os
import select
import sys

INTERVAL = 0.1      # seconds; what is shorter can be missed
PLACES = ["/var/lib/docker/tmp", "/tmp", "/home/oem", "/var/lib/bench-registry"]
DOCKERS_OWN = {"containerd", "runc", "dockerd"}


def cpu_meter():
    """The path of the twin's counter, and how many of its units make a second."""
    with open("/proc/self/cgroup") as file:
        groups = dict(line.rstrip("\n").split(":", 2)[1:] for line in file)
    for controllers, path in groups.items():
        if "cpuacct" in controllers.split(","):
            return f"/sys/fs/cgroup/cpuacct{path}/cpuacct.usage", 1e9
    return f"/sys/fs/cgroup{groups[''].removesuffix('/init.scope')}/cpu.stat", 1e6


def cpu(meter):
    path, units = meter
    with open(path) as file:
        words = file.read().split()
    own = os.times()
    return int(words[words.index("usage_usec") + 1] if "usage_usec" in words else words[0]) / units - own.user - own.system


def processes():
    """Parent and name of every process."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                text = file.read()
        except OSError:
            continue    # it ended
        found[int(pid)] = int(text[text.rindex(")") + 2:].split()[1]), text[text.index("(") + 1:text.rindex(")")]
    return found


def memory(before):
    now, total = processes(), 0
    for pid, (parent, name) in now.items():
        is_of_docker = name in DOCKERS_OWN or name.startswith("containerd-shim") or now.get(parent, (0, ""))[1] == "dockerd"
        if pid in before or is_of_docker:
            continue
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
        except OSError:
            continue    # it ended
    return total


def disk():
    total, todo = 0, list(PLACES)
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue    # it went meanwhile, or never was
    return total


def main():
    meter, before = cpu_meter(), set(processes())
    print("watching", flush=True)
    at_start, peaks, running = 0.0, (0, 0), False
    while True:
        if running:
            peaks = max(peaks[0], memory(before)), max(peaks[1], disk())
        ready, _, _ = select.select([sys.stdin], [], [], INTERVAL if running else None)
        if not ready:
            continue
        line = sys.stdin.readline()
        if not line:
            return
        running = line.strip() == "start"
        if running:
            at_start, peaks = cpu(meter), (0, 0)
        else:
            print(f"{cpu(meter) - at_start:.3f}", *peaks)
        sys.stdout.flush()


main()
