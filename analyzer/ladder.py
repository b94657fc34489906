"""One flow, segment by segment, with the state of both ends after each: what `show` prints.

Owns the numbers as tcpdump shows them, and the marks. States come from the transition log of the first reading;
nothing is judged anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from analyzer import rereading
from analyzer import segments as s
from analyzer.engine import Options, Source
from analyzer.flows import facts as f
from analyzer.flows.table import FlowTable
from analyzer.rereading import Progress
from analyzer.segments import ICMP_ERROR
from analyzer.sockets import state_at
from analyzer.tcp import states, timeline

_M32 = 0xFFFF_FFFF
#: earlier segments of one end that a copy is looked for among: a capture's copies lie close together
COPIES_SOUGHT = 64
#: copies by time stamp lie closer than any timer (see the tracker)
COPY_NS = 5_000_000

_COPY = "duplicate of the capture"

_PLAIN = s.ACK | s.SYN | s.FIN | s.RST
_SYNCHRONIZED = frozenset(range(states.ESTABLISHED, states.TIME_WAIT + 1))
_GONE = frozenset((states.CLOSED, states.TIME_WAIT))
_FIN_ACKED = frozenset(
    number
    for number, line in enumerate(states.TRANSITIONS)
    if line.role == states.RECEIVER and line.event in (states.EV_ACK_OF_FIN, states.EV_ACK_OF_CROSSED_FIN)
)
_REPEATS = frozenset(
    (
        states.RE_SYN_AGAIN,
        states.RE_SYNACK_AGAIN,
        states.RE_SYNACK_ELICITED,
        states.RE_FIN_AGAIN,
        states.RE_ACK_CONTRADICTED,
        states.RE_FIN_ACK_CONTRADICTED,
        states.RE_ANSWER_CONTRADICTED,
    )
)
#: what shows that an assumption was wrong; data sent in vain do so too, and leave no entry
_TAKES_BACK = frozenset(
    (states.RE_ACK_CONTRADICTED, states.RE_FIN_ACK_CONTRADICTED, states.RE_ANSWER_CONTRADICTED, states.RE_REVIVED)
)
#: an end as it is called here, by the side of the log
ENDS = ("originator", "responder")


@dataclass(frozen=True)
class State:
    """A state and how it is known; both as the codes of `tcp.states`."""

    state: int
    basis: int


@dataclass
class Rung:
    """One segment. `side`: 0 the originator sent it, 1 the responder, None an ICMP error.

    `text`: as tcpdump prints it behind the addresses. `ends`: the state of either end after it (None: nothing is known
    yet). `marks`: what it completes or repeats; `reasons`: why each end is where it is, only where that has changed.
    """

    packet: int
    ts_ns: int
    side: int | None
    text: str
    segment: dict[str, int]
    ends: tuple[State | None, State | None]
    marks: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def rungs(
    table: FlowTable, row: int, sources: Sequence[Source], options: Options, progress: Progress | None = None
) -> list[Rung]:
    """All segments of a flow, in order of capture. `sources` and `options` are those that `table` was made from."""
    return ladders(table, [row], sources, options, progress)[row]


def ladders(
    table: FlowTable, rows: Sequence[int], sources: Sequence[Source], options: Options, progress: Progress | None = None
) -> dict[int, list[Rung]]:
    """The same of several flows, by row, in one reading."""
    kept = rereading.segments(table, rows, sources, options, progress)
    segments: dict[int, list[dict[str, int]]] = {row: [] for row in rows}
    for at, row in enumerate(kept.rows):
        segments[row].append(kept.segment(at))
    made = {}
    for row in rows:
        entries = timeline.unpack(table.transitions(row))
        made[row] = list(_climb(table, row, segments[row], entries))
        _answered_copies(made[row], entries)
    return made


def find_frame(sources: Sequence[Source], options: Options, number: int) -> dict[str, int] | None:
    """The segment (or the one quoted by an ICMP error) of packet `number`; None where it holds none."""
    for batch in rereading.decoded(sources, options):
        if batch.count and batch.packet[batch.count - 1] >= number:
            return next((batch.row(at) for at in range(batch.count) if batch.packet[at] == number), None)
    return None


def same_ends(table: FlowTable, segment: dict[str, int]) -> list[int]:
    """The rows with the 4-tuple of `segment`, in order."""
    a = (segment["src_hi"], segment["src_lo"], segment["sport"])
    b = (segment["dst_hi"], segment["dst_lo"], segment["dport"])
    scope, ipv6 = segment["scope"], segment["mark"] & s.IPV6
    ports = (segment["sport"], segment["dport"])
    found = []
    for row, (o_port, r_port) in enumerate(zip(table.raw("o_port"), table.raw("r_port"), strict=True)):
        if o_port in ports and r_port in ports:
            o = (table.fact(row, "o_hi"), table.fact(row, "o_lo"), o_port)
            r = (table.fact(row, "r_hi"), table.fact(row, "r_lo"), r_port)
            same = (o, r) in ((a, b), (b, a)) and table.fact(row, "scope") == scope
            if same and bool(table.fact(row, "bits") & f.IPV6) == bool(ipv6):
                found.append(row)
    return found


def row_of_frame(
    table: FlowTable, sources: Sequence[Source], options: Options, number: int, progress: Progress | None = None
) -> int | None:
    """The row of the flow that packet `number` belongs to; None where it belongs to none."""
    segment = find_frame(sources, options, number)
    if segment is None:
        return None
    rows = same_ends(table, segment)
    if len(rows) > 1 and segment["kind"] != ICMP_ERROR:
        first = rereading.assigned(table, rows[:1], sources, options, progress)[1].get(number)
        rows = [row for row in rows if table.fact(row, "first_packet") == first]
    begun = [row for row in rows if table.fact(row, "first_packet") <= number]
    return begun[-1] if begun else None


# --- what each line says ----------------------------------------------------------------------------------------


def _climb(
    table: FlowTable, row: int, segments: Sequence[dict[str, int]], entries: Sequence[timeline.Entry]
) -> Iterator[Rung]:
    originator = (table.fact(row, "o_hi"), table.fact(row, "o_lo"), table.fact(row, "o_port"))
    bits = table.fact(row, "bits")
    by_packet: dict[int, list[timeline.Entry]] = {}
    for entry in entries:
        by_packet.setdefault(entry.packet, []).append(entry)
    now: list[State | None] = _before(entries)
    numbers = _Numbers()
    repeats = _Repeats()
    courses = (timeline.course(entries, 0), timeline.course(entries, 1))
    opened = not bits & (f.SYN_SEEN | f.SYNACK_SEEN)
    closed = False
    for segment in segments:
        here = by_packet.get(segment["packet"], ())
        for entry in here:
            if not entry.withdrawn:
                now[entry.side] = State(entry.state, entry.basis)
        for end, state in enumerate(now):
            if state is not None and state.basis == states.INFERRED and courses[end]:
                moment = state_at(table, row, end, courses[end], segment["ts_ns"])
                if moment is not None and moment.doubt is not None:
                    now[end] = State(moment.state, moment.basis)
        if segment["kind"] == ICMP_ERROR:
            side, text = None, _icmp_text(segment)
        else:
            side = 0 if (segment["src_hi"], segment["src_lo"], segment["sport"]) == originator else 1
            text = numbers.text(segment, side)
        rung = Rung(segment["packet"], segment["ts_ns"], side, text, segment, (now[0], now[1]))
        reached = [state.state if state else None for state in now]
        if not opened and all(state in _SYNCHRONIZED for state in reached):
            opened = True
            rung.marks.append("handshake complete")
        if side is not None:
            rung.marks.extend(repeats.marks(segment, side, here, bits, reached))
        rung.marks.extend(_closing(here, entries))
        if not closed and all(state in _GONE for state in reached) and _ends_it(segment, here):
            closed = True
            rung.marks.append("reset" if segment["flags"] & s.RST else "closed")
        rung.reasons.extend(
            f"{ENDS[entry.side]}: {states.REASONS[entry.reason]}" for entry in here if entry.reason not in _REPEATS
        )
        yield rung


def _before(entries: Sequence[timeline.Entry]) -> list[State | None]:
    """What either end was before its first entry: the responder of a passive open was listening."""
    first = {entry.side: entry for entry in reversed(entries)}
    passive = 1 in first and first[1].state == states.SYN_RECEIVED and 0 in first and first[0].state == states.SYN_SENT
    return [None, State(states.LISTEN, states.INFERRED) if passive else None]


def _ends_it(segment: dict[str, int], here: Sequence[timeline.Entry]) -> bool:
    return segment["kind"] != ICMP_ERROR and any(not entry.withdrawn for entry in here)


def _closing(here: Sequence[timeline.Entry], entries: Sequence[timeline.Entry]) -> Iterator[str]:
    """FINs that this segment acknowledges, and assumptions made here that a later segment takes back."""
    for entry in here:
        if entry.withdrawn:
            later = next(
                (
                    other
                    for other in entries
                    if other.side == entry.side and other.packet > entry.packet and other.reason in _TAKES_BACK
                ),
                None,
            )
            by = f" by packet {later.packet}" if later else ""
            yield f"assumed {ENDS[entry.side]} {states.STATES[entry.state]}, taken back{by}"
        elif entry.reason in _FIN_ACKED:
            yield f"FIN of the {ENDS[entry.side]} acknowledged"


def _answered_copies(made: Sequence[Rung], entries: Sequence[timeline.Entry]) -> None:
    """A SYN that looked like a copy and got a SYN+ACK of its own was sent again: some hosts number packets alike."""
    elicited = {entry.packet for entry in entries if entry.reason == states.RE_SYNACK_ELICITED}
    for rung, after in pairwise(made):
        if after.packet in elicited and _COPY in rung.marks and rung.side != after.side:
            rung.marks[rung.marks.index(_COPY)] = states.REASONS[states.RE_SYN_AGAIN]


class _Numbers:
    """Sequence numbers as tcpdump shows them: absolute in SYNs and without ACK, else relative to the first ACK's."""

    def __init__(self) -> None:
        self._base: list[int] | None = None

    def text(self, segment: dict[str, int], side: int) -> str:
        flags, length = segment["flags"], segment["payload"]
        seq, ack = self.relative(segment, side)
        parts = [f"Flags [{s.letters(flags)}]"]
        if length or flags & (s.SYN | s.FIN | s.RST):
            parts.append(f"seq {seq}:{(seq + length) & _M32}" if length else f"seq {seq}")
        if flags & s.ACK:
            parts.append(f"ack {ack}")
        parts.append(f"win {segment['window']}")
        parts.append(f"length {length}")
        return ", ".join(parts)

    def relative(self, segment: dict[str, int], side: int) -> tuple[int, int]:
        """seq and ack as they are shown."""
        seq, ack = segment["seq"], segment["ack"]
        if not segment["flags"] & s.ACK:
            return seq, ack
        if self._base is None or segment["flags"] & s.SYN:
            self._base = [0, 0]
            self._base[side], self._base[1 - side] = seq, (ack - 1) & _M32
            return seq, ack
        return (seq - self._base[side]) & _M32, (ack - self._base[1 - side]) & _M32


