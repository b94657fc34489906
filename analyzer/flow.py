"""`Flow`: one connection of an analysis, with what can be asked of it alone.

Owns the way from a flow number to its values, its ladder and its packets. What each column says is in `COLUMNS`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from analyzer import rereading
from analyzer.flows.columns import BY_NAME, NAMES, record
from analyzer.ladder import Rung, rungs
from analyzer.report import ladder_svg

if TYPE_CHECKING:
    import pandas

    from analyzer.analysis import Analysis
    from analyzer.flows.table import FlowTable


class Flow:
    """One flow: every column is an attribute (times in nanoseconds), as `flow.handshake` or `flow.history`."""

    def __init__(self, analysis: Analysis, row: int) -> None:
        self.analysis = analysis
        self.row = row

    def __getattr__(self, name: str) -> Any:
        column = BY_NAME.get(name)
        if column is None:
            raise AttributeError(f"a flow has no {name!r}; dir() names its columns")
        return column.get(self.analysis.table, self.row)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *NAMES})

    @cached_property
    def record(self) -> dict[str, Any]:
        """All columns as plain values."""
        return record(self.analysis.table, self.row)

    @property
    def transitions(self) -> pandas.DataFrame:
        """Every change of either end's state, a row each, with the packet and the reason."""
        return self.analysis.transitions(self.flow)

    def segments(self) -> pandas.DataFrame:
        """Its segments, a row each. Reads the capture again."""
        return self.analysis.segments(self.flow)

    def ladder(self) -> Ladder:
        """Its segments between two lifelines, with the states of both ends: a picture in Jupyter, else text."""
        analysis = self.analysis
        made = rungs(analysis.table, self.row, analysis.again.sources(), analysis.options)
        return Ladder(analysis.table, self.row, made)

    def packets(self) -> Any:
        """Its packets as captured, a `scapy.plist.PacketList` with times. Reads the capture again. Needs scapy."""
        from decimal import Decimal

        try:
            from scapy.config import conf
            from scapy.packet import Raw
            from scapy.plist import PacketList
        except ModuleNotFoundError:
            from analyzer.errors import UsageError

            raise UsageError("packets come as scapy's: pip install 'handshake-analyzer[scapy]'") from None
        import scapy.layers.all  # noqa: F401  # the link layers register themselves

        again = self.analysis.again
        kept = rereading.segments(self.analysis.table, [self.row], again.sources(), self.analysis.options)
        made = []
        for _, ts_ns, linktype, wirelen, data in rereading.packets(again.sources(), kept.columns["packet"]):
            packet = conf.l2types.get(linktype, Raw)(data)
            packet.time = Decimal(ts_ns).scaleb(-9)
            packet.wirelen = wirelen
            made.append(packet)
        return PacketList(made, f"flow {self.flow}")

    def __repr__(self) -> str:
        from analyzer.report.display import flow_text

        return flow_text(self.analysis.table, self.row)

    def _repr_html_(self) -> str:
        from analyzer.report.display import flow_html

        return flow_html(self.analysis.table, self.row)


class Ladder:
    """A flow's segments in order of capture (`rungs`), drawn in Jupyter, and as `handshake show` prints them."""

    def __init__(self, table: FlowTable, row: int, rungs: Sequence[Rung]) -> None:
        self.table = table
        self.row = row
        self.rungs = rungs

    def __len__(self) -> int:
        return len(self.rungs)

    def svg(self) -> str:
        """The picture, an SVG document."""
        return ladder_svg.draw(self.table, self.row, self.rungs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to an .svg file."""
        with open(path, "w", encoding="utf-8") as out:
            out.write(self.svg())

    def __repr__(self) -> str:
        import io

        from analyzer.report import ladder

        out = io.StringIO()
        ladder.write(out, self.table, self.row, self.rungs, everything=False)
        return out.getvalue().rstrip("\n")

    def _repr_svg_(self) -> str:
        return self.svg()
