#!/usr/bin/env python3
"""Breaks applies at chosen commands and looks what runs afterwards, with nobody there: the VPU decides alone.

    tests/faults.sh [--runs N] [--seed S] [--only FAULT] [--at COMMAND] [--over STATE]    needs `cargo build` and docker

Each run applies release 1.0.0 to a twin, then starts to apply 1.1.0: two compose projects, two images, a transfer that adds,
changes and removes files, a volume, autostart. A hook in the twin's sshd stops at one command of that apply, before, during
or after it, and one of the FAULTS happens. Without --runs, every command is broken by every fault at every moment; with it,
the seed chooses. The deadline of the watchdog is then set to now, instead of waiting for 120 s. Afterwards the twin is
compared with both manifests. With `--over unrecorded`, the records of 1.0.0 are erased first; with `--over nothing`, 1.1.0 is
the first release, and old means that nothing of it is there:
    old, new   that release is there whole
    mixture    neither is, or no container runs: a failure
    stuck      the VPU did not decide within three minutes: a failure
A foreign container has to run untouched, `status` has to tell what the VPU decided, the next apply has to converge, and
nothing may be left behind in ~/.o3r-deploy. Prints each run, and at the end the counts. Exits with 1 after a failure.
"""

import argparse
import collections
import io
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent
TWIN = PROJECT / "tests/twin/twin.sh"
DEPLOY = pathlib.Path(os.environ.get("O3R_DEPLOY", PROJECT / "target/debug/o3r-deploy"))
NAME = f"faults{os.getpid()}"
DECIDED_WITHIN = 180  # seconds; after a restart, the lock waits up to 120 for the containers of the boot

FAULTS = {
    "kill": "the client is killed (SIGKILL)",
    "cut": "the connection is cut, and the client cannot connect again",
    "freeze": "the client and its connection are stopped (SIGSTOP)",
    "power": "the VPU loses its power, and nobody connects again",
    "fail": "the command fails",
    "hang": "the command hangs, and the client is killed after 2 s",
}
MOMENTS = ["before", "during", "after"]
# Commands that only read, or that run beside the others.
UNCOUNTED = {"", "o3r-identity", "o3r-probe", "o3r-running", "o3r-resolved", "o3r-trees", "o3r-contents", "o3r-cpu-speed"}

HOOK = r"""#!/bin/sh
# Stops at one command of an apply: the one that /run/faults/target names.
cmd=$SSH_ORIGINAL_COMMAND
dir=/run/faults
[ -e $dir/target ] && [ -n "$cmd" ] || exec "$SHELL" -c "${cmd:-exec $SHELL -l}"
label=$(printf '%s' "$cmd" | tr '\n' ' ' | grep -o '0047 o3r-[a-z-]*' | tail -n 1 | cut -d' ' -f2)
until mkdir $dir/lock 2>/dev/null; do sleep 0.01; done
echo "$label" >>$dir/log
number=$(grep -cx -- "$label" $dir/log)
rmdir $dir/lock
read -r target wanted moment fault <$dir/target
[ "$label $number" = "$target $wanted" ] || exec "$SHELL" -c "$cmd"
stop() { : >$dir/reached; while [ ! -e $dir/go ]; do sleep 0.05; done; }
case $moment in
before) stop; [ "$fault" != fail ] || exit 1; exec "$SHELL" -c "$cmd" ;;
during) exec 3<&0; "$SHELL" -c "$cmd" <&3 3<&- & stop; wait $! ;;
after) "$SHELL" -c "$cmd"; code=$?; stop; [ "$fault" != fail ] || exit 1; exit $code ;;
esac
"""

# Removes what no container uses. `docker image prune --all` would also remove names of images that are used.
UNUSED = """
docker ps -aq | xargs docker inspect -f '{{.Image}}' | sort -u >/tmp/used
docker image ls -q --no-trunc | sort -u | grep -vxF -f /tmp/used | xargs -r docker image rm --force
docker volume rm extra
rmdir extra
"""

# The record alone, which also has what containers were started from.
UNRECORDED = "rm -rf .o3r-deploy"

NOTHING = """
for project in hello tool; do
    docker ps -aq --filter label=com.docker.compose.project=$project | xargs -r docker rm -f
    docker network rm ${project}_default
    systemctl --user disable oem-dc@$project
    rm -rf /usr/share/oem/docker/compose/$project
done
docker volume rm share
rm -rf share config .o3r-deploy
"""

