"""The report as one HTML page: opens anywhere, asks nobody for anything, and holds what a person can use.

Owns the order of the page and the bounds on what it lists and draws. Whatever comes from a capture is escaped, the
page's policy lets nothing run but its own script, and without that script the page is still whole.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from analyzer._version import __version__
from analyzer.errors import AnalyzerError
from analyzer.flows.columns import record
from analyzer.report import why, words
from analyzer.report.alike import more_of, some_of_each
from analyzer.report.display import NOTHING, counted, heading, html, is_wrong, keyed, measured, named
from analyzer.report.palette import HANDSHAKES
from analyzer.report.text import fairly

if TYPE_CHECKING:
    from analyzer.analysis import Analysis
    from analyzer.findings import Finding

#: rows of each list: more than anyone reads; `handshake flows --where` has the rest
LISTED = 400
#: findings of one cause that are shown
ALIKE = 50
#: flows of each finding, and of each list, that get a ladder
EXAMPLES = {"critical": 3, "warning": 2, "info": 1}
OF_A_LIST = 2
#: bytes of all ladders together: keeps an ordinary report under 2 MB
LADDER_BYTES = 700_000
#: display filters beyond this are left to --json
FILTER_LENGTH = 2_000

_BACKTICKS = re.compile(r"`([^`]+)`")
Cell = tuple[str, object]  # as it is shown, and what it sorts by


class _Column(NamedTuple):
    """A column of a list. `kind`: n a number, a an address, w words, empty anything else."""

    name: str
    kind: str
    cell: Callable[[dict[str, Any]], Cell]


def write(out: TextIO, analysis: Analysis) -> None:
    """Write the page."""
    package = files("analyzer.report")
    style = package.joinpath("page.css").read_text(encoding="utf-8")
    script = package.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    title = html(f"handshake report: {heading(analysis)}")
    out.write(
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f'<link rel="icon" href="data:,"><style>{style}</style></head>\n<body>'
    )
    for part in _body(analysis):
        out.write(part)
    out.write(f"<script>{script}</script></body></html>\n")


def _body(analysis: Analysis) -> Iterator[str]:
    ladders, drawn = _ladders(analysis)
    yield '<a class="skip" href="#findings">Skip to the findings</a>'
    yield (
        f"<header><h1>{html(named(analysis))}</h1><p>{html(measured(analysis))}</p>"
        '<nav aria-label="Parts"><a href="#findings">Findings</a>'
        '<a href="#pictures">Pictures</a><a href="#lists">Lists</a><a href="#ladders">Ladders</a>'
        '<a href="#capture">Capture</a></nav><button type="button" id="theme" hidden>Dark colours</button></header>'
    )
    yield "<main>"
    yield from _summary(analysis)
    yield from _findings(analysis, drawn)
    if len(analysis.rows):
        yield from _pictures(analysis)
        yield from _lists(analysis, drawn)
        yield from ladders
    yield from _capture(analysis)
    yield f"</main><footer>handshake {__version__}. Times are UTC. This page holds everything it shows.</footer>"


# --- what is wrong -----------------------------------------------------------------------------------------------


def _summary(analysis: Analysis) -> Iterator[str]:
    lists = analysis.lists
    capture = analysis.capture
    yield '<section aria-label="Summary">'
    for sentence in (*capture["notes"], *capture["weakened_by"]):
        yield f'<p class="weak">{html(sentence)}</p>'
    total = sum(lists.handshake.values()) or 1
    pieces = "".join(
        f'<span style="background:{HANDSHAKES[word]};width:{100 * count / total:.3f}%" title="{count:,} {word}"></span>'
        for word, count in lists.handshake.items()
    )
    yield f'<div class="bar" aria-hidden="true">{pieces}</div><ul class="counts">'
    for count, name in (
        (len(analysis.rows), "connections"),
        (len(lists.incomplete_handshakes), "incomplete handshakes"),
        (len(lists.half_closed), "half closed"),
        (len(lists.synack_retransmissions), "SYN+ACKs sent again"),
    ):
        yield f"<li><b>{count:,}</b>{name}</li>"
    yield f"</ul><p>Handshakes: {keyed(lists.handshake)}.<br>"
    yield f"Closes: {html(counted(lists.close))}.</p></section>"


def _findings(analysis: Analysis, drawn: Collection[int]) -> Iterator[str]:
    yield '<section id="findings" aria-labelledby="findings-title"><h2 id="findings-title">Findings</h2>'
    if not is_wrong(analysis):
        yield f'<p class="good">{NOTHING}</p>'
    wrong = [finding for finding in analysis.found if finding.severity != "info"]
    noted = [finding for finding in analysis.found if finding.severity == "info"]
    shown, left_out = some_of_each(wrong, ALIKE)
    for number, finding in enumerate(shown, 1):
        yield _finding(number, finding, drawn)
    first_noted = len(shown) + 1
    yield from _left_out(left_out)
    if noted:
        yield f"<details{'' if wrong else ' open'}><summary>Also noted: {len(noted):,}</summary>"
        shown, left_out = some_of_each(noted, ALIKE)
        for number, finding in enumerate(shown, first_noted):
            yield _finding(number, finding, drawn)
        yield from _left_out(left_out)
        yield "</details>"
    yield "</section>"


def _left_out(left_out: dict[str, int]) -> Iterator[str]:
    """A line a cause of which not all findings are shown."""
    for name, count in left_out.items():
        said = f"{html(more_of(name, count))}: <code>handshake report FILE --explain {html(name)}</code>"
        yield f'<p class="faint">{said}</p>'


def _finding(number: int, finding: Finding, drawn: Collection[int]) -> str:
    evidence = "".join(f"<li>{html(line)}</li>" for line in finding.evidence)
    parts = [
        f'<article class="finding" id="finding-{number}"><h3><span class="badge {finding.severity}">'
        f"{finding.severity.upper()}</span>{html(finding.summary)}</h3>"
        f'<div class="faint">{html(finding.name)}, {finding.confidence} confidence</div><ul>{evidence}</ul>'
    ]
    parts += [
        f"<p><b>{label}</b> {_code(text)}</p>"
        for label, text in (("Do:", finding.advice), ("Confirm:", finding.confirm))
        if text
    ]
    examples = [flow for flow in finding.flows if flow in drawn]
    if examples:
        parts.append(f"<p><b>Look:</b> {', '.join(_link(flow) for flow in examples)}</p>")
    if finding.wireshark_filter and len(finding.wireshark_filter) <= FILTER_LENGTH:
        label = f"Wireshark{words.of_first(finding.filter_first)}:"
        parts.append(f"<p><b>{label}</b> <code>{html(finding.wireshark_filter)}</code></p>")
    return "".join([*parts, "</article>"])


def _code(text: str) -> str:
    """Advice with its commands marked as such."""
    return _BACKTICKS.sub(r"<code>\1</code>", html(text))


def _link(flow: int) -> str:
    return f'<a href="#flow-{flow}">flow {flow}</a>'


# --- pictures ----------------------------------------------------------------------------------------------------


def _pictures(analysis: Analysis) -> Iterator[str]:
    from analyzer.report import page_pictures

    yield '<section id="pictures" aria-labelledby="pictures-title"><h2 id="pictures-title">Pictures</h2>'
    yield '<div class="pictures">'
    for title, note, picture in page_pictures.pictures(analysis):
        yield f'<figure><figcaption><b>{html(title)}</b> <span class="faint">{_code(note)}</span></figcaption>'
        yield f'<div class="scroll" tabindex="0">{picture}</div></figure>' if picture else "</figure>"
    yield "</div></section>"


# --- the three lists ---------------------------------------------------------------------------------------------


def _number(name: str, key: str) -> _Column:
    return _Column(name, "n", lambda flow: (f"{flow[key]:,}", flow[key]))


def _span(name: str, of: Callable[[dict[str, Any]], int | None]) -> _Column:
    def cell(flow: dict[str, Any]) -> Cell:
        ns = of(flow)
        return ("", -1) if ns is None else (words.span(ns), ns)

    return _Column(name, "n", cell)


def _word(name: str, key: str) -> _Column:
    return _Column(name, "", lambda flow: (str(flow[key]).replace("_", " "), None))


_END = (
    _Column("originator", "a", lambda flow: (words.endpoint(flow["originator"], flow["originator_port"]), None)),
    _Column("responder", "a", lambda flow: (words.endpoint(flow["responder"], flow["responder_port"]), None)),
)
_BEGAN = _Column("began", "n", lambda flow: (words.clock(flow["first_ns"]), flow["first_ns"]))
_WHY = _Column("why", "w", lambda flow: (flow["why"], None))

_LISTS = {
    "incomplete_handshakes": (
        "Incomplete handshakes",
        why.incomplete,
        "handshake not in ['complete', 'midstream']",
        (
            *_END,
            _word("verdict", "handshake"),
            _number("SYNs", "syn_count"),
            _number("SYN+ACKs", "synack_count"),
            _span("over", lambda flow: flow["last_ns"] - flow["first_ns"]),
            _BEGAN,
            _WHY,
        ),
    ),
    "half_closed": (
        "Half-closed connections",
        why.half_closed,
        "close == 'half_closed'",
        (
            *_END,
            _word("closed by", "closed_by"),
            _span("for", lambda flow: flow["half_closed_ns"]),
            _number("bytes since", "half_closed_bytes"),
            _Column("originator is", "", lambda flow: (flow["originator_state"], None)),
            _Column("responder is", "", lambda flow: (flow["responder_state"], None)),
            _WHY,
        ),
    ),
    "synack_retransmissions": (
        "SYN+ACKs sent again",
        why.synack_again,
        "synack_retransmissions > 0",
        (
            *_END,
            _number("times", "synack_retransmissions"),
            _word("cause", "synack_cause"),
            _word("handshake", "handshake"),
            _BEGAN,
            _WHY,
        ),
    ),
}


def _chosen(analysis: Analysis, name: str) -> list[int]:
    """The rows of a list that the page shows."""
    rows: list[int] = getattr(analysis.lists, name)
    if name == "incomplete_handshakes":
        return sorted(fairly(analysis.table, rows, LISTED)[:LISTED])
    if name == "half_closed":
        return sorted(rows, key=lambda row: analysis.table.fact(row, "half_start_ns"))[:LISTED]
    again = [
        (-analysis.table.fact(row, "o_synack_retransmissions") - analysis.table.fact(row, "r_synack_retransmissions"))
        for row in rows
    ]
    return sorted(row for _, row in sorted(zip(again, rows, strict=True))[:LISTED])


def _lists(analysis: Analysis, drawn: Collection[int]) -> Iterator[str]:
    yield '<section id="lists" aria-labelledby="lists-title"><h2 id="lists-title">Lists</h2>'
    weak = why.Weakness.of(analysis.capture)
    for name, (title, reason, where, columns) in _LISTS.items():
        rows, total = _chosen(analysis, name), len(getattr(analysis.lists, name))
        yield f'<h3 id="{name}">{title}: {total:,}</h3>'
        if not rows:
            continue
        every = words.many(len(rows), "row")
        if len(rows) < total:
            every = f"{len(rows):,} of {total:,} rows"
            yield f'<p class="faint">{total - len(rows):,} are left out here: <code>{_rest(analysis, where)}</code></p>'
        yield (
            f'<div class="tools" hidden><label>Search <input type="search" id="{name}-search" autocomplete="off"'
            f' aria-label="Search {title.lower()}" aria-describedby="{name}-said"></label>'
            f'<span id="{name}-said" role="status" data-all="{every}">{every}'
            f'</span></div><div class="long" tabindex="0" role="region" aria-labelledby="{name}">'
            f'<table class="sortable" data-search="{name}-search"><thead><tr><th scope="col" class="n">flow</th>'
        )
        for column in columns:
            yield f'<th scope="col"{_class(column.kind)}>{column.name}</th>'
        yield "</tr></thead><tbody>"
        for row in rows:
            flow = record(analysis.table, row)
            flow["why"] = reason(analysis.table, row, weak)
            number = flow["flow"]
            yield f'<tr><td class="n" data-v="{number}">{_link(number) if number in drawn else number}</td>'
            for column in columns:
                shown, value = column.cell(flow)
                sort = "" if value is None else f' data-v="{value}"'
                yield f"<td{_class(column.kind)}{sort}>{html(shown)}</td>"
            yield "</tr>"
        yield "</tbody></table></div>"
    yield "</section>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _rest(analysis: Analysis, where: str) -> str:
    names = [file["name"] for file in analysis.capture["files"]]
    return html(f'handshake flows {names[0] if len(names) == 1 else "FILE…"} --where "{where}"')


# --- ladders -----------------------------------------------------------------------------------------------------


def _ladders(analysis: Analysis) -> tuple[Iterator[str], Collection[int]]:
    """The section, and the numbers of the flows in it."""
    from analyzer.report import page_ladders

    wanted = _examples(analysis)
    try:
        drawn, left_out = page_ladders.drawn(analysis, wanted, LADDER_BYTES)
    except AnalyzerError as error:
        drawn, left_out = {}, len(wanted)
        reason = str(error)
    else:
        reason = "they would make this page too large"

    def section() -> Iterator[str]:
        yield '<section id="ladders" aria-labelledby="ladders-title"><h2 id="ladders-title">Ladders</h2>'
        yield '<p class="faint">The packets of one connection, with the state of both ends; parentheses: inferred.</p>'
        for number, (title, picture) in drawn.items():
            yield f'<details id="flow-{number}"><summary>{html(title)}</summary><div class="scroll" tabindex="0">'
            yield f"{picture}</div></details>"
        if left_out:
            yield f'<p class="faint">{words.many(left_out, "example")} left out: {html(reason)}.</p>'
        yield '<p class="faint">Any other: <code>handshake show FILE FLOW</code></p></section>'

    return section(), drawn.keys()


def _examples(analysis: Analysis) -> list[int]:
    """Numbers of the flows that get a ladder, what matters most first."""
    wanted: dict[int, None] = {}
    numbers = analysis.table.raw("number")
    for finding in some_of_each(analysis.found, ALIKE)[0]:
        mine = [flow for flow in finding.flows if flow in analysis.flow_numbers]
        wanted.update(dict.fromkeys(mine[: EXAMPLES[finding.severity]]))
    for name in _LISTS:
        wanted.update(dict.fromkeys(numbers[row] for row in _chosen(analysis, name)[:OF_A_LIST]))
    if not wanted and analysis.rows:
        wanted[numbers[analysis.rows[0]]] = None
    return list(wanted)


# --- the capture -------------------------------------------------------------------------------------------------


def _capture(analysis: Analysis) -> Iterator[str]:
    capture = analysis.capture
    yield '<section id="capture" aria-labelledby="capture-title"><h2 id="capture-title">Capture</h2><dl>'
    for name, value in _health(capture):
        yield f"<dt>{html(name)}</dt><dd>{html(value)}</dd>"
    yield "</dl></section>"


def _health(capture: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for file in capture["files"]:
        size = f"{file['bytes']:,} bytes, {words.many(file['packets'], 'packet')}"
        kind = " ".join(part for part in (file["format"], file["variant"], file["compression"]) if part)
        yield "file", f"{file['name']}: {kind}; {size}{'; ' + file['truncated'] if file['truncated'] else ''}"
    if capture["first_ns"] is not None:
        yield "from", words.moment(capture["first_ns"])
        yield "to", f"{words.moment(capture['last_ns'])} ({words.span(capture['duration_ns'])})"
    yield "packets", f"{capture['packets']:,}, {capture['segments']:,} of them TCP segments"
    for name in ("received", "dropped_by_interface", "dropped_by_kernel"):
        stated = capture[name]
        yield name.replace("_", " "), "not stated in the file" if stated is None else f"{stated:,}"
    yield "out of order", f"{capture['disordered']:,}"
    directions = capture["directions_seen"]
    yield "directions seen", ", ".join(f"{count:,} {word}" for word, count in directions.items() if count) or "none"
    skipped = ", ".join(
        f"{count:,} {reason.replace('_', ' ')}" for reason, count in capture["skipped"].items() if count
    )
    yield "without TCP", skipped or "none"
    decoded = {name: count for name, count in capture["decoded"].items() if count and name != "segments"}
    if decoded:
        yield "among the segments", ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in decoded.items())
    tracker = {name: count for name, count in capture["tracker"].items() if count and name != "flows"}
    if tracker:
        yield "while tracking", ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in tracker.items())
