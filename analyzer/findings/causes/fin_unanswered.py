"""A FIN that is sent again and again: FIN_WAIT_1, CLOSING or LAST_ACK that does not end.

Looks at FINs repeated without an ACK (the peer vanished, or its packets are lost), and at FINs repeated although the
capture holds their ACK (it is lost behind the capture point).
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import CUT, FLAGS_ONLY, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import SECOND_NS, Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f

#: one repeated FIN is ordinary loss, two in a row at 1 % come once in 10,000 connections
MIN_REPEATS = 2
#: two repeats by timer take 200 and 400 ms at least (Linux TCP_RTO_MIN); faster ones answer lost data, not silence
MIN_SPAN_NS = SECOND_NS // 2
#: several towards one host, and it is the host
SURE_COUNT = 2


def look(index: Index) -> Iterator[Finding]:
    """One finding a silent host; those beyond the first few share one."""
    sides: dict[int, str] = {}
    for row in index.free(index.fin_waiting):
        side = _waiting_side(index, row)
        if side:
            sides[row] = side

    def silent(row: int) -> Host:
        return index.responder(row) if sides[row] == "o_" else index.originator(row)

    for host, rows, others in places(index.by(silent, sides)):
        acked = [row for row in rows if index.fact(row, "bits") & _acked_bit(sides[row])]
        last = sum(1 for row in rows if index.fact(row, "o_fins") and index.fact(row, "r_fins"))
        repeats = sum(index.repeats(row, sides[row]) for row in rows)
        who = wording.many(others, "other host") if host is None else wording.host(host)
        evidence = [
            f"{wording.many(repeats, 'FIN')} repeated; {wording.many(len(rows) - last, 'first FIN')} (FIN_WAIT_1),"
            f" {last:,} second (LAST_ACK or CLOSING)"
        ]
        if acked:
            evidence.append(
                f"{len(acked):,} repeated although their ACK is in the capture: it is lost between here and the"
                " closing host"
            )
        if len(acked) == len(rows):
            summary = f"ACKs of {who} for the FIN do not arrive: FIN repeated"
        else:
            summary = f"{who} does not acknowledge the FIN: vanished, or its packets are lost"
        yield make(
            index,
            CAUSE.name,
            rows,
            severity="warning",
            confidence="high" if len(rows) >= SURE_COUNT else "medium",
            summary=f"{summary} ({wording.many(len(rows), 'connection')})",
            evidence=evidence,
            confirm="`ss -tno state fin-wait-1 state last-ack state closing` on the closing host shows them with their"
            " timer",
            advice=advise("see whether that host and the path back are alive", "tcp_orphan_retries"),
        )


def _acked_bit(side: str) -> int:
    return f.O_FIN_ACKED if side == "o_" else f.R_FIN_ACKED


def _waiting_side(index: Index, row: int) -> str:
    """Which end's FIN finds no answer, "" where none does (yet)."""
    bits = index.fact(row, "bits")
    if bits & f.RESET:
        return ""
    for side in ("o_", "r_"):
        if not index.fact(row, side + "fins"):
            continue
        acked, refreshed = bits & _acked_bit(side), index.fact(row, side + "refresh_ns")
        # Where the ACK is in the capture, the other end knows when it acknowledged.
        since = min(index.fact(row, "o_since_ns"), index.fact(row, "r_since_ns")) if acked else 0
        since = since or index.fact(row, side + "since_ns")
        if index.repeats(row, side) >= MIN_REPEATS and refreshed - since >= MIN_SPAN_NS:
            return side
        waited = index.end_ns - refreshed > index.table.timers.fin_ns
        if not acked and waited and FLAGS_ONLY not in index.doubts:  # a filter may have left its ACK out
            return side
    return ""


CAUSE = Cause(
    name="fin_unanswered",
    title="the close finds no answer",
    threshold=f"a FIN repeated {MIN_REPEATS} times, or left without an ACK for a minute",
    weakened_by=(ONE_WAY, LOSS, FLAGS_ONLY, CUT),
    look=look,
)
