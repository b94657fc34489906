"""Write into README and docs/ what the program itself says: its output, its columns, its transitions, its findings.

    python docs/make.py            with the package installed, from anywhere

Owns the parts between `<!-- begin: WHAT -->` and `<!-- end -->`; WHAT is a command line (`handshake …`, or
`12 lines of handshake …` for the first twelve) or the name of a part in `PARTS`. The rest of each file is written by
hand. `tests/test_docs.py` fails where a part is out of date.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DOCUMENTS = (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))
WIDTH = "110"  # columns of the terminal that the documents show; GitHub shows as many without scrolling

_LINES_OF = re.compile(r"(?:(?P<lines>\d+) lines of )?(?P<command>handshake .*)")
_PART = re.compile(r"(?P<begin><!-- begin: (?P<what>.+?) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def output(command: str, lines: int | None = None) -> str:
    """What `command` prints (or its first lines), run in the project's folder, as a person without colours sees it."""
    words = shlex.split(command)
    environment = {**os.environ, "COLUMNS": WIDTH, "NO_COLOR": "1", "PYTHONUTF8": "1", "TZ": "UTC"}
    ran = subprocess.run(
        [sys.executable, "-I", "-m", "analyzer", *words[1:]],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    printed = ran.stdout.rstrip().splitlines()
    shown = printed[:lines]
    if len(shown) < len(printed):
        shown.append("…")
    return "```text\n" + "".join(f"{line}\n" for line in (f"$ {command}", *shown)) + "```\n"


def state_diagram() -> str:
    """The transitions as a Mermaid diagram. RST and ICMP lead out of nearly every state: the table has them."""
    from analyzer.tcp import states

    labels: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in states.TRANSITIONS:
        if line.event in (states.EV_RST, states.EV_ICMP):
            continue
        verb = "sends" if line.role == states.SENDER else "gets"
        for before in line.before:
            if before != line.after:
                labels[states.STATES[before], states.STATES[line.after]].append(f"{verb} {states.EVENTS[line.event]}")
    edges = "".join(f"    {before} --> {after} : {', '.join(texts)}\n" for (before, after), texts in labels.items())
    return f"```mermaid\nstateDiagram-v2\n    direction TB\n{edges}```\n"


def transition_table() -> str:
    """Every line of the table, with its reason."""
    from analyzer.tcp import states

    rows = (
        (
            "sends" if line.role == states.SENDER else "gets",
            f"`{states.EVENTS[line.event]}`",
            ", ".join(f"`{states.STATES[before]}`" for before in line.before),
            f"`{states.STATES[line.after]}`",
            states.BASES[line.basis],
            line.reason,
        )
        for line in states.TRANSITIONS
    )
    return _table(("the endpoint", "a segment", "in", "is then in", "basis", "because"), rows)


def columns() -> str:
    """Every column of a flow."""
    from analyzer.flows.columns import COLUMNS

    def values(words: tuple[str, ...]) -> str:
        return ", ".join(f"`{word}`" if word else "empty" for word in words)

    rows = (
        (
            f"`{column.name}`",
            column.kind + (", or null" if column.nullable else ""),
            column.doc + (f": {values(column.words)}" if column.words else ""),
        )
        for column in COLUMNS
    )
    return _table(("column", "type", "says"), rows)


def findings() -> str:
    """Every cause that a report can name."""
    from analyzer.findings import CAUSES

    return _table(("name", "what it is", "reported"), ((f"`{c.name}`", c.title, c.threshold) for c in CAUSES))


def settings() -> str:
    """Every setting that advice quotes."""
    from analyzer.findings.kernel import SETTINGS

    rows = (
        (
            f"`{one.name}`" if one.name else "no setting",
            one.default,
            one.does + (f"; {one.not_this}" if one.not_this else ""),
            one.source,
        )
        for one in SETTINGS.values()
    )
    return _table(("setting", "default", "what it does, and does not", "source"), rows)


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part for part in (state_diagram, transition_table, columns, findings, settings)
}


def made(document: str) -> str:
    """The document with every part as the program has it now."""

    def part(match: re.Match[str]) -> str:
        command = _LINES_OF.fullmatch(match["what"])
        if command:
            text = output(command["command"], int(command["lines"]) if command["lines"] else None)
        else:
            text = PARTS[match["what"]]()
        return f"{match['begin']}\n{text}\n{match['end']}"

    return _PART.sub(part, document)


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        path.write_text(made(text), encoding="utf-8")
