"""`Reported`: what a report is made of, wherever its flows are.

Owns the shape, which `analysis.Analysis` has with all flows at hand, and `dataset.reporting.Gathered` with those that a
list or a finding names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from analyzer.engine import Options
    from analyzer.flows.table import FlowTable
    from analyzer.listeners import Listener
    from analyzer.report.display import ShownFinding
    from analyzer.report.lists import Lists

#: listeners in a document: a scan of one host makes 65,535 of them
LISTENERS = 1000


class Reported(Protocol):
    """`lists` has rows of `table`; `selected`: how many flows the report was narrowed down to."""

    @property
    def table(self) -> FlowTable: ...
    @property
    def options(self) -> Options: ...
    @property
    def selected(self) -> int: ...
    @property
    def lists(self) -> Lists: ...
    @property
    def found(self) -> list[ShownFinding]: ...
    @property
    def capture(self) -> dict[str, Any]: ...
    @property
    def listeners(self) -> Sequence[Listener]: ...
