"""The ladders of a page: those of its examples, drawn in one more reading of the capture, within a number of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analyzer.ladder import ladders
from analyzer.report import ladder_svg, words
from analyzer.selection import rows_by_number

if TYPE_CHECKING:
    from analyzer.analysis import Analysis


def drawn(analysis: Analysis, numbers: Sequence[int], most: int) -> tuple[dict[int, tuple[str, str]], int]:
    """Flow number → title and picture, as many as fit into `most` bytes; and how many did not.

    Raises UsageError where the capture cannot be read again.
    """
    if not numbers:
        return {}, 0
    table = analysis.table
    rows = rows_by_number(table, numbers)
    rungs = ladders(table, list(rows.values()), analysis.again.sources(), analysis.options)
    made: dict[int, tuple[str, str]] = {}
    for number, row in rows.items():
        picture = ladder_svg.draw(table, row, rungs[row])
        most -= len(picture.encode())
        if most < 0:
            break
        made[number] = (_title(analysis, row), picture)
    return made, len(numbers) - len(made)


def _title(analysis: Analysis, row: int) -> str:
    from analyzer.flows.columns import record

    flow = record(analysis.table, row)
    ends = (words.endpoint(flow[end], flow[f"{end}_port"]) for end in ("originator", "responder"))
    verdict = f"{flow['handshake']}, {flow['close']}".replace("_", " ")
    return f"flow {flow['flow']}: {' → '.join(ends)} ({verdict})"
