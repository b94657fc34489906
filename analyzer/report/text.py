"""The report for people: the capture's health, what is wrong in order of weight, then the three lists.

Owns what is said and in which order. Judges nothing; a capture without fault is three lines.
"""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from analyzer.flows import columns
from analyzer.flows.rendering import records
from analyzer.flows.table import FlowTable
from analyzer.listeners import Listener
from analyzer.report import grid, words
from analyzer.report.alike import more_of, some_of_each
from analyzer.report.display import NOTHING
from analyzer.report.escape import printable
from analyzer.report.reported import LISTENERS as JSON_LISTENERS
from analyzer.report.style import Style

if TYPE_CHECKING:
    from analyzer.findings import Finding
    from analyzer.report.reported import Reported

#: flows of a list that are shown: a screenful; the rest is counted, and `flows --where` lists it
LISTED = 20
#: findings of one cause that are shown; the rest is counted, and `report --explain` lists it
ALIKE = 10
#: listeners that are shown, the busiest; the rest is counted
LISTENERS = 20
#: reasons for frames without TCP that are named in a line
REASONS_NAMED = 3
#: lines are folded here where no terminal says otherwise
WIDTH = 100

#: what needs attention; findings of lesser weight do not keep a capture from being clean
_WRONG = frozenset(("critical", "warning"))
_NEEDED = (
    *("flow", "first_ns", "last_ns", "originator", "originator_port", "responder", "responder_port", "handshake"),
    *("syn_count", "synack_count", "synack_retransmissions", "synack_cause", "censored", "closed_by"),
    *("half_closed_ns", "half_closed_bytes", "originator_state", "responder_state"),
)


def write(out: TextIO, analysis: Reported) -> None:
    """Write the report, in colour where `out` is a terminal that wants it."""
    style = Style.of(out)
    terminal = grid.width_of(out)
    for line in _lines(analysis, style, min(terminal or WIDTH, WIDTH), terminal):
        out.write(line + "\n")


def _lines(analysis: Reported, style: Style, width: int, table_width: int | None) -> Iterator[str]:
    yield from _health(analysis, style, width)
    if not analysis.capture["flows"]:
        return
    if not analysis.selected:
        yield "No connection matches what the report was narrowed down to."
        return
    if analysis.selected < analysis.capture["flows"]:
        yield f"Narrowed down to {words.many(analysis.selected, 'connection')}; findings count all that a cause hit."
    lists, findings, files = analysis.lists, analysis.found, _named(analysis)
    wrong = [finding for finding in findings if finding.severity in _WRONG]
    noted = [finding for finding in findings if finding.severity not in _WRONG and not _said(finding, analysis)]
    if not wrong and not lists.incomplete_handshakes and not lists.half_closed and not lists.synack_retransmissions:
        clean = all(finding.name in _OF_THE_CAPTURE for finding in noted)
        yield from _folded(f"{'Clean' if clean else 'No fault found'}: {_outcome(analysis)}", width, "  ", style.good)
        how = ", ".join(dict.fromkeys(finding.name.replace("_", " ") for finding in noted)) if clean else ""
        yield _NOTHING_ELSE + (f" Noted: {how}." if how else "")
        yield from _noted([] if clean else noted, files, style, width)
        return
    yield from _folded(f"Handshakes: {_counted(lists.handshake)}. Closes: {_counted(lists.close)}.", width, "  ")
    if not wrong:
        yield NOTHING
    shown, left_out = some_of_each(wrong, ALIKE)
    for number, finding in enumerate(shown, 1):
        yield ""
        yield from _finding(number, finding, style, width)
    if wrong:
        yield ""
        yield from _left_out(left_out, files, style, width)
        if wrong[0].name not in left_out:
            yield style.faint(_command(f"All of it: handshake report {{}} --explain {wrong[0].name}", files, width))
    yield from _noted(noted, files, style, width)
    yield from _listeners(analysis, style, table_width)
    rows = fairly(analysis.table, lists.incomplete_handshakes, LISTED)
    where = "handshake not in ['complete', 'midstream']"
    yield from _list(analysis, style, table_width, "Incomplete handshakes", where, rows, _incomplete)
    rows = sorted(lists.half_closed, key=lambda row: analysis.table.fact(row, "half_start_ns"))
    yield from _list(
        analysis, style, table_width, "Half-closed connections", "close == 'half_closed'", rows, _half_closed
    )
    rows = lists.synack_retransmissions
    where = "synack_retransmissions > 0"
    yield from _list(analysis, style, table_width, "SYN+ACKs sent again", where, rows, _synack_again)


