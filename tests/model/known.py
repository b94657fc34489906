"""Contradictions that remain: what a capture cannot tell (docs/unknowable.md), and nothing else.

Owns the list, each line with its reason. Must not grow wider than what was seen: a line names the states said, the
states they were, and what the capture lacked.
"""

from __future__ import annotations

from typing import NamedTuple

from model.judge import Wrong


class Known(NamedTuple):
    """Contradictions with one cause: only those that show all of the marks (fields of `Wrong`) named in `marks`."""

    why: str
    said: tuple[str, ...]
    truth: tuple[str, ...]
    marks: tuple[str, ...]

    def explains(self, wrong: Wrong) -> bool:
        marked = all(getattr(wrong, mark) for mark in self.marks)
        return wrong.said in self.said and wrong.truth in self.truth and marked


KNOWN = (
    Known(
        "`path`, `before`: its FIN did not come as far as the capture, and shows itself only when it is repeated",
        ("SYN_RECEIVED", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK"),
        ("FIN_WAIT_1", "CLOSING", "LAST_ACK"),
        ("lost_fin",),
    ),
    Known(
        "`window`: FIN_WAIT_1 begins with close(), and data that waited go before the FIN",
        ("ESTABLISHED",),
        ("FIN_WAIT_1",),
        ("fin_to_come",),
    ),
    Known(
        "`crossing`: an ACK that only challenges the peer's SYN+ACK, of ends whose SYNs crossed out of sight",
        ("ESTABLISHED",),
        ("SYN_RECEIVED",),
        ("crossing",),
    ),
    Known(
        "`path`: the ACK of its FIN reached it, and not the capture",
        ("CLOSING",),
        ("TIME_WAIT",),
        ("lost_ack",),
    ),
)


def explains(wrong: Wrong) -> str:
    """Why the contradiction is let pass; empty where it is not known."""
    return next((one.why for one in KNOWN if one.explains(wrong)), "")
