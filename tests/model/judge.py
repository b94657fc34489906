"""Holds the tracker's answers against what the endpoints of a run really were.

Owns the comparison: which entry of the log speaks of which socket, and which moments are quiet. Asks the tracker only
through its log and through `sockets_at`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from model.endpoint import ACK, FIN, MS, SYN, Segment
from model.program import Program, Run
from tcp import script
from tcp.script import World

from analyzer.flows.facts import FlowFacts
from analyzer.flows.table import FlowTable
from analyzer.sockets import sockets_over
from analyzer.tcp import states, timeline

HOME = World("home")
LETTERS = "CDS"
PAIRS = (("C", "S"), ("S", "C"), ("D", "S"), ("S", "D"))

#: as long as nothing has moved or changed for that long, a moment is quiet
QUIET_NS = 100 * MS

#: entries that rest on a packet of the other end
_BY_PEER = frozenset((states.RE_TIME_WAIT_RESTART,))
_NONE = frozenset(("CLOSED", "LISTEN"))


class Wrong(NamedTuple):
    """An observed state that its own sender denies.

    `lost_fin`: its sender had sent a FIN that was not captured by then. `fin_to_come`: it had closed, and not sent its
    FIN yet. `crossing`: both ends had opened, and the capture lacks one of the SYNs and SYN+ACKs.
    `lost_ack`: it had received an ACK of its FIN that was not captured by then.
    """

    packet: int
    local: str
    peer: str
    said: str
    reason: str
    truth: str
    lost_fin: bool
    fin_to_come: bool
    crossing: bool
    lost_ack: bool

    def __str__(self) -> str:
        names = [name for name in ("lost_fin", "fin_to_come", "crossing", "lost_ack") if getattr(self, name)]
        return (
            f"packet {self.packet} proves {self.local}/{self.peer} {self.said} ({self.reason});"
            f" it was {self.truth} {' '.join(names)}"
        )


def facts_of(program: Program, ran: Run) -> FlowFacts:
    """What the tracker makes of the run's capture."""
    return script.track(script.rows(ran.packets, HOME, ipv6=program.ipv6, ports=None)) if ran.packets else FlowFacts()


def _ends(program: Program) -> dict[tuple[int, int, int], str]:
    return {(*script.halves(HOME.address(letter, program.ipv6)), HOME.port(letter, None)): letter for letter in LETTERS}


def contradictions(program: Program, ran: Run, facts: FlowFacts) -> Iterator[Wrong]:
    """The standing `observed` entries whose sender was in another state when it sent the proving segment.

    CLOSED is also right where the segment comes from another socket than the flow's: a newer one on the same ports.
    """
    letters = _ends(program)
    for at in range(facts.count):
        row = facts.row(at)
        names = (
            letters[row["o_hi"], row["o_lo"], row["o_port"]],
            letters[row["r_hi"], row["r_lo"], row["r_port"]],
        )
        entries = timeline.unpack(facts.transitions[at])
        for side in (timeline.ORIGINATOR, timeline.RESPONDER):
            own: set[int] = set()
            for entry in timeline.course(entries, side):
                if entry.basis != states.OBSERVED or entry.reason in _BY_PEER:
                    continue
                g = ran.frames[entry.packet - 1].segment
                if g.source != names[side]:
                    continue
                said = states.STATES[entry.state]
                stranger = g.incarnation not in own
                gone = said in _NONE and (g.state in _NONE or stranger)
                if said != g.state and not gone:
                    yield Wrong(
                        entry.packet,
                        g.source,
                        g.target,
                        said,
                        states.REASONS[entry.reason],
                        g.state,
                        _has_lost_fin(ran, g, entry.packet),
                        _has_fin_to_come(ran, g),
                        _was_crossing(ran, g, entry.packet),
                        _has_lost_ack(ran, g, entry.packet),
                    )
                own.add(g.incarnation)


def _sent_before(ran: Run, g: Segment) -> list[Segment]:
    """What both ends of the segment's connection had sent by then, itself included."""
    until = next(number for number, one in enumerate(ran.sent) if one is g)
    return [one for one in ran.sent[: until + 1] if {one.source, one.target} == {g.source, g.target}]


def _has_lost_fin(ran: Run, g: Segment, packet: int) -> bool:
    captured = {id(frame.segment) for frame in ran.frames[:packet]}
    return any(
        one.flags & FIN and one.incarnation == g.incarnation and one.source == g.source and id(one) not in captured
        for one in _sent_before(ran, g)
    )


