"""A flow's ladder: a line a segment for people, a document for programs.

Owns the layout, and what is left out of a long flow. States in parentheses are inferred.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any, TextIO

from analyzer.flows.columns import record
from analyzer.flows.table import FlowTable
from analyzer.ladder import ENDS, Rung, State
from analyzer.report import grid, words
from analyzer.report.escape import printable
from analyzer.report.style import Style
from analyzer.tcp import states

#: segments of a long flow that are shown at its beginning and at its end
HEAD, TAIL = 40, 20

_ARROWS = {0: "──▶", 1: "◀──", None: " ✕ "}


def document(table: FlowTable, row: int, rungs: Sequence[Rung]) -> dict[str, Any]:
    """`flow`: its record; `segments`: each with the states after it."""
    return {"flow": record(table, row), "segments": [_plain(rung) for rung in rungs]}


def write_json(out: TextIO, table: FlowTable, row: int, rungs: Sequence[Rung]) -> None:
    """The document."""
    json.dump(document(table, row, rungs), out, indent=1)
    out.write("\n")


def _plain(rung: Rung) -> dict[str, Any]:
    made: dict[str, Any] = {
        "packet": rung.packet,
        "ts_ns": rung.ts_ns,
        "sender": None if rung.side is None else ENDS[rung.side],
        "text": rung.text,
        **{name: rung.segment[name] for name in ("flags", "seq", "ack", "window", "payload")},
    }
    for end, state in zip(ENDS, rung.ends, strict=True):
        made[f"{end}_state"] = None if state is None else states.STATES[state.state]
        made[f"{end}_basis"] = None if state is None else states.BASES[state.basis]
    return {**made, "marks": rung.marks, "reasons": rung.reasons}


def write(out: TextIO, table: FlowTable, row: int, rungs: Sequence[Rung], *, everything: bool) -> None:
    """The ladder; long flows are cut in the middle unless `everything`."""
    style, width = Style.of(out), grid.width_of(out)
    flow = record(table, row)
    for line in _head(flow):
        for piece in _folded(line, width):
            out.write(piece + "\n")
    left_out = 0 if everything or len(rungs) <= HEAD + TAIL else len(rungs) - HEAD - TAIL
    shown = [*rungs[:HEAD], *rungs[-TAIL:]] if left_out else list(rungs)
    texts = [f"{_ARROWS[rung.side]} {rung.text}" for rung in shown]
    wide = max((len(text) for text in texts), default=0)
    numbers = len(str(rungs[-1].packet)) if rungs else 1
    clocks = [_when(rungs, number) for number in range(len(rungs))]
    clocks = [*clocks[:HEAD], *clocks[-TAIL:]] if left_out else clocks
    time_wide = max((len(clock) for clock in clocks), default=0)
    heading = f"{'#':>{numbers}}  {'time (UTC)':<{time_wide}}  {'originator':<{_STATE}}  {'':<{wide}}  responder"
    narrow = width is not None and len(heading) - len("responder") + _STATE > width
    if narrow:
        heading = f"{'#':>{numbers}}  {'time (UTC)':<{time_wide}}  {'originator':<{_STATE}}  responder"
    indent = " " * (numbers + 2)
    out.write(style.faint(heading) + "\n")
    for number, (rung, clock, text) in enumerate(zip(shown, clocks, texts, strict=True)):
        if left_out and number == HEAD:
            out.write(style.faint(f"… {left_out:,} segments left out; --all shows them") + "\n")
        left, right = (_state(state) for state in rung.ends)
        marks = f"◀ {'; '.join(rung.marks)}" if rung.marks else ""
        if narrow:
            out.write(f"{rung.packet:>{numbers}}  {clock:<{time_wide}}  {left:<{_STATE}}  {right}\n")
            for piece in _folded(indent + text, width, indent):
                out.write(piece + "\n")
            for piece in _folded(indent + marks, width, indent) if marks else ():
                out.write(style.strong(piece) + "\n")
            continue
        line = f"{rung.packet:>{numbers}}  {clock:<{time_wide}}  {left:<{_STATE}}  {text:<{wide}}  {right:<{_STATE}}"
        if width is not None and len(f"{line}  {marks}") > width:
            out.write(line.rstrip() + "\n")
            for piece in _folded(indent + marks, width, indent) if marks else ():
                out.write(style.strong(piece) + "\n")
            continue
        reasons = f"[{'; '.join(rung.reasons)}]" if rung.reasons else ""
        if width is not None and len(f"{line}  {marks}  {reasons}") > width:
            reasons = ""
        notes = [
            note for note in (style.strong(marks) if marks else "", style.faint(reasons) if reasons else "") if note
        ]
        out.write(f"{line}  {'  '.join(notes)}".rstrip() + "\n")
    out.write("\n")
    for piece in _folded(_end(table, row, flow, rungs), width):
        out.write(piece + "\n")


def _folded(text: str, width: int | None, indent: str = "  ") -> list[str]:
    """`text` in lines of `width`, where there is one to keep to."""
    if width is None or len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


_STATE = len("(SYN_RECEIVED)")


def _head(flow: dict[str, Any]) -> list[str]:
    ends = [words.endpoint(printable(flow[end]), flow[f"{end}_port"]) for end in ENDS]
    lines = [f"flow {flow['flow']}: {ends[0]} → {ends[1]}, from {words.moment(flow['first_ns'])}"]
    verdict = f"handshake {flow['handshake'].replace('_', ' ')}, close {flow['close'].replace('_', ' ')}"
    if flow["closed_by"]:
        verdict += f", closed first by {'both at once' if flow['closed_by'] == 'both' else 'the ' + flow['closed_by']}"
    if flow["reset_by"]:
        verdict += f", reset by {'both' if flow['reset_by'] == 'both' else 'the ' + flow['reset_by']}"
    lines.append(verdict)
    offers = [f"the {end} {offer}" for end in ENDS if (offer := _offer(flow, end))]
    if offers:
        lines.append(f"SYN options: {'; '.join(offers)}")
    lines.append(
        "States are those after the segment, in parentheses where they are inferred; numbers as tcpdump shows them."
    )
    lines.append("")
    return lines


def _offer(flow: dict[str, Any], end: str) -> str:
    """What an end's SYN carried."""
    parts = []
    if flow[f"{end}_mss"] is not None:
        parts.append(f"mss {flow[f'{end}_mss']}")
    if flow[f"{end}_sack_permitted"]:
        parts.append("sackOK")
    if flow[f"{end}_timestamps"]:
        parts.append("TS")
    if flow[f"{end}_window_scale"] is not None:
        parts.append(f"wscale {flow[f'{end}_window_scale']}")
    for name, word in (("fast_open", "TFO"), ("mptcp", "MPTCP"), ("ecn", "ECN")):
        if flow[f"{end}_{name}"]:
            parts.append(word)
    return " ".join(parts)