def _named(analysis: Reported) -> str:
    """The capture as an argument of a command."""
    names = [file["name"] for file in analysis.capture["files"]]
    return printable(shlex.quote(names[0])) if len(names) == 1 and os.path.exists(names[0]) else "FILE"


def fairly(table: FlowTable, rows: Sequence[int], room: int) -> list[int]:
    """`rows` with some of every verdict among the first `room`, the verdicts that say most in front."""
    by_verdict: dict[str, list[int]] = {word: [] for word in _BY_WEIGHT}
    for row in rows:
        by_verdict[columns.handshake(table, row)].append(row)
    groups = [group for group in by_verdict.values() if group]
    share = dict.fromkeys(range(len(groups)), 0)
    while room and any(share[place] < len(group) for place, group in enumerate(groups)):
        for place, group in enumerate(groups):
            if room and share[place] < len(group):
                share[place] += 1
                room -= 1
    first = [row for place, group in enumerate(groups) for row in group[: share[place]]]
    return first + [row for place, group in enumerate(groups) for row in group[share[place] :]]


#: what points at a fault of its own before what a peer may have meant
_BY_WEIGHT = ("ack_ignored", "half_open", "unanswered", "unreachable", "refused", "aborted")


def _health(analysis: Reported, style: Style, width: int) -> Iterator[str]:
    capture = analysis.capture
    names = [printable(os.path.basename(file["name"]) or file["name"]) for file in capture["files"]]
    name = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)} files)"
    line = f"{name}: {words.many(capture['packets'], 'packet')}"
    if capture["duration_ns"] is not None:
        line += f" in {words.span(capture['duration_ns'])} from {words.moment(capture['first_ns'])}"
    if not capture["flows"]:
        yield f"{line}, none of them TCP{_skipped(capture)}."
    else:
        tcp = f"{words.many(capture['segments'], 'TCP segment')}, {words.many(capture['flows'], 'connection')}"
        first, *rest = _folded(f"{line}; {tcp}.", width, "  ")
        yield first.replace(name, style.strong(name), 1)
        yield from rest
    for sentence in _once((*capture["notes"], *capture["weakened_by"])):
        yield from _folded(f"! {printable(sentence)}", width, "  ", style.warn)


def _once(sentences: Sequence[str]) -> Iterator[str]:
    """Sentences less those that a longer one holds: a reason may stand alone and behind the name of its file."""
    for sentence in dict.fromkeys(sentences):
        if not any(sentence != other and sentence.rpartition(": ")[2].rstrip(".") in other for other in sentences):
            yield sentence


def _skipped(capture: dict[str, Any]) -> str:
    """What the frames without a segment were, as a parenthesis."""
    counts = sorted(capture["skipped"].items(), key=lambda item: -item[1])
    named = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in counts[:REASONS_NAMED]]
    return f" ({', '.join(named)}{', …' if len(counts) > REASONS_NAMED else ''})" if named else ""


def _outcome(analysis: Reported) -> str:
    """How the connections of a capture without fault went."""
    lists = analysis.lists
    complete, midstream = lists.handshake.get("complete", 0), lists.handshake.get("midstream", 0)
    opened = f"{words.many(complete, 'handshake')} completed and none failed" if complete else "no handshake in it"
    older = f", {words.many(midstream, 'connection')} older than the capture" if midstream else ""
    ends = ", ".join(f"{count:,} {_ENDS[word]}" for word, count in lists.close.items())
    return f"{opened}{older}; {ends}."


