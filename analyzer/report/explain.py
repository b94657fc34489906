"""The long form of one cause: what it is, from what on it is reported, and all that was found of it in a capture.

Owns the text. What a cause means stands at the top of its file in `findings.causes`.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from analyzer.errors import UsageError
from analyzer.findings import CAUSES
from analyzer.findings.finding import Cause
from analyzer.findings.kernel import quoted
from analyzer.report import grid, words
from analyzer.report.escape import printable
from analyzer.report.style import Style

if TYPE_CHECKING:
    from analyzer.findings import Finding
    from analyzer.report.reported import Reported

#: lines are folded here where no terminal says otherwise
WIDTH = 100


def cause_of(name: str, before: str = "") -> Cause:
    """The cause of that name. Raises UsageError with all names there are."""
    for cause in CAUSES:
        if cause.name == name:
            return cause
    raise UsageError(f"{before}{name!r} is no finding: there are {', '.join(sorted(cause.name for cause in CAUSES))}")


def write(out: TextIO, analysis: Reported, cause: Cause) -> None:
    """Write the long form."""
    style = Style.of(out)
    width = min(grid.width_of(out) or WIDTH, WIDTH)
    found = [finding for finding in analysis.found if finding.name == cause.name]
    for line in _lines(cause, found, style, width):
        out.write(line + "\n")


def _lines(cause: Cause, found: Sequence[Finding], style: Style, width: int) -> Iterator[str]:
    yield style.strong(f"{cause.name}: {cause.title}")
    about = inspect.getdoc(sys.modules[cause.look.__module__]) or ""
    for paragraph in about.split("\n\n"):
        yield ""
        yield from textwrap.wrap(paragraph, width)
    yield ""
    yield from _folded("reported from", cause.threshold, width)
    if cause.weakened_by:
        yield from _folded("less sure where", ", ".join(_DOUBTS[kind] for kind in cause.weakened_by), width)
    if not found:
        yield ""
        yield "Not found in this capture."
    for number, finding in enumerate(found, 1):
        yield ""
        mark = style.severity(finding.severity, finding.severity.upper())
        yield from textwrap.wrap(f"{number}. {mark} {printable(finding.summary)}", width, subsequent_indent="   ")
        yield style.faint(f"   {finding.confidence} confidence")
        for line in finding.evidence:
            yield from _folded("   ·", printable(line), width, colon=False)
        yield from _folded("   confirm", printable(finding.confirm), width)
        yield from _folded("   do", printable(finding.advice), width)
        for setting in quoted(finding.advice):
            yield from _folded(f"   {setting.name or 'fact'}", f"{setting.does} [{setting.source}]", width)
        if finding.wireshark_filter:
            yield f"   Wireshark filter, in one line{words.of_first(finding.filter_first)}:"
            yield from textwrap.wrap(
                printable(finding.wireshark_filter), width, initial_indent="     ", subsequent_indent="     "
            )


def _folded(label: str, text: str, width: int, *, colon: bool = True) -> Iterator[str]:
    yield from textwrap.wrap(
        f"{label}{':' if colon else ''} {text}",
        width,
        subsequent_indent="     ",
        break_long_words=False,
        break_on_hyphens=False,
    )


_DOUBTS = {
    "one_way": "one direction was not captured",
    "loss": "packets are missing from the capture",
    "flags_only": "a filter kept only SYN, FIN and RST",
    "cut": "connections or frames were cut off",
}
