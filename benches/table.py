#!/usr/bin/env python3
"""Makes a table in Markdown of what transfer.sh measured, and says which of its goals are met: a section for each link.

  table.py ROWS ABOUT ROBOTS [RESULTS]

RESULTS: an earlier output, whose sections of links that are not among the rows are kept.

ROWS: lines of tab-separated link, case, way, seconds, seconds of loading, CPU here, memory here, bytes up, bytes down, CPU there,
memory there, disk there. ABOUT: a text for the head. A figure is the median of its rows; of robots, their sum, counted up to
ROBOTS where fewer were measured; of memory and disk, the peak.
"""
import statistics
import sys
from collections import defaultdict

WAYS = {
    "ours": "o3r-deploy apply, warm cache",
    "ours-cold": "o3r-deploy apply, empty cache",
    "other": "the other program's apply, warm cache",
    "advice": "docker save \\| ssh -C docker load (ifm)",
    "plain": "docker save \\| ssh docker load",
    "zstd": "docker save \\| zstd \\| ssh 'zstd -d \\| docker load'",
    "scp": "scp, docker load -i (old tool)",
    "rsync": "rsync -z, docker load -i",
    "registry": "docker push, docker pull (pussh)",
    "layer": "model: the whole layer sent, docker load",
    "limit": "the limit",
}
CASES = ["first", "top", "deps", "base", "nothing", "robots"]
FIGURES = ["seconds", "load", "cpu_here", "memory_here", "up", "down", "cpu_there", "memory_there", "disk_there"]
PEAKS = {"memory_here", "memory_there", "disk_there"}
MEMORY_GOAL = 64 << 20

NOTES = """\
- s: wall time of the whole command; load: of an apply, its commands that send and load, with an empty cache from docker save on: the ways by hand do
  nothing else. An apply also logs in, looks, plans, names the image, records the release, and looks again.
- MB up and down: what TCP carried to the VPU and back. CPU here: of the command and of this machine's docker engine; CPU VPU: of the whole
  twin, docker's work included.
- memory here: resident, the largest process of the command (not the engine); memory VPU: the sum (PSS) of all that was started, but docker's own
  processes (dockerd, containerd, shims); disk VPU: the peak of files beside docker's images, sampled ten times a second.
- against ours: the seconds divided by those of an apply with a warm cache.
- scp and rsync have the tar before they begin, and rsync the last release's on the VPU; nobody else does.
- the limit: what changed, compressed, at the link's rate, and then docker load of a local file that holds only the missing layers."""


class Cell:
    """What was measured of one way in one case on one link."""

    def __init__(self, rows, robots):
        self.runs = len(rows)
        for figure in FIGURES:
            values = [float(row[figure]) for row in rows if row[figure] != "-"]
            if not values:
                value = None
            elif robots and figure not in PEAKS:
                value = sum(values) * robots / len(values)
            else:
                value = max(values) if robots else statistics.median_high(values)
            setattr(self, figure, value)


def read(path, robots):
    rows = defaultdict(list)
    with open(path) as file:
        for line in file:
            link, case, way, *figures = line.rstrip("\n").split("\t")
            rows[int(link), case, way].append(dict(zip(FIGURES, figures, strict=True)))
    return {key: Cell(rows_, robots if key[1] == "robots" else 0) for key, rows_ in rows.items()}


def name(link):
    return f"{link} Mbit/s" if link else "no limit"


def table(cells):
    yield ["case", "way", "runs", "s", "load", "MB up", "MB down", "CPU here, s", "CPU VPU, s",
           "memory here, MB", "memory VPU, MB", "disk VPU, MB", "against ours"]
    order = list(WAYS)
    for (link, case, way), cell in sorted(cells.items(), key=lambda item: (
            -(item[0][0] or 10**9), CASES.index(item[0][1]), order.index(item[0][2]))):
        ours = cells.get((link, case, "ours"))
        yield [case, WAYS[way], str(cell.runs), number(cell.seconds),
               number(cell.load) if way.startswith("ours") else "",
               *(number(value, 1e6) for value in (cell.up, cell.down)), number(cell.cpu_here), number(cell.cpu_there),
               *(number(value, 1e6, 0) for value in (cell.memory_here, cell.memory_there, cell.disk_there)),
               f"{cell.seconds / ours.seconds:.2f}x" if ours else ""]


