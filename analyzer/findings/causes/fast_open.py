"""A path that swallows SYNs with TCP Fast Open: they are answered only once repeated without.

Looks at SYNs whose repetition left out the fast-open option or data (RFC 7413 section 4.1.3). One such is ordinary
loss; where none with it was ever answered and each without was, the option is the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.finding import CUT, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f
from analyzer.flows.table import FlowTable
from analyzer.segments import OPT_FAST_OPEN

#: two SYNs lost by chance, and both with the option: once in 10,000 at 1 % loss
MIN_LOST = 2
#: once in a million
SURE_LOST = 3


def look(index: Index) -> Iterator[Finding]:
    """One finding a server; those beyond the first few share one."""
    lost = [row for row in index.free(index.fast_open_dropped) if index.fact(row, "r_synacks")]
    passed = index.ask(Passed(frozenset(map(index.responder, lost)))) if lost else set()
    lost = [row for row in lost if (index.responder(row), _with_data(index.fact(row, "bits"))) not in passed]
    groups = index.by(index.responder, lost)
    for host, rows, others in places([(host, rows) for host, rows in groups if len(rows) >= MIN_LOST]):
        where = wording.many(others, "other server") if host is None else wording.host(host)
        waited = max(index.fact(row, "first_synack_ns") - index.fact(row, "first_ns") for row in rows)
        yield make(
            index,
            CAUSE.name,
            rows,
            severity="warning",
            confidence="high" if len(rows) >= SURE_LOST else "medium",
            summary=f"SYNs with fast open do not reach {where}: a black hole for the option"
            f" ({wording.many(len(rows), 'connection')}, up to {wording.span(waited)} lost each)",
            evidence=[
                f"{wording.many(len(rows), 'SYN')} with fast open unanswered, then answered when repeated without; not"
                " one with it was answered"
            ],
            confirm="`nstat -az TcpExtTCPFastOpenActiveFail TcpExtTCPFastOpenBlackhole` on the client",
            advice=advise("switch fast open off for that path until the middlebox on it is mended", "tcp_fastopen"),
        )


def _with_data(bits: int) -> bool:
    """A SYN with data is one thing to a middlebox, one that only asks for a cookie another."""
    return bool(bits & f.FAST_OPEN)


class Passed(NamedTuple):
    """Which of those servers answered a SYN with the option at once, and whether it had data."""

    servers: frozenset[Host]

    def of(self, table: FlowTable) -> set[tuple[Host, bool]]:
        names = ("r_hi", "r_lo", "o_options", "r_synacks", "o_syn_retransmissions", "bits")
        return {
            (f.host_key(high, low), _with_data(bits))
            for high, low, options, synacks, again, bits in zip(*map(table.facts.column, names), strict=True)
            if options & OPT_FAST_OPEN and synacks and not again and f.host_key(high, low) in self.servers
        }

    def joined(self, answers: Sequence[set[tuple[Host, bool]]]) -> set[tuple[Host, bool]]:
        return set().union(*answers)


CAUSE = Cause(
    name="fast_open",
    title="SYNs with TCP Fast Open vanish",
    threshold=f"{MIN_LOST} SYNs answered only when repeated without fast open, none with it answered",
    weakened_by=(ONE_WAY, LOSS, CUT),
    look=look,
)
