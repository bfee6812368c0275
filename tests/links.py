#!/usr/bin/env python3
"""Checks that links in the documents lead somewhere, and that the files and folders that they name are there.

A name counts where it stands between backquotes and begins with a folder of this project, as `src/core/plan/mod.rs` does.
"""

import pathlib
import re
import sys

PROJECT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = ["*.md", "docs/**/*.md", "examples/*/*.md", "tests/twin/*.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAME = re.compile(r"`((?:src|tests|docs|benches|examples|schemas|\.ci|\.config)/[\w./-]*)`")
CONSOLE = re.compile(r"^```.*?^```", re.M | re.S)


def anchors(document):
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", CONSOLE.sub("", document.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_link(document, link):
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    if not target.exists():
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in anchors(target)


def main():
    checked, failed = 0, []
    for document in sorted({path for pattern in DOCUMENTS for path in PROJECT.glob(pattern)}):
        text = CONSOLE.sub("", document.read_text())
        name = document.relative_to(PROJECT)
        for link in LINK.findall(text):
            if "://" not in link:
                checked += 1
                if dead_link(document, link):
                    failed.append(f"{name}: the link {link} leads nowhere")
        # What was is told by its names of then.
        if name.name == "CHANGELOG.md":
            continue
        for path in NAME.findall(text):
            checked += 1
            if not (PROJECT / path).exists():
                failed.append(f"{name}: there is no {path}")
    print("\n".join([*failed, f"{checked} links and names, {len(failed)} dead"]))
    sys.exit(1 if failed or not checked else 0)


main()
