"""A live view as lines: what stands where, for a terminal of any size from 80×24 up.

Owns the layout and the words. Takes what there is to show and where the reader stands; reads no key, no clock.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.live import moment
from analyzer.live.lists import LISTS, Entry, Shown
from analyzer.report import grid, words
from analyzer.report.escape import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

LEAST_WIDTH, LEAST_HEIGHT = 60, 16
_BARS = " ▁▂▃▄▅▆▇█"
_STATES = (
    *("SYN_SENT", "SYN_RECEIVED", "ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2"),
    *("CLOSE_WAIT", "CLOSING", "LAST_ACK", "TIME_WAIT"),
)
_FAILURES = ("unanswered", "refused", "unreachable", "half_open", "ack_ignored", "aborted")
_STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_RIGHT = 32  # columns of the rates and failures
_WHOLE_HEIGHT = 23  # from here on everything has its place; below, states without an end in them are left out
_SMALL_STATES = 7
_NOTES = 2  # the newest; a full disk is not hidden by an interface that comes back
_FINDINGS = 4  # lines of findings that are always in sight
RATE_PULSES = 10  # rates are over the last so many pulses

HELP = """\
1 to 6, Tab    which list: listeners, incomplete, half-closed, SYN+ACKs sent
               again, findings, history
↑ ↓ PgUp PgDn Home End (k j)    move in the list
Enter          a connection's packets with both states (its ladder);
               a listener's connections; a finding whole
w              save the packets of that connection, as a file in this directory
s, S           sort by the next column; the other way round
/              show only lines with this text; Esc shows all again
p              pause the view (the capture goes on), and go on
← →            move a wide ladder
q, Ctrl-C      end, and print the report
?, Esc         close this"""


class Place(NamedTuple):
    """Where the reader stands."""

    shown: Shown
    title: str
    list: int = 0
    cursor: int = 0
    sort: int | None = None
    backward: bool = False
    filter: str = ""
    typing: bool = False
    paused: bool = False
    page: tuple[str, tuple[str, ...]] | None = None  # a title and lines that cover the lists
    top: int = 0  # first line of the page
    left: int = 0  # first column of the page
    message: str = ""
    memory: int = 0


def entries(place: Place) -> list[Entry]:
    """The lines of the list in sight: filtered, sorted."""
    wanted = place.filter.lower()
    found = [one for one in LISTS[place.list].make(place.shown) if wanted in " ".join(one.cells).lower()]
    if place.sort is not None:
        column = place.sort
        found.sort(key=lambda one: one.keys[column], reverse=place.backward)
    elif place.backward:
        found.reverse()
    return found


def lines(place: Place, width: int, height: int) -> list[Text]:
    """Exactly `height` lines, none wider than `width`."""
    from rich.text import Text

    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        made = [Text(f"too small: {width}×{height}, takes {LEAST_WIDTH}×{LEAST_HEIGHT}")]
    elif place.page is not None:
        made = _page(place, height)
    else:
        made = _main(place, width, height)
    made = (made + [Text("")] * height)[:height]
    for line in made:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return made


def _main(place: Place, width: int, height: int) -> list[Text]:
    from rich.text import Text

    made = _head(place, width)
    small = height < _WHOLE_HEIGHT
    made += _beside(_states(place.shown, small), _rates(place.shown), width)[: _SMALL_STATES if small else None]
    made += _findings(place, 1 if small else _FINDINGS)
    tabs = Text()
    for number, one in enumerate(LISTS):
        tabs.append(f"{number + 1} {one.name}", "reverse bold" if number == place.list else "dim")
        tabs.append("  ")
    made.append(tabs)
    room = height - len(made) - 2
    made += _list(place, width, room)
    made = (made + [Text("")] * height)[: height - 1]
    return [*made, _foot(place)]


def _head(place: Place, width: int) -> list[Text]:
    from rich.text import Text

    shown = place.shown
    first = Text(place.title, "bold")
    if place.paused:
        first.append("  PAUSED", "bold yellow")
    if not shown.pulses:
        return [first, Text("waiting for the first packets")]
    now = shown.pulses[-1]
    clock = f"{words.clock(now.at_ns)[:8]} UTC"
    first.append(clock.rjust(max(width - first.cell_len, len(clock) + 2)))
    dropped = now.dropped_by_kernel + (now.dropped_by_interface or 0)
    second = Text(f"{now.packets:,} packets ({_rate(shown, 'packets')}/s)")
    second.append(f" · {dropped:,} dropped", "bold red" if dropped else "")
    second.append(f" · ring {now.ring_used:.0%} · {now.alive:,} flows of {now.flows:,}")
    if now.evicted:
        second.append(f" ({now.evicted:,} pushed out)", "yellow")
    second.append(f" · {place.memory >> 20} MiB")
    made = [first, second]
    made += [Text(f"! {printable(note)}", "yellow") for note in now.notes[-_NOTES:]]
    if shown.differences:
        made.append(Text(f"! kernel: {printable(shown.differences[0])}", "yellow"))
    return made


def _rate(shown: Shown, field: str) -> str:
    value = moment.rate(list(shown.pulses)[-RATE_PULSES:], field)
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _states(shown: Shown, small: bool) -> list[Text]:
    """How many ends are in which state, with the course of the last minutes: this host's, its peers', and others'."""
    from rich.text import Text

    now = shown.look.states if shown.look else {}
    who = [name for name in (moment.HERE, moment.PEERS, moment.OTHERS) if now.get(name)]
    who = who[:2] if moment.HERE in who else who
    who = who or [moment.HERE, moment.PEERS]
    made = [Text(f"{'state':<13}" + "".join(f"{name:>16} " for name in who).rstrip(), "dim")]
    for state in _STATES:
        if small and not any(now.get(name, {}).get(state) for name in who):
            continue
        line = Text(f"{state:<13}")
        for name in who:
            count = now.get(name, {}).get(state, 0)
            course = [counts.get(name, {}).get(state, 0) for _, counts in shown.states]
            line.append(f"{count:>8,} " if count else f"{'·':>8} ", "" if count else "dim")
            line.append(sparkline(course, 7), "cyan")
            line.append(" ")
        made.append(line)
    return made


