"""Large segments vanish while small ones pass: a path-MTU black hole.

Looks at data sent again and again without an acknowledgment although the peer is alive and speaks. Where nothing of
that size was ever acknowledged on the connection, the size is the reason; the router's ICMP error got lost.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings import wording
from analyzer.findings.finding import CUT, FLAGS_ONLY, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import SECOND_NS, Host, Index
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f

#: three in a row are lost by chance once in a million at 1 % loss
MIN_REPEATS = 3
#: what every path must carry (RFC 879, RFC 9293 section 3.7.1): smaller segments meet no such hole
SURE_TO_PASS = 536
#: three repetitions by timer take longer (0.2 + 0.4 + 0.8 s); faster ones belong to a burst of loss
MIN_SPAN_NS = SECOND_NS
#: connections between the same two hosts: no chance any more
SURE_COUNT = 2


def look(index: Index) -> Iterator[Finding]:
    """One finding a pair of hosts, by direction; those beyond the first few share one."""
    if FLAGS_ONLY in index.doubts:
        return
    sides = {row: side for row in index.free(index.stuck) for side in ("o_", "r_") if _too_large(index, row, side)}

    def way(row: int) -> tuple[Host, Host]:
        ends = index.originator(row), index.responder(row)
        return ends if sides[row] == "o_" else (ends[1], ends[0])

    for hosts, rows, others in places(index.by(way, sides)):
        sizes = [_size(index, row, sides[row]) for row in rows]
        passed = max(index.fact(row, sides[row] + "largest_acked") for row in rows)
        repeats = sum(f.stuck(index.fact(row, sides[row] + "stuck"))[0] for row in rows)
        if hosts is None:
            between = wording.many(others, "other pair") + " of hosts"
        else:
            between = f"{wording.host(hosts[0])} to {wording.host(hosts[1])}"
        sized = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
        yield make(
            index,
            CAUSE.name,
            rows,
            severity="warning",
            confidence="high" if len(rows) >= SURE_COUNT else "medium",
            summary=f"segments of {min(sizes):,} bytes and more vanish on the way from {between} while small ones pass:"
            f" path-MTU black hole ({wording.many(len(rows), 'connection')})",
            evidence=[
                f"{wording.many(repeats, 'repetition')} of {sized} bytes, never acknowledged;"
                f" the largest that was: {passed:,} bytes; the receiver went on sending meanwhile"
            ],
            confirm=f"`ping -M do -s {max(sizes)}` from the sender; `tracepath` names the hop; does ICMP type 3 code 4"
            " (IPv6: type 2) arrive?",
            advice=advise(
                "let ICMP 'fragmentation needed' and 'packet too big' through, or clamp the MSS where the path gets"
                " narrow (VPN, PPPoE, tunnel): `nft … tcp option maxseg size set rt mtu`",
                "tcp_mtu_probing",
            ),
        )


def _too_large(index: Index, row: int, side: str) -> bool:
    repeats, size, _ = f.stuck(index.fact(row, side + "stuck"))
    peer = "r_" if side == "o_" else "o_"
    alive = index.fact(row, peer + "spoke_ns") > index.fact(row, side + "stuck_ns")
    lasted = index.fact(row, side + "spoke_ns") - index.fact(row, side + "stuck_ns") >= MIN_SPAN_NS
    if repeats < MIN_REPEATS or size <= SURE_TO_PASS or not alive or not lasted:
        return False
    if not index.fact(row, "bits") & f.CONFIRMED and side == "o_":
        return False  # the responder may still wait in its accept queue: its repeated SYN+ACKs are not life
    return index.fact(row, side + "largest_acked") < _size(index, row, side)


def _size(index: Index, row: int, side: str) -> int:
    """What went onto the path: a capture on the sender shows segments before the card cuts them to the MSS."""
    mss = index.fact(row, ("r_" if side == "o_" else "o_") + "mss")
    size = f.stuck(index.fact(row, side + "stuck"))[1]
    return min(size, mss) if mss else size


CAUSE = Cause(
    name="path_mtu",
    title="large segments vanish, small ones pass",
    threshold=f"{MIN_REPEATS} repetitions of more than {SURE_TO_PASS} bytes to a peer that speaks, nothing as large"
    " ever acknowledged",
    weakened_by=(ONE_WAY, LOSS, CUT),
    look=look,
)
