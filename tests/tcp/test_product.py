"""Every reachable pair of states × every kind of segment from either end: nothing breaks, everything adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tcp import invariants, script
from tcp.script import Packet

from analyzer.tcp import states

_OPEN = ("C > S: S 0", "S > C: S. 0 ack 1", "C > S: . 1 ack 1")
_DATA = (*_OPEN, "C > S: P. 1:8(7) ack 1", "S > C: . 1 ack 8")
_HALF = (*_OPEN, "C > S: F. 1 ack 1", "S > C: . 1 ack 2")
_CROSSED = (*_OPEN, "C > S: F. 1 ack 1", "S > C: F. 1 ack 1")

#: the states of C and S after each prefix, and the packets that lead there
PREFIXES: dict[str, tuple[str, ...]] = {
    "CLOSED CLOSED": (),
    "SYN_SENT CLOSED": ("C > S: S 0",),
    "SYN_SENT SYN_SENT": ("C > S: S 0", "S > C: S 0"),
    "SYN_RECEIVED SYN_SENT or past it": ("C > S: S 0", "S > C: S 0", "C > S: S. 0 ack 1"),
    "ESTABLISHED SYN_RECEIVED": _OPEN[:2],
    "ESTABLISHED ESTABLISHED": _OPEN,
    "ESTABLISHED ESTABLISHED confirmed": _DATA,
    "ESTABLISHED ESTABLISHED by fast open": ("C > S: S 0:3(3) tfo", "S > C: S. 0 ack 4", "C > S: . 4 ack 1"),
    "ESTABLISHED ESTABLISHED midstream": ("C > S: P. 1:8(7) ack 1", "S > C: . 1 ack 8"),
    "ESTABLISHED SYN_RECEIVED again": (*_OPEN, "wait", "S > C: S. 0 ack 1"),
    "SYN_SENT CLOSED challenged": ("C > S: S 0", "S > C: . 300001 ack 4444"),
    "CLOSED CLOSED refused": ("C > S: S 0", "S > C: R. 0 ack 1"),
    "CLOSED LISTEN": (*_OPEN[:2], "C > S: R 1"),
    "CLOSED CLOSED reset": (*_OPEN, "C > S: R. 1 ack 1"),
    "FIN_WAIT_1 ESTABLISHED": (*_OPEN, "C > S: F. 1 ack 1"),
    "ESTABLISHED FIN_WAIT_1": (*_OPEN, "S > C: F. 1 ack 1"),
    "FIN_WAIT_2 CLOSE_WAIT": _HALF,
    "CLOSE_WAIT FIN_WAIT_2": (*_OPEN, "S > C: F. 1 ack 1", "C > S: . 1 ack 2"),
    "FIN_WAIT_2 LAST_ACK": (*_HALF, "S > C: F. 1 ack 2"),
    "LAST_ACK FIN_WAIT_2": (*_OPEN, "S > C: F. 1 ack 1", "C > S: F. 1 ack 2"),
    "TIME_WAIT CLOSED": (*_HALF, "S > C: F. 1 ack 2", "C > S: . 2 ack 2"),
    "CLOSED TIME_WAIT": (*_OPEN, "S > C: F. 1 ack 1", "C > S: F. 1 ack 2", "S > C: . 2 ack 2"),
    "FIN_WAIT_1 FIN_WAIT_1": _CROSSED,
    "CLOSING CLOSING or past it": (*_CROSSED, "C > S: . 2 ack 2"),
    "TIME_WAIT TIME_WAIT": (*_CROSSED, "C > S: . 2 ack 2", "S > C: . 2 ack 2"),
    "TIME_WAIT LAST_ACK": (*_HALF, "S > C: F. 1 ack 2", "C > S: . 2 ack 2", "wait", "S > C: F. 1 ack 2"),
    "SYN_SENT ESTABLISHED of the old flow": (*_DATA, "C > S: S 900000"),
    "SYN_SENT TIME_WAIT of the old flow": (
        *_OPEN,
        "S > C: F. 1 ack 1",
        "C > S: F. 1 ack 2",
        "S > C: . 2 ack 2",
        "C > S: S 900000",
    ),
}
STEP_NS = 250_000_000  # shorter than any SYN's timer
WAIT_NS = 3_000_000_000  # longer than any round trip here

#: kind of segment → its words, from where its sender and the peer stand
KINDS: dict[str, Callable[[int, int], str]] = {
    "SYN": lambda here, there: "S 0",
    "SYN of another ISN": lambda here, there: "S 1900000",
    "SYN with data": lambda here, there: "S 0:4(4)",
    "SYN+ACK": lambda here, there: f"S. 0 ack {there}",
    "SYN+ACK of another ISN": lambda here, there: "S. 1700000 ack 1",
    "SYN+ACK of a wrong ack": lambda here, there: f"S. 0 ack {there + 4711}",
    "old ACK": lambda here, there: f". {here} ack {there - 1}",
    "exact ACK": lambda here, there: f". {here} ack {there}",
    "ACK beyond": lambda here, there: f". {here} ack {there + 1000}",
    "ACK from elsewhere": lambda here, there: f". {here - 123456789} ack {there + 1234567890}",
    "data": lambda here, there: f"P. {here}:{here + 10}(10) ack {there}",
    "data ahead": lambda here, there: f"P. {here + 10}:{here + 20}(10) ack {there}",
    "data again": lambda here, there: f"P. {here - 7}:{here}(7) ack {there}",
    "keep-alive": lambda here, there: f". {here - 1} ack {there}",
    "FIN": lambda here, there: f"F. {here} ack {there}",
    "FIN again": lambda here, there: f"F. {here - 1} ack {there}",
    "FIN with data": lambda here, there: f"FP. {here}:{here + 10}(10) ack {there}",
    "FIN without ACK": lambda here, there: f"F {here}",
    "exact RST": lambda here, there: f"R. {here} ack {there}",
    "exact RST without ACK": lambda here, there: f"R {here}",
    "RST in the window": lambda here, there: f"R {here + 100}",
    "RST outside": lambda here, there: f"R {here + 5_000_000}",
    "SYN+FIN": lambda here, there: f"SF {here}",
    "SYN+RST": lambda here, there: f"SR {here}",
    "FIN+RST": lambda here, there: f"FR. {here} ack {there}",
    "no flags": lambda here, there: f"none {here}",
}


def trace(bodies: tuple[str, ...]) -> list[Packet]:
    """The packets, a step apart; `wait` is a longer pause."""
    at_ns, packets = script.EPOCH_NS, []
    for body in bodies:
        if body == "wait":
            at_ns += WAIT_NS
            continue
        packets.append(script.parse_packet(at_ns, body))
        at_ns += STEP_NS
    return packets


def standing(packets: list[Packet], end: str) -> int:
    """What the end would send next, by its last segment that is in order."""
    spans = [one.seq + one.payload + bool(one.flags & 1) + bool(one.flags & 2) for one in packets if one.source == end]
    return spans[-1] if spans else 1


def follow(bodies: tuple[str, ...], sender: str, kind: str) -> tuple[str, ...]:
    """The bodies with one more segment of that kind."""
    receiver = "S" if sender == "C" else "C"
    packets = trace(bodies)
    return (*bodies, f"{sender} > {receiver}: {KINDS[kind](standing(packets, sender), standing(packets, receiver))}")


@pytest.mark.parametrize("name", [name for name in PREFIXES if not name.startswith("CLOSED CLOSED")])
def test_prefixes_lead_where_they_say(name: str) -> None:
    facts = invariants.run(trace(PREFIXES[name]))
    rows = [row for row, _, _ in invariants.summary(facts)]
    first, second = name.split()[:2]
    if "old flow" in name:
        assert states.STATES[rows[-1]["o_state"]] == first
        assert states.STATES[rows[0]["r_state"]] == second
    elif "or past it" in name:
        assert states.STATES[rows[0]["o_state"]] == first
    else:
        got = states.STATES[rows[0]["o_state"]], states.STATES[rows[0]["r_state"]]
        assert got == (first, second)


def test_prefixes_reach_all_eleven_states() -> None:
    assert {word for name in PREFIXES for word in name.split()[:2]} == set(states.STATES)


PRODUCT = [pytest.param(prefix, kind, id=f"{prefix}-{kind}") for prefix in PREFIXES for kind in KINDS]


@pytest.mark.parametrize("ipv6", [False, True], ids=["v4", "v6"])
@pytest.mark.parametrize(("prefix", "kind"), PRODUCT)
def test_one_more_segment(prefix: str, kind: str, ipv6: bool) -> None:
    for sender in "CS":
        invariants.check(trace(follow(PREFIXES[prefix], sender, kind)), ipv6=ipv6)


def steps(kinds: Iterable[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(st.sampled_from("CS"), st.sampled_from(sorted(kinds))), min_size=2, max_size=8)


def walk(prefix: str, path: list[tuple[str, str]]) -> None:
    bodies = PREFIXES[prefix]
    for sender, kind in path:
        bodies = follow(bodies, sender, kind)
    invariants.check(trace(bodies))


often = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@often
@given(st.sampled_from(sorted(PREFIXES)), steps(KINDS))
def test_several_more_segments(prefix: str, path: list[tuple[str, str]]) -> None:
    walk(prefix, path)


@pytest.mark.parametrize("sender", ["C", "S"])
@pytest.mark.parametrize("kind", ["SYN+FIN", "SYN+RST", "no flags"])
@pytest.mark.parametrize("prefix", [prefix for prefix in PREFIXES if PREFIXES[prefix]])
def test_nonsense_changes_no_state(prefix: str, kind: str, sender: str) -> None:
    """RFC 9293 3.10.7.4: a segment without ACK is dropped, and no stack sends these."""
    before = invariants.summary(invariants.run(trace(PREFIXES[prefix])))
    after = invariants.summary(invariants.run(trace(follow(PREFIXES[prefix], sender, kind))))
    assert [log for _, _, log in after] == [log for _, _, log in before]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_time_does_not_run_backwards_in_a_log(prefix: str) -> None:
    """Also where a merged capture's clock does: the first packet stamped last."""
    packets = trace(PREFIXES[prefix])
    for first, second in pairwise(range(len(packets))):
        swapped = list(packets)
        swapped[first], swapped[second] = (
            Packet(**{**vars(packets[first]), "at_ns": packets[second].at_ns}),
            Packet(**{**vars(packets[second]), "at_ns": packets[first].at_ns}),
        )
        facts = invariants.run(swapped)
        assert sum(facts.column("o_packets")) + sum(facts.column("r_packets")) == len(packets)
