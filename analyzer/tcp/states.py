"""The states of an endpoint and the transitions between them, as data.

Owns the names, the table and the reason of each line. Knows nothing of packets: `tracker` turns a segment into
events, and each event moves the segment's sender (what it proves of itself) and its receiver (what it implies there).
The tracker, the tests and the diagram in docs/ all read this one table.
"""

from __future__ import annotations

from typing import NamedTuple

# RFC 9293 section 3.3.2; the order is the code in packed transitions.
STATES = (
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RECEIVED",
    "ESTABLISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
)
(
    CLOSED,
    LISTEN,
    SYN_SENT,
    SYN_RECEIVED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    CLOSE_WAIT,
    CLOSING,
    LAST_ACK,
    TIME_WAIT,
) = range(11)

# How a state is known.
BASES = ("unknown", "observed", "inferred", "timer")
UNKNOWN, OBSERVED, INFERRED, TIMER = range(4)

# What a segment can be, seen from the tracker.
EVENTS = (
    "SYN",  # a SYN without ACK
    "SYN_ACK",  # a SYN that acknowledges the peer's SYN
    "ACK_OF_SYN",  # the first ACK that covers the peer's SYN
    "PROGRESS",  # data, or an ACK of data: only a socket past the handshake sends it
    "MIDSTREAM",  # data or ACK of a connection whose handshake is not in the capture
    "FIN",
    "CROSSED_FIN",  # a FIN that does not acknowledge the peer's, though its sender has
    "ACK_OF_FIN",  # an ACK that covers the peer's FIN
    "ACK_OF_CROSSED_FIN",  # the same, after a FIN of one's own that the peer had not acknowledged
    "RST",
    "ICMP",  # an ICMP error that the kernel takes as final
    "UNSEEN_FIN",  # a FIN of the direction that was not captured, as the other end's ACK numbers tell it
    "UNSEEN_ACK_OF_FIN",  # an ACK of that direction: the FIN was not sent again
)
(
    EV_SYN,
    EV_SYN_ACK,
    EV_ACK_OF_SYN,
    EV_PROGRESS,
    EV_MIDSTREAM,
    EV_FIN,
    EV_CROSSED_FIN,
    EV_ACK_OF_FIN,
    EV_ACK_OF_CROSSED_FIN,
    EV_RST,
    EV_ICMP,
    EV_UNSEEN_FIN,
    EV_UNSEEN_ACK_OF_FIN,
) = range(13)

SENDER, RECEIVER = 0, 1

#: after a contradiction the next ACK is doubted until the retransmission that would follow it is this late
DOUBT_PERCENT = 105


class Transition(NamedTuple):
    """One line of the table: `role` in `before`, on `event`, is `after` with `basis`, because `reason`."""

    role: int
    before: tuple[int, ...]
    event: int
    after: int
    basis: int
    reason: str


_SYNCHRONIZED = (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT)