def _has_fin_to_come(ran: Run, g: Segment) -> bool:
    return g.state in ("FIN_WAIT_1", "LAST_ACK") and not any(
        one.flags & FIN and one.incarnation == g.incarnation and one.source == g.source for one in _sent_before(ran, g)
    )


def _was_crossing(ran: Run, g: Segment, packet: int) -> bool:
    captured = {id(frame.segment) for frame in ran.frames[:packet]}
    opening = [one for one in _sent_before(ran, g) if one.flags & SYN]
    both = {one.source for one in opening if not one.flags & ACK} == {g.source, g.target}
    return both and any(id(one) not in captured for one in opening)


def _has_lost_ack(ran: Run, g: Segment, packet: int) -> bool:
    captured = {id(frame.segment) for frame in ran.frames[:packet]}
    fins = [one.end for one in _sent_before(ran, g) if one.flags & FIN and one.source == g.source]
    return any(
        at_ns <= g.sent_ns and (one.target, one.source) == (g.source, g.target) and one.ack in fins
        for at_ns, one in ran.arrived
        if id(one) not in captured
    )


class Sample(NamedTuple):
    """The tracker's answer and the truth at a quiet moment; `near`: captured on that host."""

    at_ns: int
    local: str
    peer: str
    said: str
    basis: str
    truth: str
    near: bool

    @property
    def untold(self) -> bool:
        """Whether no packet can tell: an orphaned FIN_WAIT_2 ends silently, one that was shut down never does."""
        return self.said == "FIN_WAIT_2" and self.truth in _NONE

    @property
    def right(self) -> bool:
        return self.said == self.truth or (self.said in _NONE and self.truth in _NONE)


def quiet_moments(ran: Run) -> list[int]:
    """The middles of the times in which nothing was under way and nothing changed, from the first frame on."""
    spans = sorted([*ran.busy, *((change.at_ns, change.at_ns) for change in ran.changes)])
    moments, edge = [], ran.frames[0].at_ns if ran.frames else ran.end_ns
    for start, end in [*spans, (ran.end_ns, ran.end_ns)]:
        if start - edge >= 2 * QUIET_NS:
            moments.append((edge + start) // 2)
        edge = max(edge, end)
    return moments


def samples(program: Program, ran: Run, facts: FlowFacts) -> Iterator[Sample]:
    """Both ends of every connection at every quiet moment, from the time when there was one."""
    moments = quiet_moments(ran)
    table = FlowTable(facts, script.EPOCH_NS + ran.end_ns)
    instants = [script.EPOCH_NS + at for at in moments]
    home = {(HOME.address(letter, program.ipv6), HOME.port(letter, None)): letter for letter in LETTERS}
    near = {0: "CD", 1: "", 2: "S"}[program.path.point]
    for at_ns, sockets in zip(moments, sockets_over(table, instants), strict=True):
        found = {
            (home[one.local, one.local_port], home[one.peer, one.peer_port]): one
            for one in sockets
            if one.flow is not None
        }
        for local, peer in PAIRS:
            truth = ran.truth(local, peer, at_ns)
            socket = found.get((local, peer))
            if socket is not None:
                said, basis = socket.state, socket.basis
            elif ran.existed(local, peer, at_ns):
                said, basis = "CLOSED", _basis_of_none(table, home, local, peer, at_ns)
            else:
                continue
            yield Sample(at_ns, local, peer, said, basis, truth, local in near)


def _basis_of_none(table: FlowTable, home: dict[tuple[str, int], str], local: str, peer: str, at_ns: int) -> str:
    """Why the program lists no socket: the basis of the newest flow's end, `unknown` where there is no flow."""
    ends = {letter: (*script.halves(address), port) for (address, port), letter in home.items()}
    basis = "unknown"
    for row in range(len(table)):
        originator, responder = (
            tuple(table.fact(row, end + name) for name in ("hi", "lo", "port")) for end in ("o_", "r_")
        )
        if {originator, responder} != {ends[local], ends[peer]}:
            continue
        side = timeline.ORIGINATOR if originator == ends[local] else timeline.RESPONDER
        course = timeline.course(timeline.unpack(table.transitions(row)), side)
        moment = timeline.at(course, script.EPOCH_NS + at_ns, table.timers)
        if moment is not None:
            basis = states.BASES[moment.basis] if states.STATES[moment.state] in _NONE else "timer"
    return basis
