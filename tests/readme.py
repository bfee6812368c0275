#!/usr/bin/env python3
"""Runs the sessions in the README and in docs/ on a test twin and compares what they print; with --update, writes
the documents that differ, with --rewrite all of them, unless a command between the sessions fails.

Blocks marked `console,ignore` are run in their order, in a copy of examples/hello for the twin; so are comments `<!-- twin: COMMAND -->`, unseen. Sizes, times, digests and
keys may differ. The twin's address and serial number are shown as those of a VPU.
"""

import difflib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PROJECT = pathlib.Path(__file__).resolve().parent.parent
# Each has a twin and a folder of its own.
DOCUMENTS = [PROJECT / name for name in ("README.md", "docs/getting-started.md", "docs/host-keys.md")]
TWIN = PROJECT / "tests/twin/twin.sh"
NAME = f"readme{os.getpid()}"
TIMEOUT = 300  # seconds for one command

# What may differ from run to run, and what stands for it in the comparison.
VARIES = [
    (r"\d+(\.\d+)? ([KMG]i)?B(/s)?\b", "SIZE"),
    (r"\b\d+ bytes", "SIZE"),
    (r"\(\d+\.\d s", "(TIME"),
    (r"down (for )?\d+\.\d s", "down TIME"),
    (r" in \d+\.\d s", " in TIME"),
    (r"\bafter \d+ s\b", "after TIME"),
    (r"\b(sha256:)?[0-9a-f]{12,64}(?=\b|_)", "DIGEST"),  # `_`: a container that was renamed is ID_NAME
    (r"SHA256:[A-Za-z0-9+/]+", "FINGERPRINT"),
    (r"ssh-ed25519 AAAA[A-Za-z0-9+/=]+", "KEY"),
    (r"\d{4}-\d\d-\d\dT\d\d[-:]\d\d[-:]\d\dZ", "DATE"),
    (r"\b(up|for) \d+ (s|min \d\d s|h \d\d min|d \d\d h)", "AGE"),
    (r"\byou@\S+", "YOU"),
    (r"\b(amd64|arm64)\b", "ARCH"),
    (r"\bdocker \d[\w.+~-]*", "docker VERSION"),
    # A container that docker restarts again and again is looked at once a second.
    (r"was\s+restarted\s+\d+\s+times\s+in\s+\d+\s+s\b", "RESTARTS"),
    # What a container says at each start, as often as it was started again.
    (r"(?m)^( *│ .*)\n(?:\1\n)+", r"\1\n"),
]


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def shape(text):
    """The text without what varies and without line ends' spaces."""
    for pattern, stands_for in VARIES:
        text = re.sub(pattern, stands_for, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def same(one, other):
    """Whether two texts say the same; lines with long paths may break elsewhere."""
    return shape(one).replace("│", " ").split() == shape(other).replace("│", " ").split()


class Session:
    def __init__(self, work):
        work.mkdir()
        self.work = work
        variables = output(TWIN, "up", NAME)
        self.twin = dict(re.findall(r"^(\w+)='?(.*?)'?$", variables, re.M))
        subprocess.run([PROJECT / "examples/hello/for-twin.sh", NAME, work], check=True)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target"))
        self.environment = dict(
            os.environ,
            PATH=f"{target.resolve() / 'debug'}:{os.environ['PATH']}",
            HOME=str(work / "home"),
            O3R_TWIN_STATE=str(pathlib.Path(self.twin["KEY"]).parent),
            NO_COLOR="1",
            LC_ALL="C.UTF-8",
            USER="you",
            IFM3D_IP=self.twin["ADDRESS"],
        )
        (work / "home").mkdir()

    def run(self, command):
        """What a command says on stdout and stderr, as the README shows it, and its exit code."""
        here = command.replace("192.168.0.69", self.twin["ADDRESS"]).replace("000018988497", self.twin["SERIAL"])
        # Logging in as a reader would, but to the twin; o3r-deploy has its own ssh.
        script = f'ssh() {{ "{TWIN}" ssh {NAME} "${{@:2}}"; }}\n{here}\n'
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        text = done.stdout.replace(self.twin["ADDRESS"], "192.168.0.69").replace(self.twin["SERIAL"], "000018988497")
        text = text.replace(str(self.work / "home"), "/home/you")
        return text.rstrip("\n"), done.returncode

    def transcript(self, block):
        """The commands of a block with what they say now."""
        parts = []
        for line in block.splitlines():
            if line.startswith("$ "):
                text, code = self.run(line[2:])
                part = [line] + ([f"? {code}"] if code else []) + ([text] if text else [])
                parts.append("\n".join(part))
        return "\n\n".join(parts)


def main():
    mode = sys.argv[1] if sys.argv[1:] else ""
    if mode not in ("", "--update", "--rewrite") or sys.argv[2:]:
        sys.exit("usage: readme.py [--update | --rewrite]")
    work = pathlib.Path(tempfile.mkdtemp(prefix="o3r-readme."))
    passed = failed = 0
    # Engine and image are there before the twin is, so that what they say is not lost in it.
    subprocess.run([TWIN, "build", "fw1.4.30"], check=True)
    try:
        session = None

        def check(match):
            nonlocal passed, failed
            hidden, block = match.group("hidden"), match.group("block")
            if hidden is not None:
                said, code = session.run(hidden)
                if code:
                    failed += 1
                    print(f"FAILED  {hidden}: exit code {code}\n{said}")
                return match.group(0)
            found = session.transcript(block)
            first = block.splitlines()[0]
            if same(found, block):
                passed += 1
                print(f"ok      {first}", flush=True)
            elif mode:
                passed += 1
                differing.add(document)
                print(f"updated {first}", flush=True)
            else:
                failed += 1
                print(f"FAILED  {first}")
                for line in difflib.unified_diff(
                    shape(block).splitlines(), shape(found).splitlines(), "document", "now", lineterm=""
                ):
                    print(f"        {line}")
            return f"```console,ignore\n{found}\n```"

        pattern = r"<!-- twin: (?P<hidden>.*?) -->|```console,ignore\n(?P<block>.*?)\n```"
        changed, differing = {}, set(DOCUMENTS if mode == "--rewrite" else [])
        for document in DOCUMENTS:
            before = passed + failed
            print(f"        {document.relative_to(PROJECT)}", flush=True)
            if session:
                subprocess.run([TWIN, "down", NAME], check=True)
            session = Session(work / document.stem)
            changed[document] = re.sub(pattern, check, document.read_text(), flags=re.S)
            if passed + failed == before:
                failed += 1
                print("FAILED  it has no session")
        if mode and not failed:
            # Whole documents: the sizes and times of a document are of one run.
            for document in differing:
                document.write_text(changed[document])
    finally:
        subprocess.run([TWIN, "down", NAME], check=False)
        shutil.rmtree(work)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
