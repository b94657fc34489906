"""`Finding`: one named cause with its evidence, and `Cause`: how one is declared.

Owns the two shapes, the words for severity and confidence, and the order of weight. Knows no cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from analyzer.findings.index import Index, Question
    from analyzer.findings.view import CaptureView
    from analyzer.tcp.timers import Timers

SEVERITIES = ("critical", "warning", "info")
CONFIDENCES = ("high", "medium", "low")

# What can be wrong with a capture, as far as it weakens what is concluded from it.
ONE_WAY = "one_way"  # one direction of some connections is not in it
LOSS = "loss"  # segments are missing from it
FLAGS_ONLY = "flags_only"  # a capture filter kept only SYN, FIN and RST
CUT = "cut"  # it does not hold all of what was captured: a damaged file, flows dropped at a bound


class Finding(NamedTuple):
    """A cause, where it is, what shows it, and what to do.

    `count` is the number of flows concerned (of segments, where no flow is); `flows` names at most
    `wording.MAX_FLOWS` of them. The filter selects the first `filter_first` of them, where that is not 0: else all.
    """

    name: str
    severity: str
    confidence: str
    count: int  # type: ignore[assignment]  # hides tuple.count, which a finding has no use for
    summary: str
    evidence: list[str]
    confirm: str
    advice: str
    flows: list[int]
    wireshark_filter: str
    filter_first: int = 0


class Cause(NamedTuple):
    """One file of `causes`: `look` yields its findings and claims the flows that it explains.

    `title`: what it is, in a few words. `threshold`: from what on it is reported, and why. `weakened_by`: the doubts
    about a capture that lower its confidence. `asks`: what it asks of all flows whatever an index holds, so that shards
    that lie elsewhere can begin with it.
    """

    name: str
    title: str
    threshold: str
    weakened_by: tuple[str, ...]
    look: Callable[[Index], Iterable[Finding]]
    asks: Callable[[CaptureView, int, Timers], Iterable[Question[Any, Any]]] = lambda capture, end_ns, timers: ()


def lowered(confidence: str) -> str:
    """The next lower confidence; "low" stays."""
    return CONFIDENCES[min(CONFIDENCES.index(confidence) + 1, len(CONFIDENCES) - 1)]


def weight(finding: Finding) -> tuple[int, int, int, str]:
    """Sort key: what matters most comes first; among equals, the surer and then the larger."""
    return (
        SEVERITIES.index(finding.severity),
        CONFIDENCES.index(finding.confidence),
        -finding.count,
        finding.name,
    )
