"""A flow's ladder as a picture: two lifelines coloured by state, an arrow a segment, delays, repeats and silences.

Owns the layout and what is left out of a long flow. One SVG document without scripts, styles or references to anything
outside; colours follow the page's custom properties (`--hs-…`) where it sets them, and stand on white where not.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from analyzer import segments as s
from analyzer.flows.columns import BY_NAME
from analyzer.flows.table import FlowTable
from analyzer.ladder import ENDS, Rung, State
from analyzer.report import words
from analyzer.report.escape import printable
from analyzer.report.ladder import delta
from analyzer.report.palette import STATES
from analyzer.segments import ICMP_ERROR
from analyzer.tcp import states

#: segments of a long flow that are drawn at its beginning and at its end
HEAD, TAIL = 30, 12
#: a silence from here on is drawn as a break: the first timer of TCP takes as long
SILENCE_NS = 900_000_000

_WIDTH, _TOP, _STEP, _BREAK = 1172, 72, 34, 28
#: as wide as it stands by itself: a notebook on a laptop has no more room, and cuts off what is wider
_SHOWN = 1000
_TIME, _LEFT_STATE, _LEFT, _RIGHT, _RIGHT_STATE, _MARKS = 118, 232, 244, 742, 754, 876
_MARK_LINES, _MARK_LENGTH = 2, 40
_FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
_INK, _FAINT, _PAPER = "var(--hs-ink,#1b1f24)", "var(--hs-faint,#667080)", "var(--hs-paper,#fff)"
_WARN, _BAD = "var(--hs-warn,#b35c00)", "var(--hs-bad,#c62f26)"
_REPEAT = ("retransmi", "sent again", "keep-alive", "another sequence number")

_WORDS = ((s.SYN, "SYN"), (s.FIN, "FIN"), (s.RST, "RST"), (s.PSH, "PSH"), (s.ACK, "ACK"), (s.URG, "URG"))


class _Line(NamedTuple):
    """A rung with its height on the picture; None is where segments are left out."""

    y: float
    rung: Rung | None
    silence_ns: int
    clock: str


def draw(table: FlowTable, row: int, rungs: Sequence[Rung]) -> str:
    """The picture, as an SVG document."""
    left_out = max(len(rungs) - HEAD - TAIL, 0) if len(rungs) > HEAD + TAIL + 1 else 0
    lines = list(_laid_out(rungs, left_out))
    height = (lines[-1].y if lines else _TOP) + 58
    names = [_end(table, row, end) for end in ENDS]
    title = f"flow {table.fact(row, 'number')}: {names[0]} to {names[1]}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" width="{_SHOWN}" role="img"'
        f' style="max-width:100%;height:auto" font-family="{_FONT}" font-size="12">',
        f"<title>{_text(title)}</title><desc>{_text(_told(rungs, left_out))}</desc>",
        f'<rect width="100%" height="100%" fill="{_PAPER}"/>',
        _label(_LEFT, 22, names[0], anchor="middle", weight="600"),
        _label(_RIGHT, 22, names[1], anchor="middle", weight="600"),
        _label(_LEFT, 40, "originator", anchor="middle", colour=_FAINT),
        _label(_RIGHT, 40, "responder", anchor="middle", colour=_FAINT),
    ]
    parts += _lifeline(lines, 0, _LEFT, _LEFT_STATE, "end", height)
    parts += _lifeline(lines, 1, _RIGHT, _RIGHT_STATE, "start", height)
    for line in lines:
        parts += _rung(line) if line.rung is not None else _left_out(line, left_out)
    parts.append(_label(_LEFT, height - 12, _final(table, row), colour=_FAINT))
    return "".join([*parts, "</svg>"])


def _laid_out(rungs: Sequence[Rung], left_out: int) -> list[_Line]:
    made: list[_Line] = []
    y = float(_TOP)
    for place, rung in enumerate(rungs):
        if left_out and HEAD <= place < len(rungs) - TAIL:
            if place == HEAD:
                made.append(_Line(y + 4, None, 0, ""))
                y += _STEP
            continue
        apart = rung.ts_ns - rungs[place - 1].ts_ns if place else 0
        silence = apart if apart >= SILENCE_NS and made and made[-1].rung is not None else 0
        y += _BREAK if silence else 0
        made.append(_Line(y, rung, silence, delta(apart) if place else words.clock(rung.ts_ns)))
        y += _STEP
    return made


# --- the sides ---------------------------------------------------------------------------------------------------


def _lifeline(lines: Sequence[_Line], side: int, x: int, label_x: int, anchor: str, height: float) -> list[str]:
    """The bar of one end: a piece for as long as a state lasts, named where it begins."""
    bottom = height - 34
    changes: list[tuple[float, State | None]] = []
    for line in lines:
        state = line.rung.ends[side] if line.rung is not None else None
        if line.rung is not None and (not changes or _name(changes[-1][1]) != _name(state)):
            changes.append((_reach(line, side), state))
    made = [f'<line x1="{x}" y1="48" x2="{x}" y2="{bottom:g}" stroke="{_FAINT}" stroke-dasharray="2 4"/>']
    for place, (y, state) in enumerate(changes):
        if state is None:
            continue
        until = changes[place + 1][0] if place + 1 < len(changes) else bottom
        name = states.STATES[state.state]
        inferred = state.basis != states.OBSERVED
        colour = STATES[name]
        fill = f'fill="{_PAPER}" stroke="{colour}" stroke-width="2"' if inferred else f'fill="{colour}"'
        gone = name in ("CLOSED", "LISTEN")
        if not gone:
            made.append(f'<rect x="{x - 4}" y="{y:g}" width="8" height="{max(until - y, 2):g}" rx="2" {fill}/>')
        said = f"({name})" if inferred else name
        made.append(_label(label_x, y + 4, said, anchor=anchor, weight="600", colour=_FAINT if gone else _INK))
        if not gone:
            tick = label_x + (4 if anchor == "end" else -4)
            made.append(f'<line x1="{x}" y1="{y:g}" x2="{tick}" y2="{y:g}" stroke="{colour}" stroke-width="2"/>')
    return made


def _reach(line: _Line, side: int) -> float:
    """How far down the line's segment touches an end: it leaves its sender, and arrives a little lower."""
    return line.y if line.rung is not None and line.rung.side == side else line.y + 6