def sparkline(values: list[int], width: int) -> str:
    """The course of `values` in so many characters: each the largest of its share, against the largest of all."""
    if not values or not max(values):
        return " " * width
    step = max(len(values) / width, 1.0)
    shares = [values[int(at * step) : max(int((at + 1) * step), int(at * step) + 1)] for at in range(width)]
    most = max(values)
    bars = [_BARS[-(-max(share) * (len(_BARS) - 1) // most)] for share in shares if share]
    return "".join(bars).rjust(width)


def _rates(shown: Shown) -> list[Text]:
    from rich.text import Text

    made = [Text("each second", "dim")]
    first = (("SYN", "syns"), ("SYN+ACK", "synacks"))
    second = (("FIN", "fins"), ("RST", "rsts"))
    for pair in (first, second):
        line = Text()
        for name, field in pair:
            line.append(f"{name:<8}{_rate(shown, field) if shown.pulses else '0':>7}  ")
        made.append(line)
    made.append(Text("failed since the start", "dim"))
    counts = shown.look.handshake if shown.look else {}
    for at in range(0, len(_FAILURES), 2):
        line = Text()
        for name in _FAILURES[at : at + 2]:
            count = counts.get(name, 0)
            line.append(f"{name.replace('_', ' '):<11}{_short(count):>4}  ", "" if count else "dim")
        made.append(line)
    done = counts.get("complete", 0)
    made.append(Text(f"{'complete':<11}{_short(done):>5}"))
    return made


def _short(count: int) -> str:
    """A count in five characters."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= 100 * size or (unit != "k" and count >= size):
            return f"{count / size:.3g}{unit}"
    return f"{count}"


def _beside(left: list[Text], right: list[Text], width: int) -> list[Text]:
    """Two columns, where there is room for the second."""
    from rich.text import Text

    made = []
    column = max(line.cell_len for line in left) + 1
    for at in range(max(len(left), len(right))):
        line = left[at] if at < len(left) else Text("")
        if at < len(right) and width >= column + _RIGHT:
            line.append(" " * (column - line.cell_len))
            line.append_text(right[at])
            line.rstrip()
        made.append(line)
    return made


def _findings(place: Place, room: int) -> list[Text]:
    from rich.text import Text

    found = place.shown.findings
    made = [Text(f"findings: {len(found)}" if found else "findings: none", "dim")]
    for finding, since in found[: room if len(found) <= room else max(room - 1, 1)]:
        line = Text(f"{finding.severity:<9}", _STYLES[finding.severity])
        line.append(f"{words.clock(since)[:8]} {printable(finding.summary)}")
        made.append(line)
    if len(found) > room > 1:
        made.append(Text(f"… {len(found) - room + 1} more: key 5", "dim"))
    return made + [Text("")] * (room + 1 - len(made))


def _list(place: Place, width: int, room: int) -> list[Text]:
    from rich.text import Text

    kind = LISTS[place.list]
    found = entries(place)
    if not found:
        return [Text("  nothing" + (f" with {place.filter!r}" if place.filter else ""), "dim")]
    headings = list(kind.headings)
    if place.sort is not None:
        headings[place.sort] += "▲" if not place.backward else "▼"
    cursor = min(place.cursor, len(found) - 1)
    above = max(0, min(cursor - room // 2, len(found) - (room - 1)))
    part = found[above : above + room - 1]
    cells = [[printable(cell) for cell in one.cells] for one in part]
    made = grid.lines(headings, cells, right=list(kind.right), width=None)
    return [Text("  " + made[0], "dim")] + [
        Text(("▶ " if above + at == cursor else "  ") + text, "bold" if above + at == cursor else "")
        for at, text in enumerate(made[1:])
    ]


def _foot(place: Place) -> Text:
    from rich.text import Text

    if place.typing:
        return Text(f"/{place.filter}▏", "bold")
    if place.message:
        return Text(printable(place.message), "bold")
    keys = "q end · ? keys · Enter open · w save · s sort · / filter · p pause"
    return Text((f"filter {place.filter!r} · " if place.filter else "") + keys, "dim")


def _page(place: Place, height: int) -> list[Text]:
    from rich.text import Text

    assert place.page is not None
    title, text = place.page
    room = height - 2
    part = text[place.top : place.top + room]
    made = [Text(printable(title), "bold"), *(Text(printable(line)[place.left :]) for line in part)]
    made = (made + [Text("")] * height)[: height - 1]
    rest = len(text) - place.top - room
    more = f" · {rest} more lines ↓" if rest > 0 else ""
    return [*made, Text(place.message or f"Esc back · w save{more}", "bold" if place.message else "dim")]


def finding_page(finding: Any, width: int, processes: Sequence[str] = ()) -> tuple[str, tuple[str, ...]]:
    """A finding whole, as a page; `processes`: those of this host that have its connections."""
    made: list[str] = []
    if processes:
        made += [*textwrap.wrap(f"here: {', '.join(processes)}", width - 2, subsequent_indent="  "), ""]
    for line in finding.evidence:
        made += textwrap.wrap(f"· {line}", width - 2, subsequent_indent="  ", break_long_words=False)
    for label, text in (("do", finding.advice), ("confirm", finding.confirm)):
        if text:
            made += ["", *textwrap.wrap(f"{label}: {text}", width - 2, subsequent_indent="  ", break_long_words=False)]
    if finding.wireshark_filter:
        made += ["", f"Wireshark{words.of_first(finding.filter_first)}: {finding.wireshark_filter}"]
    head = f"{finding.severity}: {finding.summary} ({finding.name}, {finding.confidence} confidence)"
    return head, tuple(made)
