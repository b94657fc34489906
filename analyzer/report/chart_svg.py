"""Pictures of a report as SVG: areas, points, steps, a matrix and bars.

Owns scales, axes and legends. Draws what it is given, with a name on each mark, and colours from the page's custom
properties. A notebook has charts of a library; a page that must stand alone has these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from analyzer.report.escape import printable

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 14, 40
_INK, _FAINT, _LINE = "var(--hs-ink,#1b1f24)", "var(--hs-faint,#56606e)", "var(--hs-line,#d3d9e0)"
#: told apart in both colour schemes and by the commonest colour blindness (after Okabe and Ito)
COLOURS = ("#0072b2", "#e07b00", "#009e73", "#cc79a7", "#56b4e9", "#b59a00", "#d55e00", "#8a8f98")


#: a logarithmic axis over more powers of ten than this names only these
_DECADES = 4
#: widths of characters in pixels
_WIDE, _USUAL, _NARROW = 8.2, 7.3, dict.fromkeys(".:,[] ", 4.2)


class Points(NamedTuple):
    """Marks of one kind: (x, y, what it is)."""

    name: str
    colour: str
    marks: Sequence[tuple[float, float, str]]


def areas(title: str, told: str, x: Sequence[float], layers: Sequence[tuple[str, str, Sequence[int]]]) -> str:
    """Counts over time, one layer (name, colour, counts) upon the other; each holds until the next instant."""
    top = max((sum(column) for column in zip(*(counts for *_, counts in layers), strict=True)), default=0)
    step = ticks(0, max(top, 1))[1]
    frame = _Frame(0, max(x[-1] if x else 0, 1e-9), 0, math.ceil(max(top, 1) / step) * step)
    below = [0] * len(x)
    parts = []
    for name, colour, counts in layers:
        above = [low + count for low, count in zip(below, counts, strict=True)]
        path = _stairs(frame, x, above) + _stairs(frame, x, below, back=True) + "Z"
        peak = max(counts, default=0)
        parts.append(f'<path d="M{path}" fill="{colour}"><title>{_text(f"{name}: at most {peak:,}")}</title></path>')
        below = above
    return frame.svg(title, told, parts, "seconds", "connections", [(name, colour) for name, colour, _ in layers])


def _stairs(frame: _Frame, x: Sequence[float], heights: Sequence[int], *, back: bool = False) -> str:
    steps: list[str] = []
    for place in range(len(x)):
        left = frame.x(x[place])
        right = frame.x(x[place + 1]) if place + 1 < len(x) else frame.x(frame.x_end)
        y = frame.y(heights[place])
        edge = [f"{left:.1f} {y:.1f}", f"{right:.1f} {y:.1f}"]
        steps.append("L".join(edge[::-1] if back else edge))
    return ("L" if back else "") + "L".join(steps[::-1] if back else steps)


def points(title: str, told: str, series: Sequence[Points], x_end: float, x_name: str, y_name: str) -> str:
    """Marks over time, from 0 to `x_end`, on a logarithmic scale."""
    heights = [mark[1] for one in series for mark in one.marks if mark[1] > 0] or [1]
    frame = _Frame(0, max(x_end, 1e-9), min(heights), max(heights), log=True)
    parts = [
        _dot(frame.x(x), frame.y(max(y, frame.y_start)), one.colour, said) for one in series for x, y, said in one.marks
    ]
    return frame.svg(title, told, parts, x_name, y_name, [(one.name, one.colour) for one in series])


def schedule(
    title: str, told: str, series: Sequence[Points], expected: Mapping[str, Sequence[float]], most: int
) -> str:
    """Repetitions: how late each attempt came, on a logarithmic scale, over lines where it was to be expected."""
    marks = [mark for one in series for mark in one.marks]
    late = [mark[1] for mark in marks if mark[1] > 0] or [1.0]
    due = [at for times in expected.values() for at in times[:most]]
    frame = _Frame(0.4, most + 0.6, min(0.5, *late), max(*late, *due), log=True, whole=True)
    parts = []
    for place, (name, times) in enumerate(expected.items()):
        for attempt, at in enumerate(times[:most], 1):
            x, y = frame.x(attempt), frame.y(at)
            dash = "" if place == 0 else ' stroke-dasharray="3 3"'
            parts.append(
                f'<line x1="{x - 26:.1f}" y1="{y:.1f}" x2="{x + 26:.1f}" y2="{y:.1f}" stroke="{_INK}"{dash}'
                f' stroke-width="1.5"><title>{_text(f"{name}: after {at:g} s")}</title></line>'
            )
    share = 36 / max(len(series), 1)
    for place, one in enumerate(series):
        for number, (which, seconds, said) in enumerate(one.marks):
            x = frame.x(which) - 18 + share * (place + (number % 7 + 0.5) / 7)
            parts.append(_dot(x, frame.y(max(seconds, frame.y_start)), one.colour, said))
    legend = [(one.name, one.colour) for one in series]
    return frame.svg(title, told, parts, "repetition", "seconds since the first", legend)


def bars(
    title: str,
    told: str,
    rows: Sequence[tuple[str, float, float, str, str]],
    x_name: str,
    legend: Sequence[tuple[str, str]],
) -> str:
    """Spans: (label, start, end, colour, what it is), one below the other."""
    wide = _label_width(label for label, *_ in rows)
    height = len(rows) * 16 + _TOP + _BOTTOM
    frame = _Frame(0, max((end for _, _, end, *_ in rows), default=1), 0, 1, left=wide, height=height)
    parts = []
    for place, (label, start, end, colour, said) in enumerate(rows):
        y = _TOP + 16 * place
        parts.append(f'<text x="{wide - 8}" y="{y + 11}" text-anchor="end" fill="{_INK}">{_text(label)}</text>')
        parts.append(
            f'<rect x="{frame.x(start):.1f}" y="{y + 2}" width="{max(frame.x(end) - frame.x(start), 2):.1f}"'
            f' height="11" rx="2" fill="{colour}"><title>{_text(said)}</title></rect>'
        )
    return frame.svg(title, told, parts, x_name, None, legend)


def matrix(
    title: str, told: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[int, int] | None]]]
) -> str:
    """Failed of all, by row and column; the darker, the larger the part that failed. Narrow cells hold the failed."""
    wide = _label_width(label for label, _ in rows)
    cell = max(min((_WIDTH - wide - _RIGHT) / max(len(columns), 1), 110), 30)
    widest = max((_size(_part(*value)) for _, cells in rows for value in cells if value is not None), default=0)
    write = _part if widest <= cell - 8 else _failed
    top = 18 + 15 * (len(columns) if len(columns) > 1 else 1)
    height = top + 24 * len(rows) + 12
    parts = []
    for place, name in enumerate(columns):
        x, y = wide + cell * (place + 0.5), 14 + 15 * place
        parts.append(f'<text x="{wide + cell * place + 4:.1f}" y="{y}" fill="{_INK}">{_text(name)}</text>')
        parts.append(f'<line x1="{x:.1f}" y1="{y + 4}" x2="{x:.1f}" y2="{top - 2}" stroke="{_LINE}"/>')
    for line, (name, cells) in enumerate(rows):
        y = top + 24 * line
        parts.append(f'<text x="{wide - 8}" y="{y + 16}" text-anchor="end" fill="{_INK}">{_text(name)}</text>')
        for place, value in enumerate(cells):
            if value is None:
                continue
            failed, total = value
            x, part = wide + cell * place, failed / total
            said = f"{name} to {columns[place]}: {failed:,} of {total:,} failed"
            parts.append(
                f'<g><title>{_text(said)}</title><rect x="{x + 1:.1f}" y="{y + 1}" width="{cell - 2:.1f}" height="22"'
                f' rx="3" fill="#e0453a" fill-opacity="{0.08 + 0.72 * part:.2f}"/>'
                f'<text x="{x + cell / 2:.1f}" y="{y + 16}" text-anchor="middle" fill="{_INK}">'
                f"{write(failed, total)}</text></g>"
            )
    return _document(title, told, height, parts)


def _part(failed: int, total: int) -> str:
    return f"{failed:,} of {total:,}"


def _failed(failed: int, _: int) -> str:
    return f"{failed:,}"


class _Frame:
    """Scales and axes of one picture."""

    def __init__(
        self,
        x_start: float,
        x_end: float,
        y_start: float,
        y_end: float,
        *,
        log: bool = False,
        whole: bool = False,
        left: int = _LEFT,
        height: int = _HEIGHT,
    ) -> None:
        self.x_start, self.x_end, self.log, self.whole, self.left, self.height = (
            x_start,
            x_end,
            log,
            whole,
            left,
            height,
        )
        if log:
            self.y_start = max(value for value in _round_near(y_start) if value < y_start)
            self.y_end = min(value for value in _round_near(y_end) if value > y_end)
        else:
            self.y_start, self.y_end = y_start, y_end

    def x(self, value: float) -> float:
        part = (value - self.x_start) / (self.x_end - self.x_start)
        return self.left + part * (_WIDTH - self.left - _RIGHT)

    def y(self, value: float) -> float:
        if self.log:
            part = math.log10(value / self.y_start) / math.log10(self.y_end / self.y_start)
        else:
            part = (value - self.y_start) / (self.y_end - self.y_start)
        return self.height - _BOTTOM - part * (self.height - _BOTTOM - _TOP)

    def svg(
        self,
        title: str,
        told: str,
        marks: Iterable[str],
        x_name: str,
        y_name: str | None,
        legend: Sequence[tuple[str, str]],
    ) -> str:
        """The marks over a grid, with axes and a legend."""
        bottom = self.height - _BOTTOM
        parts = []
        for value in range(1, int(self.x_end) + 1) if self.whole else ticks(self.x_start, self.x_end):
            x = self.x(value)
            parts.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{_LINE}"/>')
            parts.append(_tick(x, bottom + 15, "middle", value))
        if y_name is not None:
            for value in self._heights():
                y = self.y(value)
                parts.append(
                    f'<line x1="{self.left}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="{_LINE}"/>'
                )
                parts.append(_tick(self.left - 6, y + 4, "end", value))
            parts.append(
                f'<text transform="translate(13 {(_TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle"'
                f' fill="{_FAINT}">{_text(y_name)}</text>'
            )
        parts.append(
            f'<text x="{_WIDTH - _RIGHT}" y="{self.height - 6}" text-anchor="end" fill="{_FAINT}">'
            f"{_text(x_name)}</text>"
        )
        parts += marks
        height, entries = self.height, []
        x, y = float(self.left), self.height + 12
        for name, colour in legend:
            size = 30 + _size(name)
            if x + size > _WIDTH - _RIGHT and x > self.left:
                x, y = float(self.left), y + 18
            entries.append(f'<rect x="{x:.0f}" y="{y - 9}" width="11" height="11" rx="2" fill="{colour}"/>')
            entries.append(f'<text x="{x + 16:.0f}" y="{y}" fill="{_INK}">{_text(name)}</text>')
            x += size
            height = y + 8
        return _document(title, told, height, [*parts, *entries])

    def _heights(self) -> list[float]:
        if not self.log:
            return [value for value in ticks(self.y_start, self.y_end) if value == int(value)]
        first, last = math.floor(math.log10(self.y_start)), math.ceil(math.log10(self.y_end))
        few = range(1, 10) if self.y_end <= 10 * self.y_start else (1, 2, 5)
        factors = few if last - first <= _DECADES else (1,)
        every = (_round(factor, power) for power in range(first, last + 1) for factor in factors)
        return [value for value in every if self.y_start <= value <= self.y_end]


def _round(factor: int, power: int) -> float:
    """factor × 10**power, as a person writes it: 0.05 and not 0.05000000000000001."""
    return float(f"{factor}e{power}")


def _round_near(value: float) -> list[float]:
    """Round numbers below and above a value."""
    power = math.floor(math.log10(value))
    return [_round(factor, near) for near in range(power - 1, power + 2) for factor in (1, 2, 5)]


def ticks(start: float, end: float, wanted: int = 6) -> list[float]:
    """Round numbers between two values."""
    rough = (end - start) / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [round(step * place, 12) for place in range(math.ceil(start / step), math.floor(end / step) + 1)]


def _dot(x: float, y: float, colour: str, said: str) -> str:
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="3"'
    return f'<circle {place} fill="{colour}" fill-opacity=".75"><title>{_text(said)}</title></circle>'


def _document(title: str, told: str, height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" width="{_WIDTH}" role="img"'
        ' style="max-width:100%;height:auto" font-family="system-ui,\'DejaVu Sans\',sans-serif" font-size="11.5">'
        f"<title>{_text(title)}</title><desc>{_text(told)}</desc>{''.join(parts)}</svg>"
    )


def _tick(x: float, y: float, anchor: str, value: float) -> str:
    said = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_FAINT}">{said}</text>'


def _label_width(labels: Iterable[str]) -> int:
    return int(16 + max(map(_size, labels), default=24))


def _size(text: str) -> float:
    """Room for a text: no font that a reader may have is much wider than DejaVu Sans at the pictures' size."""
    return sum(
        _WIDE if character.isupper() or character == "_" else _NARROW.get(character, _USUAL) for character in text
    )


def _text(text: str) -> str:
    return escape(printable(text))