def _name(state: State | None) -> tuple[int, int] | None:
    return None if state is None else (state.state, state.basis == states.OBSERVED)


# --- the segments ------------------------------------------------------------------------------------------------


def _rung(line: _Line) -> list[str]:
    rung, y = line.rung, line.y
    assert rung is not None
    made = []
    if line.silence_ns:
        middle = (_LEFT + _RIGHT) / 2
        made.append(
            f'<path d="M{_LEFT + 14} {y - 20:g}H{middle - 70:g}m140 0H{_RIGHT - 14}" stroke="{_FAINT}"'
            ' stroke-dasharray="1 5" fill="none"/>'
        )
        made.append(_label(middle, y - 16, f"{words.span(line.silence_ns)} silence", anchor="middle", colour=_FAINT))
    again = any(word in mark for mark in rung.marks for word in _REPEAT)
    copy = any(mark.startswith("duplicate") for mark in rung.marks)
    reset = rung.side is None or bool(rung.segment["flags"] & s.RST)
    colour = _BAD if reset else _WARN if again else _FAINT if copy else _INK
    made.append(_label(_TIME, y + 6, line.clock, anchor="end", colour=_FAINT))
    made.append(f"<g><title>{_text(_hint(rung))}</title>{_arrow(rung, y, colour, dashed=again or copy)}")
    made.append(_label((_LEFT + _RIGHT) / 2, y - 3, _short(rung), anchor="middle", colour=colour) + "</g>")
    if rung.marks:
        full = "; ".join(rung.marks)
        shown = textwrap.wrap(full, _MARK_LENGTH, max_lines=_MARK_LINES, placeholder=" …", break_on_hyphens=False)
        top = y + (6 if len(shown) == 1 else -1)
        told = (_label(_MARKS, top + 14 * place, line, colour=colour) for place, line in enumerate(shown))
        made.append(f"<g><title>{_text(full)}</title>{''.join(told)}</g>")
    return made


