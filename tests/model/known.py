"""Contradictions that are known: what a capture cannot tell, and defects of the tracker not yet mended.

Owns the list, each line with its reason. Must not grow wider than what was seen: a line names the states said, the
reasons the tracker gave for them, the states they were, and whether the capture lacked something.
"""

from __future__ import annotations

from typing import NamedTuple

from model.judge import Wrong

_DATA = "data, or an ACK of data: past the handshake"
_ACKS_SYNACK = "acknowledges the SYN+ACK"
_CROSSED = "acknowledges the crossed FIN"
_CLOSES_FIRST = "closes first (RFC 9293 3.6)"
_CLOSES_AFTER = "closes after the peer (RFC 9293 3.6)"
_ACKS_FIN = "acknowledges the peer's FIN"
_FIN_AGAIN = "FIN retransmitted"
_FIN_LOST = "FIN sent again after its ACK: the ACK was lost"
_REVIVED = "sends on after the reset: it did not arrive"


class Known(NamedTuple):
    """Contradictions with one cause. `unseen`: only where the capture lacks something that the sender had known."""

    said: tuple[str, ...]
    reasons: tuple[str, ...]
    truth: tuple[str, ...]
    unseen: bool
    why: str

    def explains(self, wrong: Wrong) -> bool:
        return (
            wrong.said in self.said
            and wrong.reason in self.reasons
            and wrong.truth in self.truth
            and (bool(wrong.unseen) or not self.unseen)
        )


_PAST_CLOSE = ("FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT")

KNOWN = (
    Known(
        ("TIME_WAIT",),
        (_CROSSED,),
        ("CLOSING",),
        False,
        "M1: an ACK sent before the peer's came in proves CLOSING; TIME_WAIT is inferred from the peer's",
    ),
    Known(
        ("ESTABLISHED",),
        (_DATA,),
        _PAST_CLOSE,
        True,
        "M2: a FIN not captured, and its number taken for a byte; past the handshake, but `observed` says too much",
    ),
    Known(
        ("FIN_WAIT_1",),
        (_CLOSES_FIRST, _FIN_AGAIN),
        ("LAST_ACK", "CLOSING"),
        True,
        "M3: acknowledges a FIN that was not captured",
    ),
    Known(
        ("CLOSE_WAIT",),
        (_ACKS_FIN,),
        ("TIME_WAIT", "CLOSING", "LAST_ACK"),
        True,
        "M4: its own FIN came before and was not captured, or later",
    ),
    Known(
        ("CLOSING", "LAST_ACK"),
        (_FIN_LOST, _CLOSES_AFTER),
        ("FIN_WAIT_1",),
        False,
        "M5: the FIN's own ACK number does not cover the peer's FIN",
    ),
    Known(
        ("ESTABLISHED",),
        (_ACKS_SYNACK,),
        ("SYN_RECEIVED",),
        True,
        "M8: simultaneous open, its first SYN+ACK not captured: an ACK that answers a repeated SYN+ACK",
    ),
    Known(
        ("CLOSED",),
        ("resets: it has no such connection",),
        ("SYN_SENT", "SYN_RECEIVED"),
        True,
        "M9: a RST that answers an ACK of an old connection, of which this end had sent nothing in the capture",
    ),
    Known(
        ("CLOSE_WAIT",),
        (_ACKS_FIN,),
        ("ESTABLISHED",),
        True,
        "M6: a segment taken for one of an older connection of the same ports",
    ),
)

#: the same for segments that the tracker gave to a flow of an older or another connection on the same ports
STRANGERS = "M6: a segment taken for one of an older connection of the same ports"
REVIVALS = "M7: a copy on the way when a RST overtook it is no sign that the connection lives on"


def explains(wrong: Wrong) -> str:
    """Why the contradiction is let pass; empty where it is not known."""
    if wrong.stranger:
        return STRANGERS
    if wrong.reason == _REVIVED:
        return REVIVALS
    return next((one.why for one in KNOWN if one.explains(wrong)), "")