# What an apply of the first release changes in its switch phase.
SHOWN = """
docker ps -a --format '{{.Names}}' | sort
docker network ls --format '{{.Name}}' | sort
docker image ls --format '{{.Repository}}:{{.Tag}}' | grep -v ^o3r-deploy/ | sort
ls -AR /usr/share/oem/docker/compose config
systemctl --user list-unit-files --state enabled --no-legend 'oem-dc*'
"""

TOOL = """version: "2.4"
services:
  tool:
    image: tool:{version}
    volumes: ["~/config:/config"]
    restart: unless-stopped
"""

MORE = """
[[images]]
name = "tool:${{release.version}}"
rootfs = {{ file = "dist/tool.tar", cmd = ["/bin/hello"] }}

[[transfers]]
src = "config/"
dst = "~/config"
delete = true

[[compose]]
name = "tool"
file = "tool.yml"
health = {{ settle = "1s" }}
autostart = {autostart}
{volume}"""

VOLUME = """
[[directories]]
path = "~/extra"

[[volumes]]
name = "extra"
path = "~/extra"
"""


def run(*command, check=True, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | options
    return subprocess.run([str(word) for word in command], check=check, **options)


def twin(*words, **options):
    return run(TWIN, *words, **options)


def as_root(script, **options):
    return twin("root", NAME, "sh", "-c", script, **options).stdout


def as_oem(script, **options):
    return twin("ssh", NAME, script, stderr=subprocess.DEVNULL, **options).stdout


def with_file(source, target, name, content):
    """Copies an archive, with one more file."""
    shutil.copy(source, target)
    with tarfile.open(target, "a") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def write_release(work, version):
    folder = work / version
    run(PROJECT / "examples/hello/for-twin.sh", NAME, folder)
    base = folder / "dist/base.tar"
    (folder / "dist/hello.tar").rename(base)
    content = random.Random(version).randbytes(300_000)
    with_file(base, folder / "dist/hello.tar", "hello-data", content)
    with_file(base, folder / "dist/tool.tar", "tool-data", content[::-1])
    is_new = version == "1.1.0"
    manifest = (folder / "deploy.toml").read_text()
    manifest = manifest.replace('version = "1.0.0"', f'version = "{version}"', 1)
    manifest = manifest.replace('state = "running"', 'health = { settle = "1s" }\nautostart = true', 1)
    more = MORE.format(autostart=str(is_new).lower(), volume=VOLUME if is_new else "")
    (folder / "deploy.toml").write_text(manifest + more)
    compose = folder / "docker-compose.yml"
    compose.write_text(compose.read_text().replace("hello:1.0.0", f"hello:{version}"))
    (folder / "tool.yml").write_text(TOOL.format(version=version).replace("~", "/home/oem"))
    with (folder / "app.env").open("a") as env:
        env.write(f"VERSION={version}\n")
    config = folder / "config"
    config.mkdir()
    (config / "same").write_text("same\n")
    (config / "changed").write_text(version)
    (config / ("added" if is_new else "removed")).write_text("x" * 10_000)


class Bench:
    """A twin, and the two releases."""

    def __init__(self, work):
        self.work = work
        for version in ("1.0.0", "1.1.0"):
            write_release(work, version)
        as_root("cat >/usr/local/bin/fault-point && chmod +x /usr/local/bin/fault-point", input=HOOK)
        as_root('echo "ForceCommand /usr/local/bin/fault-point" >/etc/ssh/sshd_config.d/faults.conf && '
                'grep -q "^Include" /etc/ssh/sshd_config || cat /etc/ssh/sshd_config.d/faults.conf >>/etc/ssh/sshd_config; '
                "systemctl restart ssh")
        self.apply("1.0.0")
        as_oem("docker run -d --name foreign --restart unless-stopped hello:1.0.0 && echo theirs >foreign.txt")
        self.foreign = self.look_at_foreign()

    def deploy(self, version, *words, **options):
        return run(DEPLOY, "-f", self.work / version / "deploy.toml", *words, **options)

    def apply(self, version):
        ended = self.deploy(version, "-q", "apply", "--yes", check=False)
        if ended.returncode:
            raise Failure(f"the apply of {version} ended with {ended.returncode}:\n{ended.stdout}")

    def missing(self, version):
        """The steps that would make the twin the release, but for records and remains, with their causes."""
        ended = self.deploy(version, "plan", "--format", "json", check=False, stderr=subprocess.DEVNULL)
        plan = json.loads(ended.stdout)
        if "steps" not in plan:
            raise Failure(f"no plan of {version}: {ended.stdout}")
        wanted = lambda step: step["phase"] == "switch" or step["phase"] == "stage" and step["action"] != "remove"
        steps = [step for step in plan["steps"] if wanted(step)]
        return [[step["address"], step["cause"], *step.get("further_causes", [])] for step in steps] + plan["blocked"]

    def reset(self, over):
        """Brings the twin to the state that the apply starts from."""
        if over == "nothing":
            as_oem(NOTHING, check=False)
        else:
            self.apply("1.0.0")
        # What earlier runs brought: nothing uses it.
        as_oem(UNUSED, check=False)
        if over == "unrecorded":
            as_oem(UNRECORDED)
        self.before = as_oem(SHOWN, check=False)

    def is_old(self, over):
        """Whether the state before the apply is there whole; else what is not."""
        if over == "nothing":
            now = as_oem(SHOWN, check=False)
            return [] if now == self.before else [now]
        missing = self.missing("1.0.0")
        if over == "unrecorded":
            erased = "no record of what they were started from"
            missing = [one for one in missing if len(one) > 2 or one[1].get("found") != erased]
        return missing

    def look_at_foreign(self):
        return as_oem("docker inspect -f '{{.Id}} {{.State.Running}}' foreign; cat foreign.txt", check=False)

    def leftovers(self):
        """The files in ~/.o3r-deploy, but for those whose number grows with the applies."""
        found = as_oem("cd .o3r-deploy && find . -type f -o -type d | grep -vE '^./(generations/|store/|attempts/|watchdog)'")
        files = set(found.split())
        armed = as_oem("ls .o3r-deploy/watchdog/hello 2>/dev/null | grep -E 'armed|reverting|deadline'", check=False)
        return files | set(armed.split())

    def arm(self, target):
        as_root("rm -rf /run/faults && mkdir -m 777 /run/faults" + (f" && echo '{target}' >/run/faults/target" if target else ""))

    def start(self, log):
        """Starts to apply 1.1.0."""
        with open(log, "w") as out:
            command = [DEPLOY, "-f", self.work / "1.1.0/deploy.toml", "apply", "--yes"]
            return subprocess.Popen([str(word) for word in command], stdout=out, stderr=out, start_new_session=True)

    def commands(self):
        """The commands of an undisturbed apply, as (name, number of its kind)."""
        self.arm("none 1 before none")
        if self.start(self.work / "log").wait():
            raise Failure((self.work / "log").read_text())
        names = as_root("cat /run/faults/log").splitlines()
        counts = collections.Counter()
        commands = []
        for name in names:
            counts[name] += 1
            if name not in UNCOUNTED:
                commands.append((name, counts[name]))
        return commands


class Failure(Exception):
    """Something that is not as promised."""


def reached(client):
    """Waits until the hook stopped; whether it did before the apply ended."""
    while client.poll() is None:
        if as_root("ls /run/faults/reached 2>/dev/null", check=False):
            return True
        time.sleep(0.05)
    return False


def inject(fault, client):
    group = client.pid
    if fault == "kill":
        os.kill(client.pid, signal.SIGKILL)
    elif fault == "cut":
        as_root("systemctl stop ssh; pkill -KILL sshd", check=False)
        time.sleep(1)
        os.killpg(group, signal.SIGKILL)
        as_root("systemctl start ssh")
    elif fault == "freeze":
        os.killpg(group, signal.SIGSTOP)
    elif fault == "power":
        os.killpg(group, signal.SIGKILL)
        twin("power-cut", NAME)
        return
    elif fault == "hang":
        time.sleep(2)
        os.killpg(group, signal.SIGKILL)
        as_root("rm -f /run/faults/target")
        return
    as_root("touch /run/faults/go; rm -f /run/faults/target")


def decided():
    """Waits until the twin answers and no watchdog is armed; its deadline is over at once."""
    script = r"""for f in .o3r-deploy/watchdog/hello/deadline; do [ ! -f "$f" ] || printf "%10d %6d\n" 1 120 1<>"$f"; done
        ls .o3r-deploy/watchdog/hello/*.armed .o3r-deploy/watchdog/hello/*.reverting 2>/dev/null; docker version >/dev/null && echo up"""
    end = time.monotonic() + DECIDED_WITHIN
    while time.monotonic() < end:
        if as_oem(script, check=False).strip() == "up":
            return True
        time.sleep(1)
    return False


def break_once(bench, over, command, moment, fault, clean):
    """Returns the outcome of one fault, and what is wrong with it."""
    bench.reset(over)
    name, number = command
    bench.arm(f"{name} {number} {moment} {fault}")
    log = bench.work / "log"
    client = bench.start(log)
    wrong = []
    if not reached(client):
        return "not reached", [log.read_text()]
    began = time.monotonic()
    inject(fault, client)
    if fault == "fail":
        client.wait()
    outcome = "stuck"
    if decided():
        missing = bench.is_old(over)
        outcome = "old" if not missing else "new" if not bench.missing("1.1.0") else "mixture"
        if outcome == "mixture":
            wrong.append(json.dumps(missing))
            wrong.append(as_root("journalctl -b --no-pager | grep -E 'oem-dc|o3r|compose|watchdog' | tail -30", check=False))
    seconds = time.monotonic() - began
    try:
        os.killpg(client.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    client.wait()
    if fault == "hang":
        as_root("touch /run/faults/go", check=False)
    verdict = as_oem("ls .o3r-deploy/watchdog/hello/verdict 2>/dev/null", check=False)
    status = json.loads(bench.deploy("1.0.0", "status", "--format", "json", stderr=subprocess.DEVNULL).stdout)
    if verdict and not status["watchdogs"]:
        wrong.append("status does not tell the verdict")
    if bench.look_at_foreign() != bench.foreign:
        wrong.append(f"foreign: {bench.look_at_foreign()}")
    bench.apply("1.1.0" if outcome == "new" else "1.0.0")
    # The lock is free a moment later.
    end = time.monotonic() + 10
    while (left := bench.leftovers() - clean) and time.monotonic() < end:
        time.sleep(0.5)
    if left:
        wrong.append(f"left behind: {sorted(left)}")
    if outcome in ("stuck", "mixture"):
        wrong.append(log.read_text())
    print(f"  decided after {seconds:.0f} s", end="")
    return outcome, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, help="how many faults, chosen by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--skip", type=int, default=0, help="how many of these to skip, to resume a run")
    parser.add_argument("--only", choices=FAULTS, help="only this fault")
    parser.add_argument("--at", help="only at commands of this name")
    parser.add_argument("--moment", choices=MOMENTS, help="only at this moment of the command")
    parser.add_argument("--over", choices=["release", "unrecorded", "nothing"], default="release", help="what was there before")
    args = parser.parse_args()
    if not DEPLOY.exists():
        sys.exit("faults.sh: build first: cargo build")
    os.environ.setdefault("O3R_TWIN_STATE", str(pathlib.Path.home() / ".cache/o3r-deploy-faults"))
    work = pathlib.Path(tempfile.mkdtemp())
    counts = collections.Counter()
    failed = 0
    try:
        twin("up", NAME)
        bench = Bench(work)
        bench.reset(args.over)
        commands = bench.commands()
        bench.apply("1.0.0")
        clean = bench.leftovers()
        bench.apply("1.1.0")
        clean |= bench.leftovers()
        print(f"{len(commands)} commands: {' '.join(name for name, _ in commands)}", flush=True)
        schedule = [
            (command, moment, fault)
            for command in commands
            for fault in FAULTS
            for moment in MOMENTS
            if not (fault == "fail" and moment == "during")
            # The lock is held to the end.
            if not (command[0] == "o3r-lock" and moment == "after")
            if args.only in (None, fault) and args.at in (None, command[0]) and args.moment in (None, moment)
        ]
        if args.runs is not None:
            schedule = random.Random(args.seed).sample(schedule, min(args.runs, len(schedule)))
        for number, (command, moment, fault) in enumerate(schedule, 1):
            if number <= args.skip:
                continue
            print(f"{number}/{len(schedule)} {fault} {moment} {command[0]} {command[1]}:", end="", flush=True)
            try:
                outcome, wrong = break_once(bench, args.over, command, moment, fault, clean)
            except Failure as error:
                outcome, wrong = "does not converge", [str(error)]
            print(f"  {outcome}", flush=True)
            counts[fault, outcome] += 1
            if wrong:
                failed += 1
                print("\n".join(wrong), flush=True)
                print(as_oem("docker ps -a; ls -R .o3r-deploy/watchdog; cat .o3r-deploy/watchdog/hello/verdict", check=False))
    finally:
        twin("down", NAME, check=False)
        shutil.rmtree(work)
    outcomes = sorted({outcome for _, outcome in counts})
    print("\n| fault | " + " | ".join(outcomes) + " |\n|---|" + "---|" * len(outcomes))
    for fault, description in FAULTS.items():
        cells = [str(counts[fault, outcome]) for outcome in outcomes]
        print(f"| {description} | " + " | ".join(cells) + " |")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
