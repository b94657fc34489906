"""The course of one endpoint's state, from the tracker's transition log.

Owns the packed format of the log and the question "which state at time T, in hindsight". Knows one end of one flow;
what several flows mean together is `analyzer.sockets`' concern.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from analyzer.tcp import states
from analyzer.tcp.timers import Timers

ORIGINATOR, RESPONDER = 0, 1

_TIMER_REASONS = frozenset(
    (
        states.RE_SYN_AGAIN,
        states.RE_SYNACK_AGAIN,
        states.RE_FIN_AGAIN,
        states.RE_ACK_CONTRADICTED,
        states.RE_FIN_ACK_CONTRADICTED,
        states.RE_ANSWER_CONTRADICTED,
    )
)
_REFRESH_REASONS = _TIMER_REASONS | {states.RE_SYNACK_ELICITED, states.RE_TIME_WAIT_RESTART}
_CONTRADICTIONS = frozenset((states.RE_ACK_CONTRADICTED, states.RE_FIN_ACK_CONTRADICTED))
_BY_ACK = frozenset(
    number
    for number, line in enumerate(states.TRANSITIONS)
    if line.role == states.RECEIVER
    and line.event in (states.EV_ACK_OF_SYN, states.EV_ACK_OF_FIN, states.EV_ACK_OF_CROSSED_FIN)
)


class Entry(NamedTuple):
    """One line of the log: at `ts_ns`, with packet `packet`, end `side` is (still) in `state`, because `reason`."""

    ts_ns: int
    packet: int
    side: int
    state: int
    basis: int
    reason: int
    withdrawn: bool


class Doubt(NamedTuple):
    """Between a contradiction and the moment when the next one would be overdue, an ACK convinces nobody."""

    state: int
    since_ns: int
    until_ns: int
    next_ns: int | None  # when the end moved or sent again after it; None: never
    repeats: int  # how often its timer had fired by then


class Moment(NamedTuple):
    """The state at a moment; `retried`: by the timer, in this state; `last`: no later entry of this end follows."""

    state: int
    basis: int
    since_ns: int
    refresh_ns: int
    retried: int
    last: bool
    doubt: Doubt | None = None


class Answer(NamedTuple):
    """A responder's SYN+ACK that no timer repeated: when it was last sent, and when its state then moved on."""

    sent_ns: int
    next_ns: int | None  # None: it never did

    def due_ns(self, timers: Timers) -> int:
        """When a SYN+ACK that kept state would have been sent again."""
        return self.sent_ns + timers.cookie_ns

    def is_cookie(self, timers: Timers) -> bool:
        """Whether what moved the state on came after the repetition was due: nothing was kept in between."""
        return self.next_ns is not None and self.next_ns > self.due_ns(timers)


def unpack(log: bytes) -> list[Entry]:
    """The log as entries, in order of capture. Format: pairs of uint64, time and packed word (see `tracker._set`)."""
    words = array("Q")
    words.frombytes(log)
    return [
        Entry(
            ts_ns=words[at],
            packet=words[at + 1] >> 16,
            side=words[at + 1] & 1,
            state=words[at + 1] >> 1 & 0xF,
            basis=words[at + 1] >> 5 & 3,
            reason=words[at + 1] >> 8 & 0xFF,
            withdrawn=bool(words[at + 1] & 0x80),
        )
        for at in range(0, len(words), 2)
    ]


def course(entries: Sequence[Entry], side: int) -> list[Entry]:
    """The entries of one end that still stand."""
    return [entry for entry in entries if entry.side == side and not entry.withdrawn]


def cookie(entries: Sequence[Entry]) -> Answer | None:
    """The SYN+ACK of the responder whose `course` this is, where only repeated SYNs elicited it again; else None."""
    answer = None
    for entry in entries:
        if entry.state == states.SYN_RECEIVED:
            if answer is not None and entry.reason != states.RE_SYNACK_ELICITED:
                return None
            answer = Answer(entry.ts_ns, None)
        elif answer is None:
            return None  # simultaneous open: a socket that sent a SYN of its own
        else:
            return answer._replace(next_ns=entry.ts_ns)
    return answer


def at(entries: Sequence[Entry], when_ns: int, timers: Timers) -> Moment | None:
    """The state of the end whose `course` this is at `when_ns`, or None before its first entry.

    With hindsight: an end that sends later was alive in between, whatever its timer says.
    """
    position = -1
    for number, entry in enumerate(entries):
        if entry.ts_ns <= when_ns:
            position = number
    if position < 0:
        return None
    since = refresh = interval = 0
    retried = 0
    state = -1
    contradicted = False
    doubt = None
    for entry in entries[: position + 1]:
        doubt = None
        contradicted = contradicted or entry.reason in _CONTRADICTIONS
        if entry.reason in _REFRESH_REASONS and entry.state == state:
            if entry.reason in _TIMER_REASONS:
                interval = entry.ts_ns - refresh
                retried += 1
            refresh = entry.ts_ns
            continue
        if contradicted and entry.basis == states.INFERRED and entry.reason in _BY_ACK:
            until = refresh + 2 * interval * states.DOUBT_PERCENT // 100
            doubt = Doubt(state, refresh, until, None, retried)
        same_fin = state == states.FIN_WAIT_1 and entry.state == states.CLOSING
        if entry.state != state:
            since = entry.ts_ns
        if not same_fin:
            if entry.state != state:
                retried, interval = 0, 0
            refresh = entry.ts_ns
        state = entry.state
    now = entries[position]
    later = entries[position + 1 :]
    if doubt is not None and later:
        doubt = doubt._replace(next_ns=later[0].ts_ns)
    moment = Moment(now.state, now.basis, since, refresh, retried, not later, doubt)
    if any(_proves_alive(entry) for entry in later):
        return moment
    if later and later[0].reason == states.RE_ORPHAN_GONE:
        gone_ns = timers.orphan_end_ns(since, later[0].ts_ns)
        return Moment(states.CLOSED, states.TIMER, gone_ns, refresh, retried, False) if when_ns > gone_ns else moment
    expiry = timers.expiry_ns(now.state, refresh, retried, interval)
    if expiry is None or when_ns <= expiry:
        return moment
    gone = states.LISTEN if now.state == states.SYN_RECEIVED else states.CLOSED
    return Moment(gone, states.TIMER, expiry, refresh, retried, not later)


def _proves_alive(entry: Entry) -> bool:
    """Whether an entry shows that its end had lived on until then."""
    return entry.reason in states.BY_OWN and entry.state != states.CLOSED