class _Repeats:
    """Tells what is sent again from what the capture holds twice, and the other things worth a mark."""

    def __init__(self) -> None:
        self._earlier: tuple[list[dict[str, int]], list[dict[str, int]]] = ([], [])
        self._highest: list[int | None] = [None, None]
        self._acked: list[int | None] = [None, None]

    def marks(
        self,
        segment: dict[str, int],
        side: int,
        here: Sequence[timeline.Entry],
        bits: int,
        reached: Sequence[int | None],
    ) -> Iterator[str]:
        flags, size = segment["flags"], segment["payload"]
        earlier, highest = self._earlier[side], self._highest[side]
        carries = size + bool(flags & s.SYN) + bool(flags & s.FIN)
        end = (segment["seq"] + carries) & _M32
        again = carries and highest is not None and _distance(highest, end) <= 0
        if any(_is_copy(segment, other) for other in earlier):
            yield _COPY
        elif flags & _PLAIN == s.SYN | s.ACK and any(_conflicts(segment, other) for other in earlier):
            yield "SYN+ACK with another sequence number"
        elif any(entry.reason in _REPEATS and entry.side == side for entry in here):
            yield next(states.REASONS[e.reason] for e in here if e.reason in _REPEATS and e.side == side)
        elif reached[side] in _SYNCHRONIZED and _is_keep_alive(segment, highest, self._acked[side]):
            yield "keep-alive"
        elif again and not flags & s.SYN:
            yield "retransmission"
        if bits & f.CHALLENGED and side == 1 and reached[0] == states.SYN_SENT and flags & _PLAIN == s.ACK:
            yield "challenge ACK (RFC 5961)"
        if not segment["window"] and flags & s.ACK and not flags & (s.RST | s.SYN | s.FIN):
            yield "zero window"
        if carries and (highest is None or _distance(highest, end) > 0 or flags & s.SYN):
            self._highest[side] = end
        if flags & s.ACK:
            self._acked[1 - side] = segment["ack"]
        earlier.append(segment)
        del earlier[:-COPIES_SOUGHT]