TRANSITIONS: tuple[Transition, ...] = (
    # What a segment proves of the endpoint that sent it.
    Transition(SENDER, (CLOSED, LISTEN), EV_SYN, SYN_SENT, OBSERVED, "active open (RFC 9293 3.5)"),
    Transition(SENDER, (CLOSED, LISTEN), EV_SYN_ACK, SYN_RECEIVED, OBSERVED, "passive open (RFC 9293 3.5)"),
    Transition(SENDER, (SYN_SENT,), EV_SYN_ACK, SYN_RECEIVED, OBSERVED, "simultaneous open (RFC 9293 3.5)"),
    Transition(SENDER, (SYN_SENT, ESTABLISHED), EV_ACK_OF_SYN, ESTABLISHED, OBSERVED, "acknowledges the SYN+ACK"),
    Transition(
        SENDER, (CLOSED, LISTEN), EV_ACK_OF_SYN, ESTABLISHED, OBSERVED, "acknowledges a SYN; its own was not captured"
    ),
    Transition(
        SENDER, (SYN_RECEIVED,), EV_ACK_OF_SYN, ESTABLISHED, OBSERVED, "acknowledges the peer's SYN+ACK (crossing)"
    ),
    Transition(
        SENDER,
        (CLOSED, LISTEN, SYN_SENT, SYN_RECEIVED, ESTABLISHED),
        EV_PROGRESS,
        ESTABLISHED,
        OBSERVED,
        "data, or an ACK of data: past the handshake",
    ),
    Transition(SENDER, (CLOSED, LISTEN), EV_MIDSTREAM, ESTABLISHED, INFERRED, "in the middle of a connection"),
    Transition(
        SENDER, (SYN_SENT, SYN_RECEIVED, ESTABLISHED), EV_FIN, FIN_WAIT_1, OBSERVED, "closes first (RFC 9293 3.6)"
    ),
    Transition(SENDER, (CLOSED, LISTEN), EV_FIN, FIN_WAIT_1, OBSERVED, "closes; the handshake was not captured"),
    Transition(SENDER, (CLOSE_WAIT,), EV_FIN, LAST_ACK, OBSERVED, "closes after the peer (RFC 9293 3.6)"),
    Transition(
        SENDER,
        (CLOSE_WAIT,),
        EV_CROSSED_FIN,
        CLOSING,
        INFERRED,
        "its FIN left before its ACK of the peer's, and was captured after it",
    ),
    Transition(
        SENDER,
        (SYN_SENT, SYN_RECEIVED, ESTABLISHED, CLOSED, LISTEN),
        EV_ACK_OF_FIN,
        CLOSE_WAIT,
        OBSERVED,
        "acknowledges the peer's FIN",
    ),
    Transition(SENDER, (FIN_WAIT_1,), EV_ACK_OF_FIN, CLOSING, OBSERVED, "FINs crossed (RFC 9293 3.6, case 3)"),
    Transition(SENDER, (FIN_WAIT_2,), EV_ACK_OF_FIN, TIME_WAIT, OBSERVED, "acknowledges the last FIN"),
    Transition(
        SENDER, (CLOSING,), EV_ACK_OF_FIN, TIME_WAIT, INFERRED, "acknowledges the crossed FIN; its own was acknowledged"
    ),
    Transition(SENDER, (FIN_WAIT_1,), EV_ACK_OF_CROSSED_FIN, CLOSING, OBSERVED, "FINs crossed (RFC 9293 3.6, case 3)"),
    Transition(
        SENDER,
        (CLOSED, LISTEN, SYN_SENT, SYN_RECEIVED, *_SYNCHRONIZED),
        EV_RST,
        CLOSED,
        OBSERVED,
        "resets: it aborts the connection, or has none",
    ),
    # What the same segment implies for the endpoint it is sent to, until that endpoint contradicts it.
    Transition(RECEIVER, (SYN_SENT,), EV_SYN_ACK, ESTABLISHED, INFERRED, "its SYN was answered"),
    Transition(RECEIVER, (CLOSED, LISTEN), EV_SYN_ACK, ESTABLISHED, INFERRED, "its SYN, not captured, was answered"),
    Transition(RECEIVER, (SYN_RECEIVED,), EV_SYN_ACK, ESTABLISHED, INFERRED, "SYN+ACKs crossed"),
    Transition(RECEIVER, (SYN_RECEIVED,), EV_ACK_OF_SYN, ESTABLISHED, INFERRED, "its SYN+ACK was acknowledged"),
    Transition(
        RECEIVER, (CLOSED, LISTEN), EV_ACK_OF_SYN, ESTABLISHED, INFERRED, "its SYN, not captured, was acknowledged"
    ),
    Transition(RECEIVER, (CLOSED, LISTEN), EV_MIDSTREAM, ESTABLISHED, INFERRED, "in the middle of a connection"),
    Transition(RECEIVER, (SYN_SENT,), EV_PROGRESS, ESTABLISHED, INFERRED, "its SYN was answered, not captured"),
    Transition(RECEIVER, (FIN_WAIT_1,), EV_ACK_OF_FIN, FIN_WAIT_2, INFERRED, "its FIN was acknowledged"),
    Transition(RECEIVER, (CLOSING,), EV_ACK_OF_FIN, TIME_WAIT, INFERRED, "its FIN was acknowledged"),
    Transition(RECEIVER, (CLOSING,), EV_ACK_OF_CROSSED_FIN, TIME_WAIT, INFERRED, "its FIN was acknowledged"),
    Transition(
        RECEIVER, (FIN_WAIT_1,), EV_ACK_OF_CROSSED_FIN, CLOSING, INFERRED, "FINs crossed; it has yet to acknowledge"
    ),
    Transition(RECEIVER, (LAST_ACK,), EV_ACK_OF_FIN, CLOSED, INFERRED, "its FIN was acknowledged"),
    Transition(RECEIVER, (SYN_RECEIVED,), EV_RST, LISTEN, INFERRED, "reset before completion (RFC 9293 3.10.7.4)"),
    Transition(RECEIVER, (SYN_SENT, *_SYNCHRONIZED), EV_RST, CLOSED, INFERRED, "reset by the peer"),
    Transition(RECEIVER, (SYN_SENT,), EV_ICMP, CLOSED, INFERRED, "ICMP error ends SYN_SENT (Linux)"),
    Transition(RECEIVER, (SYN_RECEIVED,), EV_ICMP, LISTEN, INFERRED, "ICMP error ends SYN_RECEIVED (Linux)"),
    # One direction was captured, and tells what passed in the other: each line but an assumption.
    Transition(SENDER, (ESTABLISHED,), EV_UNSEEN_FIN, FIN_WAIT_2, INFERRED, "its FIN, not captured, was acknowledged"),
    Transition(SENDER, (CLOSE_WAIT,), EV_UNSEEN_FIN, CLOSED, INFERRED, "its last FIN, not captured, was acknowledged"),
    Transition(
        RECEIVER, (ESTABLISHED,), EV_UNSEEN_FIN, CLOSE_WAIT, INFERRED, "acknowledges one byte that was not captured"
    ),
    Transition(
        RECEIVER, (FIN_WAIT_2,), EV_UNSEEN_FIN, TIME_WAIT, INFERRED, "acknowledges one last byte that was not captured"
    ),
    Transition(
        SENDER, (ESTABLISHED,), EV_UNSEEN_ACK_OF_FIN, CLOSE_WAIT, INFERRED, "the peer did not send its FIN again"
    ),
    Transition(
        SENDER, (FIN_WAIT_2,), EV_UNSEEN_ACK_OF_FIN, TIME_WAIT, INFERRED, "the peer did not send its last FIN again"
    ),
    Transition(
        RECEIVER, (FIN_WAIT_1,), EV_UNSEEN_ACK_OF_FIN, FIN_WAIT_2, INFERRED, "its FIN was not needed a second time"
    ),
    Transition(
        RECEIVER, (LAST_ACK,), EV_UNSEEN_ACK_OF_FIN, CLOSED, INFERRED, "its last FIN was not needed a second time"
    ),
)

