"""Contradictions that are known: what a capture cannot tell, and defects of the tracker not yet mended.

Owns the list, each line with its reason. Must not grow wider than what was seen: a line names the states said, the
states they were, and what the capture lacked or held.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from model.judge import Wrong

from analyzer.tcp import states


class Known(NamedTuple):
    """Contradictions with one cause.

    `unseen`: only where the capture lacks something that the sender had known. `stranger`, `after_reset`, `old_copy`,
    `fin_to_come`: only such.
    """

    why: str
    said: tuple[str, ...]
    truth: tuple[str, ...]
    unseen: bool = False
    stranger: bool = False
    after_reset: bool = False
    old_copy: bool = False
    fin_to_come: bool = False

    def explains(self, wrong: Wrong) -> bool:
        return (
            wrong.said in self.said
            and wrong.truth in self.truth
            and bool(wrong.unseen) >= self.unseen
            and wrong.stranger >= self.stranger
            and wrong.after_reset >= self.after_reset
            and wrong.old_copy >= self.old_copy
            and wrong.fin_to_come >= self.fin_to_come
        )


_PAST_CLOSE = ("FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT")
_ALIVE = ("SYN_SENT", "SYN_RECEIVED", "ESTABLISHED", *_PAST_CLOSE)

KNOWN = (
    Known(
        "M1: an ACK sent before the peer's came in proves CLOSING; TIME_WAIT is inferred from the peer's",
        ("TIME_WAIT",),
        ("CLOSING",),
    ),
    Known(
        "M2: a FIN not captured, and its number taken for a byte; past the handshake, but `observed` says too much",
        ("ESTABLISHED",),
        _PAST_CLOSE,
        unseen=True,
    ),
    Known(
        "M3: acknowledges a FIN that was not captured",
        ("FIN_WAIT_1",),
        ("LAST_ACK", "CLOSING"),
        unseen=True,
    ),
    Known(
        "M4: its own FIN came before and was not captured, or later",
        ("CLOSE_WAIT", "LAST_ACK"),
        ("TIME_WAIT", "CLOSING", "LAST_ACK"),
        unseen=True,
    ),
    Known(
        "M5: the FIN's own ACK number does not cover the peer's FIN",
        ("CLOSING", "LAST_ACK"),
        ("FIN_WAIT_1",),
    ),
    Known(
        "M5: an old copy of a FIN is taken for its repetition",
        ("CLOSING", "LAST_ACK"),
        ("TIME_WAIT", "CLOSING"),
        old_copy=True,
    ),
    Known(
        "M12: an old copy of the SYN after both ends have closed begins no connection",
        ("FIN_WAIT_1", "CLOSE_WAIT"),
        ("CLOSING", "LAST_ACK", "TIME_WAIT"),
        old_copy=True,
    ),
    Known(
        "M4: the ACK that ended its CLOSING was not captured",
        ("CLOSING",),
        ("TIME_WAIT",),
        unseen=True,
    ),
    Known(
        "M6, M10: a segment taken for one of an older connection of the same ports",
        _ALIVE,
        _ALIVE,
        stranger=True,
    ),
    Known(
        "M7: what was on the way when a RST was, is no sign that the connection lives on",
        _ALIVE,
        _ALIVE,
        after_reset=True,
    ),
    Known(
        "M8: simultaneous open: an ACK that only challenges the peer's SYN+ACK (RFC 5961 section 4)",
        ("ESTABLISHED",),
        ("SYN_RECEIVED",),
    ),
    Known(
        "closed while data waited for the handshake: FIN_WAIT_1 begins with close(), not with the FIN on the wire",
        ("ESTABLISHED",),
        ("FIN_WAIT_1",),
        fin_to_come=True,
    ),
    Known(
        "closed before the handshake was complete, the FIN lost and its SYN+ACK repeated: no packet tells",
        ("SYN_RECEIVED",),
        ("FIN_WAIT_1",),
        unseen=True,
    ),
    Known(
        "M9: a RST that answers an ACK of an old connection, of which this end had sent nothing in the capture",
        ("CLOSED",),
        ("SYN_SENT", "SYN_RECEIVED"),
        unseen=True,
    ),
    Known(
        "M11: the SYN of the next connection was not captured, and its segments are taken for the old one's",
        ("CLOSE_WAIT",),
        ("ESTABLISHED",),
        unseen=True,
    ),
)


def explains(wrong: Wrong) -> str:
    """Why the contradiction is let pass; empty where it is not known."""
    return next((one.why for one in KNOWN if one.explains(wrong)), "")


#: M13: a TIME_WAIT turned back into CLOSING keeps a reason that the table has for another state
_STALE_LABEL = re.compile(rf"^CLOSING → Entry\(.*state={states.CLOSING}, .* is not in the table")


def explains_label(error: AssertionError) -> bool:
    """Whether a log is unsound only in this known label."""
    return _STALE_LABEL.match(str(error)) is not None