def _arrow(rung: Rung, y: float, colour: str, *, dashed: bool) -> str:
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    if rung.side is None:
        x = (_LEFT + _RIGHT) / 2
        return f'<path d="M{x - 5} {y + 3:g}l10 10m0 -10l-10 10" stroke="{colour}" stroke-width="2"/>'
    start, end = (_LEFT + 6, _RIGHT - 6) if rung.side == 0 else (_RIGHT - 6, _LEFT + 6)
    back = -9 if rung.side == 0 else 9
    return (
        f'<line x1="{start}" y1="{y:g}" x2="{end + back / 2:g}" y2="{y + 6:g}"'
        f' stroke="{colour}" stroke-width="1.5"{dash}/>'
        f'<path d="M{end} {y + 6:g}l{back} -4.5v9z" fill="{colour}"/>'
    )


def _short(rung: Rung) -> str:
    """Flags as words, relative numbers, and payload where there is any."""
    if rung.side is None or rung.segment["kind"] == ICMP_ERROR:
        return rung.text
    flags = rung.segment["flags"]
    names = [word for bit, word in _WORDS if flags & bit]
    rest = rung.text.partition("], ")[2]
    kept = [part for part in rest.split(", ") if part != "length 0"]
    return ", ".join(["+".join(names) or "no flags", *kept])


def _hint(rung: Rung) -> str:
    said = [f"packet {rung.packet}: {rung.text}", *rung.marks, *rung.reasons]
    return "\n".join(printable(line) for line in said)


def _left_out(line: _Line, count: int) -> list[str]:
    text = f"… {words.many(count, 'segment')} left out …"
    return [_label((_LEFT + _RIGHT) / 2, line.y + 8, text, anchor="middle", colour=_FAINT)]


# --- words -------------------------------------------------------------------------------------------------------


def _told(rungs: Sequence[Rung], left_out: int) -> str:
    """The picture for who cannot see it: a sentence a segment."""
    said = []
    for place, rung in enumerate(rungs):
        if left_out and HEAD <= place < len(rungs) - TAIL:
            if place == HEAD:
                said.append(f"{words.many(left_out, 'segment')} left out.")
            continue
        who = "an ICMP error" if rung.side is None else f"the {ENDS[rung.side]} sends"
        ends = ", ".join(
            f"{end} {states.STATES[state.state]}" for end, state in zip(ENDS, rung.ends, strict=True) if state
        )
        marks = f" ({'; '.join(rung.marks)})" if rung.marks else ""
        said.append(f"Packet {rung.packet}: {who} {_short(rung)}{marks}; then {ends}.")
    return " ".join(said)


def _final(table: FlowTable, row: int) -> str:
    parts = []
    for end in ENDS:
        state, basis = (BY_NAME[f"{end}_{name}"].get(table, row) for name in ("state", "basis"))
        parts.append(f"{end} {state}{f' ({basis})' if basis != 'observed' else ''}")
    return f"At the end of the capture: {', '.join(parts)}."


def _end(table: FlowTable, row: int, end: str) -> str:
    return words.endpoint(BY_NAME[end].get(table, row), table.fact(row, f"{end[0]}_port"))


def _label(x: float, y: float, text: str, *, anchor: str = "start", colour: str = _INK, weight: str = "") -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}"{bold}>{_text(text)}</text>'


def _text(text: str) -> str:
    return escape("\n".join(printable(line) for line in text.split("\n")))
