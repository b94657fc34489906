"""What must hold of the tracker whatever it is fed: checks that ask only for consistency, never for a verdict."""

from __future__ import annotations

from collections.abc import Sequence

from tcp import script
from tcp.script import Packet, World

from analyzer import segments
from analyzer.flows.facts import FACTS, FlowFacts
from analyzer.tcp import states, timeline

HOME = World("home")
SHIFTED = (World("wraps", isns=(0xFFFF_FFFF, 0xFFFF_FFF0)), World("half", isns=(0x7FFF_FFFF, 0x8000_0001)))
SWAPPED = World("swapped", swapped=True)

#: reasons whose entry continues the state of the end that did not send the packet
_BY_PEER = frozenset((states.RE_TIME_WAIT_RESTART,))
_ADDRESSES = frozenset(("o_hi", "o_lo", "r_hi", "r_lo", "o_port", "r_port"))
_ISNS = frozenset(("o_isn", "r_isn"))

Summary = list[tuple[dict[str, int], bytes, bytes]]


def summary(facts: FlowFacts, leave_out: frozenset[str] = frozenset()) -> Summary:
    """Everything the tracker says of the flows, in their order."""
    found = []
    for at in range(facts.count):
        row = {name: value for name, value in facts.row(at).items() if name not in leave_out}
        found.append((row, facts.history[at], facts.transitions[at]))
    return sorted(found, key=lambda one: one[0]["number"])


def run(
    packets: Sequence[Packet], world: World = HOME, *, ipv6: bool = False, batches_of: int | None = None
) -> FlowFacts:
    """The facts of a run in `world`."""
    return script.track(script.rows(packets, world, ipv6=ipv6, ports=None), batches_of=batches_of)


def check(packets: Sequence[Packet], *, ipv6: bool = False) -> FlowFacts:
    """Assert all invariants of a run; its facts."""
    facts = run(packets, ipv6=ipv6)
    _counters_add_up(packets, facts)
    for at in range(facts.count):
        _log_is_sound(packets, facts, at, ipv6=ipv6)
    plain = summary(facts)
    assert summary(run(packets, ipv6=ipv6, batches_of=1)) == plain
    without_isns = summary(facts, _ISNS)
    for world in SHIFTED:
        assert summary(run(packets, world, ipv6=ipv6), _ISNS) == without_isns
    assert summary(run(packets, SWAPPED, ipv6=ipv6), _ADDRESSES) == summary(facts, _ADDRESSES)
    _addresses_are_mirrored(facts, run(packets, SWAPPED, ipv6=ipv6))
    return facts


def _counters_add_up(packets: Sequence[Packet], facts: FlowFacts) -> None:
    rows = [facts.row(at) for at in range(facts.count)]

    def both(name: str) -> int:
        return sum(row["o_" + name] + row["r_" + name] for row in rows)

    fed = [packet for packet in packets if packet.icmp is None]
    plain = segments.SYN | segments.RST
    assert both("packets") == len(fed)
    assert both("bytes") == sum(packet.payload for packet in fed)
    assert both("rsts") == sum(bool(packet.flags & segments.RST) for packet in fed)
    assert both("fins") == sum(packet.flags & (segments.FIN | segments.RST) == segments.FIN for packet in fed)
    assert both("syns") == sum(packet.flags & (plain | segments.ACK) == segments.SYN for packet in fed)
    assert both("synacks") == sum(
        packet.flags & (plain | segments.ACK) == segments.SYN | segments.ACK for packet in fed
    )
    for row in rows:
        for end in ("o_", "r_"):
            assert row[end + "duplicates"] + row[end + "retransmissions"] <= row[end + "packets"]
            assert row[end + "rejected_rsts"] <= row[end + "rsts"]
            assert row[end + "syn_retransmissions"] <= row[end + "syns"]
            assert row[end + "synack_retransmissions"] <= row[end + "synacks"]
            assert row[end + "state"] < len(states.STATES)
            assert row[end + "basis"] < len(states.BASES)
    assert set(rows[0]) == set(FACTS) if rows else True
    assert sorted(row["number"] for row in rows) == [
        row["number"] for row in sorted(rows, key=lambda one: one["first_packet"])
    ]


#: what no packet says, but that a FIN was not sent again
_BY_SILENCE = {line.reason for line in states.TRANSITIONS if line.event == states.EV_UNSEEN_ACK_OF_FIN}


def _log_is_sound(packets: Sequence[Packet], facts: FlowFacts, at: int, *, ipv6: bool) -> None:
    row = facts.row(at)
    originator = (row["o_hi"], row["o_lo"], row["o_port"])
    entries = timeline.unpack(facts.transitions[at])
    for side in (timeline.ORIGINATOR, timeline.RESPONDER):
        course = timeline.course(entries, side)
        assert [one.ts_ns for one in course] == sorted(one.ts_ns for one in course)
        by_silence = [one for one in course if one.packet == 0]
        assert all(states.REASONS[one.reason] in _BY_SILENCE for one in by_silence)
        numbers = [one.packet for one in course if one.packet]
        assert numbers == sorted(numbers)
        before = states.CLOSED
        for entry in course:
            assert entry.packet <= len(packets)
            sent_it = False  # 0: what should have come did not
            if entry.packet:
                packet = packets[entry.packet - 1]
                home = (*script.halves(HOME.address(packet.source, ipv6)), HOME.port(packet.source, None))
                sent_it = (home == originator) == (side == timeline.ORIGINATOR)
            if entry.basis == states.OBSERVED and entry.reason not in _BY_PEER:
                assert sent_it, f"{entry} rests on a packet of the other end"
            assert _is_a_line(entry, before), f"{states.STATES[before]} → {entry} is not in the table"
            before = entry.state
        if course:
            end = "o_" if side == timeline.ORIGINATOR else "r_"
            assert (row[end + "state"], row[end + "basis"]) == (course[-1].state, course[-1].basis)


def _is_a_line(entry: timeline.Entry, before: int) -> bool:
    """Whether the table has it; several moves by one packet are one entry, which gives the last one's reason."""
    if entry.reason >= len(states.TRANSITIONS):
        return True
    line = states.TRANSITIONS[entry.reason]
    if line.after != entry.state or entry.basis not in (line.basis, states.INFERRED):
        return False
    return before in line.before or any(
        before in first.before and first.after in line.before for first in states.TRANSITIONS
    )


def _addresses_are_mirrored(facts: FlowFacts, mirrored: FlowFacts) -> None:
    def ends(one: FlowFacts, names: tuple[str, ...]) -> list[tuple[int, ...]]:
        return sorted((row["number"], *(row[name] for name in names)) for row, _, _ in summary(one))

    assert ends(facts, ("o_hi", "o_lo", "o_port", "r_hi", "r_lo", "r_port")) == ends(
        mirrored, ("r_hi", "r_lo", "r_port", "o_hi", "o_lo", "o_port")
    )