def _distance(start: int, end: int) -> int:
    """How far `end` lies behind `start` in sequence space, modulo 2**32; negative where it lies before it."""
    apart = (end - start) & _M32
    return apart - (1 << 32) if apart >> 31 else apart


def _is_keep_alive(segment: dict[str, int], highest: int | None, acked: int | None) -> bool:
    """RFC 9293 section 3.8.4: one byte behind what was sent and acknowledged, with nothing or that byte in it."""
    if highest is None or segment["payload"] > 1 or segment["flags"] & _PLAIN != s.ACK:
        return False
    return (highest - segment["seq"]) & _M32 == 1 and (not segment["payload"] or acked == highest)


def _conflicts(segment: dict[str, int], other: dict[str, int]) -> bool:
    """Whether `other` is a SYN+ACK for the same SYN that `segment`, a SYN+ACK, contradicts."""
    return (
        other["flags"] & _PLAIN == s.SYN | s.ACK and other["ack"] == segment["ack"] and other["seq"] != segment["seq"]
    )


def _is_copy(segment: dict[str, int], other: dict[str, int]) -> bool:
    """Whether two segments of one end are one packet captured twice (DESIGN: same identification, or same TSval)."""
    if any(segment[name] != other[name] for name in ("seq", "ack", "flags", "payload", "window")):
        return False
    apart = abs(segment["ts_ns"] - other["ts_ns"])
    if segment["mark"] & s.HAS_IP_ID and segment["ip_id"]:
        return segment["ip_id"] == other["ip_id"] and apart <= 100 * COPY_NS
    if segment["mark"] & s.HAS_TIMESTAMP:
        return segment["tsval"] == other["tsval"] and apart <= COPY_NS
    return apart <= COPY_NS // 5


def _icmp_text(segment: dict[str, int]) -> str:
    kind, code = divmod(segment["options"], 256)
    return f"{'ICMPv6' if segment['mark'] & s.IPV6 else 'ICMP'} type {kind} code {code}, quotes the SYN"
