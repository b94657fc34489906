"""Rows of text in aligned columns.

Owns widths and alignment only. Cells are escaped here, so that nothing from a capture reaches a terminal as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from analyzer.report.escape import printable

GAP = "  "


def width_of(out: TextIO) -> int | None:
    """The width to keep to: a terminal's, or None where `out` is a file or a pipe."""
    if out is not sys.stdout or not out.isatty():
        return None
    import shutil  # with it come three kinds of compression

    return shutil.get_terminal_size().columns


def lines(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), width: int | None = None
) -> list[str]:
    """The headings and the rows, columns aligned (those numbered in `right` to the right).

    With `width`, columns are left out from the end until a line fits; the first stays whatever happens.
    """
    cells = [[printable(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    shown = len(widths)
    while width is not None and shown > 1 and sum(widths[:shown]) + len(GAP) * (shown - 1) > width:
        shown -= 1
    return [
        GAP.join(
            cell.rjust(size) if place in right else cell.ljust(size)
            for place, (cell, size) in enumerate(zip(row[:shown], widths[:shown], strict=True))
        ).rstrip()
        for row in cells
    ]