def _when(rungs: Sequence[Rung], number: int) -> str:
    """The first segment's time of day; after it, seconds since the segment before."""
    if number == 0:
        return words.clock(rungs[0].ts_ns)
    return delta(rungs[number].ts_ns - rungs[number - 1].ts_ns)


def delta(ns: int) -> str:
    """A distance in seconds with its sign, to the microsecond or, where there are any, nanoseconds."""
    sign, ns = ("-", -ns) if ns < 0 else ("+", ns)
    seconds, rest = divmod(ns, words.SECOND_NS)
    return f"{sign}{seconds}.{rest:09d}" if rest % 1_000 else f"{sign}{seconds}.{rest // 1_000:06d}"


def _state(state: State | None) -> str:
    if state is None:
        return "?"
    name = states.STATES[state.state]
    return name if state.basis == states.OBSERVED else f"({name})"


def _end(table: FlowTable, row: int, flow: dict[str, Any], rungs: Sequence[Rung]) -> str:
    """Where both ends are when the capture ends."""
    parts = []
    for end in ENDS:
        basis = flow[f"{end}_basis"]
        parts.append(f"{end} {flow[f'{end}_state']}{f' ({basis})' if basis != 'observed' else ''}")
    after = f", {words.span(table.end_ns - rungs[-1].ts_ns)} later" if rungs and table.end_ns > rungs[-1].ts_ns else ""
    return f"At the end of the capture{after}: {', '.join(parts)}."