def number(value, unit=1.0, digits=2):
    return "" if value is None else f"{value / unit:.{digits}f}"


def goals(cells):
    """The goals: what is wanted, and the figure by the load and by the whole apply."""
    yield ["goal", "wanted", "by load", "", "by the whole apply", ""]
    for link in sorted({link for link, _, _ in cells}, key=lambda link: -(link or 10**9)):
        def cell(case, way):
            return cells.get((link, case, way))

        def against(what, case, way, least=None, most=None, mine="ours"):
            ours, other, limit = cell(case, mine), cell(case, way), cell(case, "limit")
            if not ours or not other:
                return
            row = [what, f"at least {least}x" if least else f"at most {most}x"]
            for seconds in (ours.load, ours.seconds):
                if not seconds:
                    row += ["", ""]
                    continue
                figure = other.seconds / seconds if least else seconds / other.seconds
                verdict = "met" if (figure >= least if least else figure <= most) else "**not met**"
                if least and verdict != "met" and limit and other.seconds / limit.seconds < least:
                    verdict = f"the limit is {other.seconds / limit.seconds:.2f}x"
                row += [f"{figure:.2f}x", verdict]
            yield row

        yield from against("top layer: faster than ifm's advice", "top", "advice", least=45)
        yield from against("top layer: of the limit", "top", "limit", most=1.2)
        yield from against("first push: faster than ifm's advice", "first", "advice", least=3.5)
        yield from against("first push: faster than the plain pipe", "first", "plain", least=1.3)
        yield from against("first push: of the limit", "first", "limit", most=1.2)
        if link == 10:
            yield from against("one file: faster than sending the layer", "deps", "layer", least=20)
        for case in ("top", "deps", "base", "nothing"):
            yield from against(f"{case}: not slower than the plain pipe", case, "plain", least=1)
        yield from against("first push, empty cache: not slower than the plain pipe", "first", "plain", least=1, mine="ours-cold")
        ours, layer = cell("deps", "ours"), cell("deps", "layer")
        if ours and layer and link:
            share = ours.up / layer.up
            yield ["one file: bytes of those of the layer", "at most 2 %", "", "", f"{share:.2%}",
                   "met" if share <= 0.02 else "**not met**"]
        if ours := cell("nothing", "ours"):
            yield ["nothing changed: no byte of image", "nothing loaded", "", "",
                   f"{ours.up / 1e3:.1f} kB of questions", "met" if ours.load is None else "**not met**"]
        memory = [cell_.memory_here for (link_, _, way), cell_ in cells.items() if link_ == link and way.startswith("ours")]
        if memory:
            yield ["memory here", "at most 64 MiB", "", "", f"{max(memory) / (1 << 20):.0f} MiB",
                   "met" if max(memory) <= MEMORY_GOAL else "**not met**"]


def markdown(rows):
    head, *rest = rows
    for row in (head, ["---"] * len(head), *rest):
        yield "| " + " | ".join(row) + " |"


def section(link, cells, about, robots):
    yield about
    yield from markdown(table(cells))
    short = [cell for (_, case, way), cell in cells.items() if case == "robots" and cell.runs < robots]
    if short:
        yield f"\nRobots: {robots} of them; where fewer runs are named, their mean was taken for the others."
    yield ""
    yield from markdown(goals(cells))


def earlier(path):
    """The sections of an earlier output, by their heading."""
    try:
        with open(path) as file:
            parts = file.read().split("\n## ")[1:]
    except FileNotFoundError:
        return {}
    return {part.partition("\n")[0]: part.partition("\n")[2].strip("\n") for part in parts}


def main(rows, about, robots, results=None):
    robots = int(robots)
    cells = read(rows, robots)
    with open(about) as file:
        about = file.read()
    sections = earlier(results) if results else {}
    for link in {link for link, _, _ in cells}:
        of_link = {key: cell for key, cell in cells.items() if key[0] == link}
        sections[name(link)] = "\n".join(section(link, of_link, about, robots))
    print(f"# Moving images: the last tables of `benches/transfer.sh`\n\n{NOTES}")
    for heading in sorted(sections, key=lambda heading: -(int(heading.split()[0]) if heading[0].isdigit() else 10**9)):
        print(f"\n## {heading}\n\n{sections[heading]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
