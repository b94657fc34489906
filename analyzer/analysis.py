"""`Analysis`: one analyzed capture, for Python, notebooks and every command.

Owns the way from files to answers: it runs the engine once and asks the modules that know. Plain Python inside;
pandas is imported by what gives DataFrames.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

from analyzer import selection as choosing
from analyzer.engine import Options, Result, run
from analyzer.errors import UsageError
from analyzer.flows.evidence import Evidence
from analyzer.flows.table import FlowTable
from analyzer.report.lists import Lists, make_lists
from analyzer.selection import Selection
from analyzer.tcp.timers import Timers

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from analyzer import rereading
    from analyzer.charts import Charts
    from analyzer.flow import Flow
    from analyzer.listeners import Listener
    from analyzer.report.display import ShownFinding
    from analyzer.sockets import Socket

Source = str | os.PathLike[str] | BinaryIO

#: instants of one timeline: a row each, and no screen shows more
MAX_INSTANTS = 100_000


def read(
    source: Source | Sequence[Any],
    *,
    by_vlan: bool = False,
    by_tunnel: bool = False,
    max_flows: int | None = None,
    timers: Timers | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Analysis:
    """Analyze one capture: a path, a pattern, a directory, an open binary file, or a list of them in time order.

    A list of scapy's packets is one, too. Raises an `analyzer.errors.AnalyzerError` where nothing can be read; damage
    on the way is in `.capture`.
    """
    from analyzer import rereading

    many = isinstance(source, (list, tuple)) or hasattr(source, "listname")  # scapy's PacketList is no list
    again = rereading.Again.of(list(source) if many else [source])  # type: ignore[arg-type]
    options = Options(by_vlan=by_vlan, by_tunnel=by_tunnel, max_flows=max_flows, keep_transitions=True)
    return Analysis(run(again.sources(), options, progress=progress), timers=timers, again=again, options=options)


class Analysis:
    """What one capture holds. `rows` of `table` are the flows that `selection` leaves, in order of flow number.

    `again`: what it was read from, for views of single packets; None where that cannot be read twice. `known`: what
    flows of earlier runs have shown.
    """

    def __init__(
        self,
        result: Result,
        *,
        timers: Timers | None = None,
        selection: Selection | None = None,
        again: rereading.Again | None = None,
        options: Options | None = None,
        known: Evidence | None = None,
    ) -> None:
        self.result = result
        self.table = FlowTable(result.facts, result.end_ns, timers, result.scopes, known)
        self.selection = selection or Selection()
        self._again = again
        self.options = options or Options()

    # --- flows ---------------------------------------------------------------------------------------------------

    @cached_property
    def rows(self) -> Sequence[int]:
        """The rows of `table` that are selected. Raises UsageError where the selection's expression is wrong."""
        return choosing.rows(self.table, self.selection)

    @cached_property
    def flow_numbers(self) -> frozenset[int]:
        """The numbers of the selected flows."""
        numbers = self.table.raw("number")
        return frozenset(numbers[row] for row in self.rows)

    @cached_property
    def flows(self) -> pandas.DataFrame:
        """All selected flows, indexed by `flow`; the columns of docs/columns.md."""
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

    def flow(self, number: int) -> Flow:
        """One flow by its number. Raises UsageError where there is none."""
        from analyzer.flow import Flow

        return Flow(self, choosing.row_of(self.table, number))

    # --- what is wrong -------------------------------------------------------------------------------------------

    @property
    def findings(self) -> pandas.DataFrame:
        """What is wrong, a row a finding, what matters most first; `found` has the same as objects."""
        from analyzer.dataframes import findings

        return findings(self.found)

    @cached_property
    def found(self) -> list[ShownFinding]:
        """The findings of the whole capture, in order of weight, less those that concern no selected flow."""
        from analyzer.findings import CaptureView, find
        from analyzer.report.display import shown

        selected = None if len(self.rows) == len(self.table) else self.rows
        found = find(self.table, CaptureView.of(self.result), selected)
        return shown(found, None if selected is None else self.flow_numbers)

    @cached_property
    def capture(self) -> dict[str, Any]:
        """The capture's health: files, counts, and what weakens verdicts."""
        from analyzer.report.health import Seen, health

        return health(self.result, Seen.of(self.table))

    @cached_property
    def listeners(self) -> list[Listener]:
        """How each (host, port) that the selected flows were meant for fared, the busiest first."""
        from analyzer.listeners import listeners

        return listeners(self.table, self.rows)

    @property
    def selected(self) -> int:
        """How many flows are selected."""
        return len(self.rows)

    # --- socket tables -------------------------------------------------------------------------------------------

    def sockets(self, at: int | None = None, host: str | None = None) -> list[Socket]:
        """The sockets of `host` (or all) at `at`, in nanoseconds since the epoch; the end of the capture without it."""
        from analyzer.sockets import sockets_at

        return sockets_at(self.table, self.table.end_ns if at is None else at, host)

    def states(self, at: Any = None, host: str | None = None) -> pandas.DataFrame:
        """The same as a table, a row a socket. `at`: a time as pandas reads one, epoch seconds or nanoseconds."""
        from analyzer.dataframes import moment_ns, sockets

        return sockets(self.sockets(None if at is None else moment_ns(at), host))

    def timeline(self, every: Any = "1s", host: str | None = None) -> pandas.DataFrame:
        """How many sockets of `host` (or of all) are in each state: a row an instant, a column a state that occurs."""
        from analyzer.dataframes import span_ns, timeline
        from analyzer.sockets import counts_over

        step, start = span_ns(every), self.result.capture.first_ns
        end = self.table.end_ns if start is not None else 0
        start = end + 1 if start is None else start
        if (end - start) // step >= MAX_INSTANTS:
            raise UsageError(f"every={every!r} gives more than {MAX_INSTANTS:,} rows here: take a longer span")
        instants = range(start, end + 1, step)
        return timeline(instants, [one.total for one in counts_over(self.table, instants, host)])

    # --- packets -------------------------------------------------------------------------------------------------

    @property
    def again(self) -> rereading.Again:
        """What was read, to be read once more. Raises UsageError where that cannot be."""
        if self._again is None:
            raise UsageError("the packets are not at hand any more: this analysis is not of a file that can be reread")
        return self._again

    def segments(self, which: int | str | Sequence[int] | None = None) -> pandas.DataFrame:
        """Segments of flows, a row each: of one flow, of several, of those for which an expression holds, or of all.

        Reads the capture again, and keeps only these.
        """
        from analyzer import rereading
        from analyzer.dataframes import segments

        rows = self._which(which)
        return segments(self.table, rereading.segments(self.table, rows, self.again.sources(), self.options))

    def transitions(self, which: int | str | Sequence[int] | None = None) -> pandas.DataFrame:
        """The transitions of the flows' ends, a row each, in order of flow and time."""
        from analyzer.dataframes import transitions

        return transitions(self.table, self._which(which))

    def _which(self, which: int | str | Sequence[int] | None) -> Sequence[int]:
        """Rows of the table: by flow number, by an expression over the columns, or all that are selected."""
        if which is None:
            return self.rows
        if isinstance(which, str):
            from analyzer.expression import matching

            return matching(self.table, self.rows, which)
        numbers: list[Any] = [which] if hasattr(which, "__index__") else list(which)
        return choosing.rows_of(self.table, [int(number) for number in numbers])

    # --- for others ----------------------------------------------------------------------------------------------

    def to_arrow(self) -> pyarrow.Table:
        """The selected flows as a pyarrow table, `flow` the first column."""
        from analyzer.report.parquet import arrow

        return arrow(self.table, self.rows)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the selected flows to a Parquet file, as `handshake flows --format parquet` does."""
        from analyzer.flows.columns import NAMES
        from analyzer.report import parquet

        with open(path, "wb") as out:
            parquet.write(out, self.table, self.rows, NAMES)

    def report(self) -> dict[str, Any]:
        """The report as one document of plain values."""
        from analyzer.report.document import document

        return document(self)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the report as one HTML page that needs nothing else, as `handshake report --html` does."""
        from analyzer.report import page

        with open(path, "w", encoding="utf-8", newline="") as out:
            page.write(out, self)

    @property
    def charts(self) -> Charts:
        """Pictures of it. Needs the extra `notebook`."""
        from analyzer.charts import Charts

        return Charts(self)

    def __repr__(self) -> str:
        from analyzer.report.display import overview_text

        return overview_text(self)

    def _repr_html_(self) -> str:
        from analyzer.report.display import overview_html

        return overview_html(self)

    def _frame(self, rows: Sequence[int]) -> pandas.DataFrame:
        from analyzer.dataframes import frame

        return frame(self.table, rows)