_NOTHING_ELSE = "No incomplete handshake, no half-closed connection, no SYN+ACK sent again."
#: notes about how it was captured, not about what happened
_OF_THE_CAPTURE = frozenset(("checksum_offload", "duplicates_in_capture", "seen_twice"))


def _noted(noted: Sequence[Finding], files: str, style: Style, width: int) -> Iterator[str]:
    """What is worth knowing and calls for nothing, a line each."""
    if noted:
        yield ""
        yield style.strong("Also noted")
        shown, left_out = some_of_each(noted, ALIKE)
        for finding in shown:
            yield from _folded(f"  · {printable(finding.summary)} ({finding.name})", width, "    ")
        yield from _left_out(left_out, files, style, width)


def _left_out(left_out: dict[str, int], files: str, style: Style, width: int) -> Iterator[str]:
    """A line a cause of which not all findings are shown."""
    for name, count in left_out.items():
        yield style.faint(_command(f"{more_of(name, count)}: handshake report {{}} --explain {name}", files, width))


def _said(finding: Finding, analysis: Reported) -> bool:
    """Whether a finding only repeats what the capture's health has said: that a file was not read to its end."""
    damage = analysis.capture["truncated"]
    return finding.name == "capture_at_fault" and bool(damage) and len(finding.evidence) == 1


def _command(text: str, files: str, width: int) -> str:
    """A line with a command in it, {} the capture's name where that fits, and FILE otherwise."""
    named = text.format(files)
    return named if len(named) <= width else text.format("FILE")


_ENDS = {
    "none": "without a close",
    "open": "still open",
    "graceful": "closed gracefully",
    "reset": "reset",
    "fin_unacked": "with a FIN not acknowledged yet",
    "last_ack_missing": "without the last ACK",
    "half_closed": "half closed",
}


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {word.replace('_', ' ')}" for word, count in counts.items())


