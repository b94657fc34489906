"""A connection that stands on one side only: the peer has vanished and nobody told the other end.

Looks at data or keep-alives sent again and again to a peer that has not said one word since. Until it gives up (Linux:
about a quarter of an hour) that end reads ESTABLISHED, which is false.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from analyzer.findings import wording
from analyzer.findings.finding import CUT, LOSS, ONE_WAY, Cause, Finding
from analyzer.findings.index import SECOND_NS, Host, Index, ListenerKey
from analyzer.findings.kernel import advise
from analyzer.findings.making import make, places
from analyzer.flows import facts as f
from analyzer.flows.table import FlowTable

#: three in a row are lost by chance once in a million at 1 % loss
MIN_REPEATS = 3
#: the first three by timer take 0.2 + 0.4 + 0.8 s (Linux TCP_RTO_MIN); faster ones belong to a burst of loss
MIN_SPAN_NS = SECOND_NS
#: what every path must carry (RFC 879, RFC 9293 section 3.7.1)
SURE_TO_PASS = 536
#: no loss lasts so long: 0.2 s doubled five times
SURE_REPEATS = 5


def look(index: Index) -> Iterator[Finding]:
    """One finding a silent host; those beyond the first few share one."""
    sides = {row: side for row in index.free(index.stuck) for side in ("o_", "r_") if _abandoned(index, row, side)}

    def silent(row: int) -> Host:
        return index.responder(row) if sides[row] == "o_" else index.originator(row)

    for host, rows, others in places(index.by(silent, sides)):
        yield _finding(index, host, rows, others, sides)


def _abandoned(index: Index, row: int, side: str) -> bool:
    """Whether this end calls in vain; a FIN in vain is another cause's matter."""
    if index.fact(row, side + "fins") or index.fact(row, ("r_" if side == "o_" else "o_") + "fins"):
        return False
    return _calls(index, row, side) >= MIN_REPEATS and _span_ns(index, row, side) >= MIN_SPAN_NS


def _calls(index: Index, row: int, side: str) -> int:
    """How often it has called since the peer last spoke."""
    repeats, _, probes = f.stuck(index.fact(row, side + "stuck"))
    peer = "r_" if side == "o_" else "o_"
    return max(repeats if _peer_spoke_ns(index, row, peer) < index.fact(row, side + "stuck_ns") else 0, probes)


def _peer_spoke_ns(index: Index, row: int, peer: str) -> int:
    return index.fact(row, peer + "spoke_ns")


def _span_ns(index: Index, row: int, side: str) -> int:
    """How long it has called."""
    peer = "r_" if side == "o_" else "o_"
    return index.fact(row, side + "spoke_ns") - _peer_spoke_ns(index, row, peer)


def _size(index: Index, row: int, side: str) -> int:
    """Payload of what it repeats."""
    return f.stuck(index.fact(row, side + "stuck"))[1]


def _finding(index: Index, host: Host | None, rows: list[int], others: int, sides: dict[int, str]) -> Finding:
    calls = sum(_calls(index, row, sides[row]) for row in rows)
    probed = sum(1 for row in rows if f.stuck(index.fact(row, sides[row] + "stuck"))[2] >= MIN_REPEATS)
    longest = max(_span_ns(index, row, sides[row]) for row in rows)
    ended = sum(1 for row in rows if index.fact(row, "bits") & f.RESET)
    evidence = [
        f"{wording.many(calls, 'repetition')} of data or keep-alives without one segment in return, over up to"
        f" {wording.span(longest)}; {wording.many(probed, 'connection')} probed by keep-alives, {ended:,} given up"
        " with a RST"
    ]
    fresh = _came_again(index, rows)
    if fresh:
        silent, new = fresh[0]
        (row,) = index.named([new])
        evidence.append(
            f"{wording.many(len(fresh), 'client')} opened a new connection instead: {wording.flow(index, row)} after"
            f" flow {silent}"
        )
    unborn = [row for row in rows if sides[row] == "o_" and not index.fact(row, "bits") & f.CONFIRMED]
    if unborn:
        evidence.append(
            f"{len(unborn):,} never got an answer after the handshake: a full accept queue behind SYN cookies, or a"
            " filter that lets only handshakes pass, look the same"
        )
    if all(_size(index, row, sides[row]) > SURE_TO_PASS for row in rows):
        evidence.append("only large segments were tried: a path-MTU black hole looks the same")
    sure = len(rows) > 1 or bool(fresh) or max(_calls(index, row, sides[row]) for row in rows) >= SURE_REPEATS
    who = wording.many(others, "other host") if host is None else wording.host(host)
    return make(
        index,
        CAUSE.name,
        rows,
        severity="warning",
        confidence="high" if sure and not unborn else "medium",
        summary=f"{who} fell silent in the middle of {wording.many(len(rows), 'connection')}: the other end still"
        " believes in them (false ESTABLISHED)",
        evidence=evidence,
        confirm="`ss -tno state established` on the end that calls shows the timer and its repetitions; is the other"
        " host up, does it know the port?",
        advice=advise(
            "find out why the peer or the path went away: host down, address moved, NAT or firewall entry expired",
            "keepalive",
            "tcp_retries2",
            "TCP_USER_TIMEOUT on the socket gives up when the application wants it",
        ),
    )


def _came_again(index: Index, rows: list[int]) -> list[tuple[int, int]]:
    """(silent flow, the next connection of the same client to the same listener while it called), by number."""
    wanted: dict[tuple[Host, ListenerKey], list[tuple[int, int]]] = {}
    for row in rows:
        silent_since = min(index.fact(row, "o_spoke_ns"), index.fact(row, "r_spoke_ns"))
        calls = wanted.setdefault((index.originator(row), index.listener_key(row)), [])
        calls.append((index.fact(row, "number"), silent_since))
    return sorted(index.ask(NextOf(wanted)).items())


class NextOf(NamedTuple):
    """Of silent flows, the next one of the same client to the same listener, by number.

    `wanted`: by client and listener, the number of each silent flow, and since when it is.
    """

    wanted: dict[tuple[Host, ListenerKey], list[tuple[int, int]]]

    def of(self, table: FlowTable) -> dict[int, int]:
        found: dict[int, int] = {}
        hosts = {host for host, _ in self.wanted}
        # The longest silent first, of which each new connection takes as many as it is the next of.
        waiting = {
            pair: sorted((since_ns, silent) for silent, since_ns in calls) for pair, calls in self.wanted.items()
        }
        for row, begins in enumerate(table.raw("first_ns")):
            host = table.facts.host(table.order[row], "o_")
            if host in hosts:
                calls = waiting.get((host, table.listener(row)), [])
                new = table.fact(row, "number")
                itself = []
                while calls and begins > calls[0][0]:
                    call = heappop(calls)
                    if call[1] == new:
                        itself.append(call)
                    else:
                        found[call[1]] = new
                for call in itself:
                    heappush(calls, call)
        return found

    def joined(self, answers: Sequence[dict[int, int]]) -> dict[int, int]:
        found: dict[int, int] = {}
        for answer in answers:
            for silent, new in answer.items():
                found[silent] = min(new, found.get(silent, new))
        return found


CAUSE = Cause(
    name="dead_peer",
    title="the peer has vanished: false ESTABLISHED",
    threshold=f"{MIN_REPEATS} repetitions of data or keep-alives over {MIN_SPAN_NS // SECOND_NS} s to a peer that is"
    " silent meanwhile",
    weakened_by=(ONE_WAY, LOSS, CUT),
    look=look,
)