# Reasons that no event of the table gives; they continue the table's numbering in packed transitions.
EXTRA_REASONS = (
    "SYN retransmitted",
    "SYN+ACK retransmitted",
    "SYN+ACK sent again for a repeated SYN",
    "FIN retransmitted",
    "FIN of the peer seen again: TIME_WAIT starts anew",
    "SYN+ACK sent again after the ACK: the ACK was lost or ignored",
    "FIN sent again after its ACK: the ACK was lost",
    "sends on: what should have ended it did not",
    "SYN sent again: no answer had arrived",
    "opens a new connection on the same ports: the old end is lost",
    "resets the FIN that it had waited for: its FIN_WAIT_2 had timed out before",
)
(
    RE_SYN_AGAIN,
    RE_SYNACK_AGAIN,
    RE_SYNACK_ELICITED,
    RE_FIN_AGAIN,
    RE_TIME_WAIT_RESTART,
    RE_ACK_CONTRADICTED,
    RE_FIN_ACK_CONTRADICTED,
    RE_REVIVED,
    RE_ANSWER_CONTRADICTED,
    RE_REPLACED,
    RE_ORPHAN_GONE,
) = range(len(TRANSITIONS), len(TRANSITIONS) + len(EXTRA_REASONS))

#: text of each reason code
REASONS: tuple[str, ...] = tuple(t.reason for t in TRANSITIONS) + EXTRA_REASONS

_UNSEEN = frozenset((EV_UNSEEN_FIN, EV_UNSEEN_ACK_OF_FIN))
#: reasons that rest on what the end itself sent
BY_OWN = frozenset(
    number for number, line in enumerate(TRANSITIONS) if line.role == SENDER and line.event not in _UNSEEN
) | (frozenset(range(len(TRANSITIONS), len(REASONS))) - {RE_TIME_WAIT_RESTART, RE_REPLACED})

#: "no transition" in the packed table
NONE = 0xFF


def pack() -> tuple[bytes, bytes, bytes]:
    """The table as three byte strings: state after, basis, reason.

    Each is indexed by (role * number of events + event) * number of states + state.
    `NONE` in the first stands where nothing changes. Raises ValueError where two lines contradict each other.
    """
    size = 2 * len(EVENTS) * len(STATES)
    after, basis, reason = bytearray([NONE]) * size, bytearray(size), bytearray(size)
    for number, line in enumerate(TRANSITIONS):
        for before in line.before:
            cell = (line.role * len(EVENTS) + line.event) * len(STATES) + before
            if after[cell] != NONE:
                raise ValueError(f"two transitions for {STATES[before]} on {EVENTS[line.event]}")
            after[cell], basis[cell], reason[cell] = line.after, line.basis, number
    return bytes(after), bytes(basis), bytes(reason)
