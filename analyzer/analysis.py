"""`Analysis`: one analyzed capture, for Python, notebooks and every command.

Owns the way from files to answers: it runs the engine once and asks the modules that know. Plain Python inside;
pandas is imported by the properties that give DataFrames.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

from analyzer import selection as choosing
from analyzer.engine import Options, Result, run
from analyzer.flows.table import FlowTable
from analyzer.report.lists import Lists, make_lists
from analyzer.selection import Selection
from analyzer.tcp.timers import Timers

if TYPE_CHECKING:
    import pandas

    from analyzer.findings import Finding
    from analyzer.sockets import Socket

Source = str | os.PathLike[str] | BinaryIO


def read(
    source: Source | Sequence[Source],
    *,
    by_vlan: bool = False,
    by_tunnel: bool = False,
    max_flows: int | None = None,
    timers: Timers | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Analysis:
    """Analyze one capture: a path, a pattern, a directory, an open binary file, or a list of them in time order.

    Raises an `analyzer.errors.AnalyzerError` where nothing can be read; damage on the way is in `.capture`.
    """
    sources: list[Source] = list(source) if isinstance(source, (list, tuple)) else [source]  # type: ignore[list-item]
    options = Options(by_vlan=by_vlan, by_tunnel=by_tunnel, max_flows=max_flows, keep_transitions=True)
    return Analysis(run(sources, options, progress=progress), timers=timers)


class Analysis:
    """What one capture holds. `rows` of `table` are the flows that `selection` leaves, in order of flow number."""

    def __init__(self, result: Result, *, timers: Timers | None = None, selection: Selection | None = None) -> None:
        self.result = result
        self.table = FlowTable(result.facts, result.end_ns, timers, result.scopes)
        self.selection = selection or Selection()

    @cached_property
    def rows(self) -> Sequence[int]:
        """The rows of `table` that are selected. Raises UsageError where the selection's expression is wrong."""
        return choosing.rows(self.table, self.selection)

    @cached_property
    def flow_numbers(self) -> frozenset[int]:
        """The numbers of the selected flows."""
        numbers = self.table.raw("number")
        return frozenset(numbers[row] for row in self.rows)

    @property
    def flows(self) -> pandas.DataFrame:
        """All selected flows, indexed by `flow`."""
        return self._frame(self.rows)

    @property
    def incomplete_handshakes(self) -> pandas.DataFrame:
        """The flows whose handshake did not complete."""
        return self._frame(self.lists.incomplete_handshakes)

    @property
    def half_closed(self) -> pandas.DataFrame:
        """The flows of which one end has closed and the other has not."""
        return self._frame(self.lists.half_closed)

    @property
    def synack_retransmissions(self) -> pandas.DataFrame:
        """The flows whose SYN+ACK was sent more than once."""
        return self._frame(self.lists.synack_retransmissions)

    @cached_property
    def lists(self) -> Lists:
        """The three lists of a report, as rows of `table`."""
        return make_lists(self.table, self.rows)

    @cached_property
    def findings(self) -> list[Finding]:
        """What is wrong, in order of weight: of the whole capture, less what concerns no selected flow."""
        from analyzer.findings import CaptureView, find

        found = find(self.table, CaptureView.of(self.result))
        if len(self.rows) == len(self.table):
            return found
        return [finding for finding in found if not finding.flows or not self.flow_numbers.isdisjoint(finding.flows)]

    @cached_property
    def capture(self) -> dict[str, Any]:
        """The capture's health: files, counts, and what weakens verdicts."""
        from analyzer.report.health import health

        return health(self.result, self.table)

    def states(self, at: int | None = None, host: str | None = None) -> list[Socket]:
        """The sockets of `host` (or all) at `at`, in nanoseconds since the epoch; the end of the capture without it."""
        from analyzer.sockets import sockets_at

        return sockets_at(self.table, self.table.end_ns if at is None else at, host)

    def report(self) -> dict[str, Any]:
        """The report as one document of plain values."""
        from analyzer.report.document import document

        return document(self)

    def _frame(self, rows: Sequence[int]) -> pandas.DataFrame:
        from analyzer.dataframes import frame

        return frame(self.table, rows)