def _finding(number: int, finding: Finding, style: Style, width: int) -> Iterator[str]:
    """A finding in three parts: what it is, what shows it, and what to do first."""
    first, *rest = textwrap.wrap(
        f"{number}. {finding.severity.upper()} {printable(finding.summary)}",
        width,
        subsequent_indent="   ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    place, severity, summary = first.split(" ", 2)
    yield f"{place} {style.severity(finding.severity, severity)} {style.strong(summary)}"
    yield from map(style.strong, rest)
    # The first line of evidence has the counts, the last the examples.
    seen = "; ".join(dict.fromkeys((finding.evidence[0], finding.evidence[-1]))) if finding.evidence else ""
    about = f"   {finding.name}, {finding.confidence} confidence"
    yield from _folded(f"{about}: {printable(seen)}" if seen else about, width, "     ")
    yield from _folded(f"   do: {printable(finding.advice.partition('; ')[0].rstrip('.'))}.", width, "     ")


def _listeners(analysis: Reported, style: Style, width: int | None) -> Iterator[str]:
    """How each listener fared, the busiest first."""
    found = analysis.listeners
    if not found:
        return
    yield ""
    yield style.strong(f"Listeners: {len(found):,}")
    rows = [
        (
            words.endpoint(one.host, one.port),
            *map(_count, (one.attempts, one.completed, one.refused, one.unanswered)),
            "" if one.answer_median_ns is None else words.span(one.answer_median_ns),
            "" if one.answer_95_ns is None else words.span(one.answer_95_ns),
            *map(_count, (one.synack_retransmissions, one.half_closed)),
            _closers(one),
        )
        for one in found[:LISTENERS]
    ]
    lines = grid.lines(_LISTENER, rows, right=range(1, 9), width=width and width - 2)
    yield style.faint("  " + lines[0])
    for line in lines[1:]:
        yield "  " + line
    if len(found) > LISTENERS:
        yield style.faint(f"  … and {len(found) - LISTENERS:,} more (--json has the first {JSON_LISTENERS:,})")


#: "answered in": SYN → SYN+ACK, median and 95th percentile
_LISTENER = (
    *("listener", "attempts", "completed", "refused", "unanswered", "answered in", "95 %", "SYN+ACK again"),
    *("half closed", "closes first"),
)


def _count(count: int) -> str:
    return f"{count:,}" if count else ""


def _closers(one: Listener) -> str:
    """Who closes first, and how often."""
    counts = {"client": one.closed_by_originator, "server": one.closed_by_responder, "both": one.closed_by_both}
    return ", ".join(f"{who} {count:,}" for who, count in counts.items() if count)


def _folded(text: str, width: int, indent: str, paint: Callable[[str], str] = str) -> Iterator[str]:
    """`text` on lines of `width`."""
    yield from map(
        paint, textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    )


def _list(
    analysis: Reported,
    style: Style,
    width: int | None,
    title: str,
    where: str,
    rows: Sequence[int],
    cells: Callable[[dict[str, Any]], dict[str, str]],
) -> Iterator[str]:
    """One of the three lists: its title with the count, and at most `LISTED` rows."""
    yield ""
    yield style.strong(f"{title}: {len(rows):,}")
    if not rows:
        return
    flows = list(records(analysis.table, rows[:LISTED], _NEEDED))
    made = [
        {
            "flow": str(flow["flow"]),
            "originator": words.endpoint(flow["originator"], flow["originator_port"]),
            "responder": words.endpoint(flow["responder"], flow["responder_port"]),
            **cells(flow),
        }
        for flow in flows
    ]
    headings = list(made[0])
    right = [place for place, heading in enumerate(headings) if heading in _NUMBERS]
    lines = grid.lines(headings, [list(row.values()) for row in made], right=right, width=width and width - 2)
    yield style.faint("  " + lines[0])
    for line in lines[1:]:
        yield "  " + line
    if len(rows) > LISTED:
        more = f"  … and {len(rows) - LISTED:,} more: handshake flows {{}} \\"  # a command may be copied as it stands
        yield style.faint(_command(more, _named(analysis), width or WIDTH))
        yield style.faint(f'    --where "{where}"')


_NUMBERS = frozenset(("flow", "SYNs", "SYN+ACKs", "over", "for", "bytes since", "times"))
_AT_END = "capture ends first"


def _incomplete(flow: dict[str, Any]) -> dict[str, str]:
    return {
        "verdict": flow["handshake"],
        "SYNs": str(flow["syn_count"]),
        "SYN+ACKs": str(flow["synack_count"]),
        "over": words.span(flow["last_ns"] - flow["first_ns"]),
        "began": words.clock(flow["first_ns"]),
        "doubt": _AT_END if flow["censored"] in ("end", "both") else "",
    }


def _half_closed(flow: dict[str, Any]) -> dict[str, str]:
    return {
        "closed by": flow["closed_by"],
        "for": "" if flow["half_closed_ns"] is None else words.span(flow["half_closed_ns"]),
        "bytes since": str(flow["half_closed_bytes"]),
        "originator is": flow["originator_state"],
        "responder is": flow["responder_state"],
    }


def _synack_again(flow: dict[str, Any]) -> dict[str, str]:
    return {
        "times": str(flow["synack_retransmissions"]),
        "cause": _CAUSES.get(flow["synack_cause"], flow["synack_cause"]),
        "handshake": flow["handshake"],
        "began": words.clock(flow["first_ns"]),
    }


_CAUSES = {
    "elicited": "answers a repeated SYN",
    "unanswered": "no ACK came",
    "after_ack": "after the ACK",
    "deferred": "deferred accept",
    "conflicting": "another sequence number",
}
