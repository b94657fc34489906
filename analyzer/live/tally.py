"""How many flows got each verdict, counted as they leave, so that totals outlive the flows.

Owns the counting; verdicts are `flows.verdict`'s, asked once for each kind of flow (a flood has few kinds).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from analyzer.flows import facts as f
from analyzer.flows import verdict
from analyzer.flows.facts import INDEX, WIDTH, FlowFacts
from analyzer.flows.table import FINS_IN_DOUBT

if TYPE_CHECKING:
    import numpy as np

_OF_HANDSHAKE = (
    f.COMPLETE | f.CONTRADICTED | f.SYN_SEEN | f.SYNACK_SEEN | f.REFUSED | f.ABORTED | f.UNREACHABLE
)  # what `verdict.handshake` reads
_OF_CLOSE = f.RESET | f.COMPLETE | f.SYN_SEEN | f.SYNACK_SEEN | f.CONTRADICTED | f.O_FIN_ACKED | f.R_FIN_ACKED
_O_FIN, _R_FIN = 1 << 40, 1 << 41  # beside the bits: whether either end sent a FIN


def matrix(facts: FlowFacts) -> np.ndarray[Any, Any]:
    """The rows of `facts` as numpy sees them: one row a flow, one column a fact; valid while `facts` does not grow."""
    import numpy as np

    return np.frombuffer(facts.rows, dtype=np.uint64).reshape(-1, WIDTH)


class Tally:
    """Counts of verdicts: `handshake` and `close`, by their words."""

    def __init__(self) -> None:
        self.flows = 0
        self.handshake: Counter[str] = Counter()
        self.close: Counter[str] = Counter()

    def add(self, rows: np.ndarray[Any, Any], end_ns: int | None = None) -> None:
        """Count flows, given as `matrix` shows them; those that live, as they stand at `end_ns` (`FlowTable.bits`)."""
        if not len(rows):
            return
        import numpy as np

        self.flows += len(rows)
        bits = rows[:, INDEX["bits"]].copy()
        if end_ns is not None:
            for end, acked in (("o_", f.O_FIN_ACKED), ("r_", f.R_FIN_ACKED)):
                doubtful = rows[:, INDEX[end + "doubt_repeats"]] >= FINS_IN_DOUBT
                doubtful &= rows[:, INDEX[end + "doubt_until_ns"]].astype(np.int64) >= end_ns
                bits[doubtful] &= ~np.uint64(acked)
        for kind, count in zip(*np.unique(bits & np.uint64(_OF_HANDSHAKE), return_counts=True), strict=True):
            self.handshake[verdict.handshake(int(kind))] += int(count)
        kinds = bits & np.uint64(_OF_CLOSE)
        kinds |= (rows[:, INDEX["o_fins"]] > 0) * np.uint64(_O_FIN)
        kinds |= (rows[:, INDEX["r_fins"]] > 0) * np.uint64(_R_FIN)
        for kind, count in zip(*np.unique(kinds, return_counts=True), strict=True):
            number = int(kind)
            word = verdict.close(number, number & _O_FIN, number & _R_FIN)
            self.close[word] += int(count)

    def plus(self, rows: np.ndarray[Any, Any] | None = None, end_ns: int | None = None) -> Tally:
        """A copy, with `rows` counted too, as they stand at `end_ns`."""
        total = Tally()
        total.flows = self.flows
        total.handshake.update(self.handshake)
        total.close.update(self.close)
        if rows is not None:
            total.add(rows, end_ns)
        return total
