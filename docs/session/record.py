#!/usr/bin/env python3
"""Records the session that README.md shows as a picture, and draws it in light and in dark.

    docs/session/record.py            runs examples/hello on a test twin (needs docker), keeps what the commands print
                                      in docs/session/session.ansi, and draws it
    docs/session/record.py --draw     draws docs/session/session.ansi again
    O3R_DEPLOY=FILE                   the program to record; else target/debug/o3r-deploy

The twin's address and serial number are shown as those of a VPU. What a command repeats of the one before it, as `apply`
does with the plan, is left out and shown as `...`.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
from xml.sax.saxutils import escape

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
TWIN = PROJECT / "tests/twin/twin.sh"
RECORDING = HERE / "session.ansi"
COMMANDS = ["o3r-deploy plan", "o3r-deploy apply --yes", "o3r-deploy plan --exit-code"]
TIMEOUT = 300  # seconds for one command
AGAIN = 4  # lines; fewer that repeat are shown

# Pixels. README's column on GitHub is about 840 wide.
CHARACTER = 7.83  # of a monospaced font of SIZE
SIZE = 13
LINE = 19
MARGIN = 16
BAR = 30  # the window's upper edge

FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', 'DejaVu Sans Mono', monospace"

# Colours by the number that ANSI has for them; 2 is dimmed.
THEMES = {
    "light": {
        "paper": "#f6f8fa", "edge": "#d1d9e0", "text": "#1f2328",
        31: "#cf222e", 32: "#1a7f37", 33: "#9a6700", 36: "#1b7c83", 2: "#59636e",
    },
    "dark": {
        "paper": "#161b22", "edge": "#3d444d", "text": "#e6edf3",
        31: "#f85149", 32: "#3fb950", 33: "#d29922", 36: "#39c5cf", 2: "#9198a1",
    },
}


def record():
    """What the commands print on a new twin, as a terminal shows it."""
    name = f"session{os.getpid()}"
    program = pathlib.Path(os.environ.get("O3R_DEPLOY", PROJECT / "target/debug/o3r-deploy")).resolve()
    subprocess.run([TWIN, "build", "fw1.4.30"], check=True)
    with tempfile.TemporaryDirectory(prefix="o3r-session.") as work:
        try:
            variables = subprocess.run([TWIN, "up", name], check=True, stdout=subprocess.PIPE, text=True).stdout
            twin = dict(re.findall(r"^(\w+)='?(.*?)'?$", variables, re.M))
            subprocess.run([PROJECT / "examples/hello/for-twin.sh", name, work], check=True, stdout=subprocess.DEVNULL)
            environment = dict(
                os.environ,
                PATH=f"{program.parent}:{os.environ['PATH']}",
                HOME=work,
                USER="you",
                CLICOLOR_FORCE="1",
                LC_ALL="C.UTF-8",
            )
            environment.pop("NO_COLOR", None)
            parts = []
            for command in COMMANDS:
                done = subprocess.run(
                    ["sh", "-ec", command],
                    cwd=work,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=TIMEOUT,
                )
                if done.returncode:
                    sys.exit(f"record.py: {command}: exit code {done.returncode}\n{done.stdout}")
                parts.append(f"$ {command}\n{done.stdout.rstrip()}\n")
        finally:
            subprocess.run([TWIN, "down", name], check=False)
    text = "\n".join(parts)
    return text.replace(twin["ADDRESS"], "192.168.0.69").replace(twin["SERIAL"], "000018988497")


def shown(text):
    """The lines of the picture: a command leaves out what the one before it printed, too."""
    before, lines = [], []
    for part in re.split(r"(?m)^(?=\$ )", text):
        if not part:
            continue
        command, *output = part.rstrip("\n").split("\n")
        same = 0
        while same < min(len(output), len(before)) and output[same] == before[same]:
            same += 1
        lines += [""] if lines else []
        lines.append(f"\x1b[1m{command}\x1b[0m")
        lines += ["\x1b[2m...\x1b[0m", *output[same:]] if same >= AGAIN else output
        before = output
    return lines


def spans(line):
    """The pieces of a line: column, style, text. A style is the set of ANSI's numbers that are on."""
    column, style = 0, frozenset()
    for piece in re.split(r"(\x1b\[[\d;]*m)", line):
        codes = re.fullmatch(r"\x1b\[([\d;]*)m", piece)
        if codes:
            for code in (int(code or 0) for code in codes.group(1).split(";")):
                style = frozenset() if code == 0 else style | {code}
        elif piece:
            yield column, style, piece
            column += len(piece)


def draw(lines, theme):
    """An SVG of the lines. Every word has its column, so that it is right whatever font there is."""
    colors = THEMES[theme]
    columns = max(sum(len(text) for _, _, text in spans(line)) for line in lines)
    width = round(2 * MARGIN + columns * CHARACTER)
    height = BAR + len(lines) * LINE + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-labelledby="title">',
        "<!-- Drawn by docs/session/record.py from a session on a test twin. -->",
        '<title id="title">A terminal: o3r-deploy plans, applies, and then has nothing to do</title>',
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" fill="{colors["paper"]}" '
        f'stroke="{colors["edge"]}"/>',
        *(f'<circle cx="{MARGIN + 6 + 18 * dot}" cy="16" r="5" fill="{colors["edge"]}"/>' for dot in range(3)),
        f'<g font-family="{FONT}" font-size="{SIZE}" fill="{colors["text"]}" xml:space="preserve">',
    ]
    for row, line in enumerate(lines):
        pieces = []
        for column, style, text in spans(line):
            color = next((colors[code] for code in sorted(style, reverse=True) if code in colors), None)
            look = (f' fill="{color}"' if color else "") + (' font-weight="600"' if 1 in style else "")
            # Blanks between words hold what is aligned together.
            for word in re.finditer(r"\S+(?: \S+)*", text):
                left = MARGIN + (column + word.start()) * CHARACTER
                length = len(word.group()) * CHARACTER
                pieces.append(
                    f'<tspan x="{left:.1f}" textLength="{length:.1f}"{look}>{escape(word.group())}</tspan>'
                )
        if pieces:
            out.append(f'<text y="{BAR + (row + 1) * LINE - 5}">{"".join(pieces)}</text>')
    return "\n".join([*out, "</g>", "</svg>", ""])


def main():
    if sys.argv[1:] not in ([], ["--draw"]):
        sys.exit(__doc__)
    if not sys.argv[1:]:
        RECORDING.write_text(record())
    lines = shown(RECORDING.read_text())
    for theme in THEMES:
        path = PROJECT / f"docs/session-{theme}.svg"
        path.write_text(draw(lines, theme))
        print(path.relative_to(PROJECT))


main()
