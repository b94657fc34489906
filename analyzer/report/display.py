"""How an analysis, a flow and a finding show themselves: HTML in Jupyter, text elsewhere.

Owns the overviews. Whatever comes from a capture is escaped here; the words are those of the report.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from itertools import starmap
from typing import TYPE_CHECKING, Any

from analyzer.findings import Finding
from analyzer.flows.columns import record
from analyzer.flows.table import FlowTable
from analyzer.report import words
from analyzer.report.alike import more_of, some_of_each
from analyzer.report.escape import printable
from analyzer.report.palette import HANDSHAKES, SEVERITIES

if TYPE_CHECKING:
    from analyzer.analysis import Analysis

#: findings of one cause, and findings of lesser weight, that an overview names
ALIKE = 10
NOTED = 5

#: what stands where no finding calls for anything
NOTHING = "Nothing found that calls for action."

_CARD = (
    "font:13px/1.5 system-ui,sans-serif;color:#1b1f24;background:#fff;border:1px solid #d6dbe1;border-radius:8px;"
    "padding:12px 16px;max-width:62rem"
)
_FAINT = "color:#5a6472"


class ShownFinding(Finding):
    """A finding that shows itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        said = [
            f"{self.severity.upper()} {printable(self.summary)}",
            f"  {self.name}, {self.confidence} confidence",
            *(f"  · {printable(line)}" for line in self.evidence),
        ]
        said += [
            f"  {label}: {printable(text)}" for label, text in (("do", self.advice), ("confirm", self.confirm)) if text
        ]
        return "\n".join(said)

    def _repr_html_(self) -> str:
        return f'<div style="{_CARD}">{finding_html(self)}</div>'


def shown(found: Sequence[Finding], flows: Collection[int] | None) -> list[ShownFinding]:
    """Findings as they show themselves, less those that concern none of these flows (None: all are asked about)."""
    return [
        ShownFinding(*finding)
        for finding in found
        if flows is None or not finding.flows or any(number in flows for number in finding.flows)
    ]


def finding_html(finding: Finding) -> str:
    """A finding with its evidence and what to do."""
    evidence = "".join(f"<li>{html(line)}</li>" for line in finding.evidence)
    rest = "".join(
        f'<p style="margin:6px 0 0"><b>{label}</b> {html(text)}</p>'
        for label, text in (("Do:", finding.advice), ("Confirm:", finding.confirm))
        if text
    )
    return (
        f"<div>{_badge(finding.severity)} <b>{html(finding.summary)}</b></div>"
        f'<div style="{_FAINT}">{html(finding.name)}, {finding.confidence} confidence</div>'
        f'<ul style="margin:6px 0;padding-left:20px">{evidence}</ul>{rest}'
    )


def is_wrong(analysis: Analysis) -> bool:
    """Whether any finding calls for something to be done."""
    return any(finding.severity != "info" for finding in analysis.found)


def overview_text(analysis: Analysis) -> str:
    """What a capture holds and what is wrong in it, at a glance."""
    lists = analysis.lists
    weightiest, left_out = _weightiest(analysis)
    said = [
        heading(analysis),
        f"handshakes: {counted(lists.handshake)}",
        f"closes: {counted(lists.close)}",
        *(f"! {printable(line)}" for line in analysis.capture["weakened_by"]),
        *([] if is_wrong(analysis) else [NOTHING]),
        *(f"{finding.severity.upper():8} {printable(finding.summary)}" for _, finding in weightiest),
        *left_out,
    ]
    return "\n".join(said)


def overview_html(analysis: Analysis) -> str:
    """The same for Jupyter."""
    lists = analysis.lists
    weak = "".join(f'<div style="color:#b35c00">! {html(line)}</div>' for line in analysis.capture["weakened_by"])
    weightiest, left_out = _weightiest(analysis)
    findings = "".join(
        f'<li style="margin:2px 0">{_badge(finding.severity)} {html(finding.summary)}'
        f' <span style="{_FAINT}">found[{place}]</span></li>'
        for place, finding in weightiest
    )
    findings += "".join(f'<li style="{_FAINT}">{html(line)}</li>' for line in left_out)
    wrong = "" if is_wrong(analysis) else f'<div style="margin:8px 0 0"><b>{NOTHING}</b></div>'
    wrong += f'<ul style="list-style:none;padding:0;margin:8px 0 0">{findings}</ul>' if findings else ""
    return (
        f'<div style="{_CARD}"><div style="font-weight:600">{html(heading(analysis))}</div>{weak}'
        f"{_bar(lists.handshake)}"
        f"<div>Handshakes: {keyed(lists.handshake)}</div><div>Closes: {html(counted(lists.close))}</div>{wrong}"
        f'<div style="{_FAINT};margin-top:8px">.flows .findings .incomplete_handshakes .half_closed'
        " .synack_retransmissions .states() .timeline() .flow(n) .charts</div></div>"
    )


def heading(analysis: Analysis) -> str:
    """The capture in a line."""
    return f"{named(analysis)}: {measured(analysis)}"


def named(analysis: Analysis) -> str:
    """The capture by the name of its files."""
    capture = analysis.capture
    names = [os.path.basename(file["name"]) or file["name"] for file in capture["files"]]
    name = "live" if not names else names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)} files)"
    return printable(name)


def measured(analysis: Analysis) -> str:
    """How much is in it, and from when."""
    capture = analysis.capture
    line = words.many(capture["packets"], "packet")
    if capture["duration_ns"] is not None:
        line += f" in {words.span(capture['duration_ns'])} from {words.moment(capture['first_ns'])}"
    shown, held = len(analysis.rows), len(analysis.table)
    return line + f", {words.many(held, 'connection')}" + (f" ({shown:,} selected)" if shown < held else "")


def counted(counts: dict[str, int]) -> str:
    """Verdicts with how often each was given."""
    return ", ".join(f"{count:,} {word.replace('_', ' ')}" for word, count in counts.items()) or "none"


def keyed(counts: dict[str, int]) -> str:
    """The same of handshakes as HTML, each with its colour in the bar."""
    return ", ".join(_key(word, count) for word, count in counts.items()) or "none"


def _key(word: str, count: int) -> str:
    size = "display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.3em;print-color-adjust:exact"
    square = f'<span aria-hidden="true" style="{size};background:{HANDSHAKES[word]}"></span>'
    return f'<span style="white-space:nowrap">{square}{html(counted({word: count}))}</span>'


def _weightiest(analysis: Analysis) -> tuple[list[tuple[int, Finding]], list[str]]:
    """Findings with their places in `found`, less some that are like others and some of little weight; what is left."""
    wrong = [finding for finding in analysis.found if finding.severity != "info"]
    noted = [finding for finding in analysis.found if finding.severity == "info"]
    chosen, left_out = some_of_each(wrong, ALIKE)
    chosen += noted[:NOTED]
    places = {id(finding): place for place, finding in enumerate(analysis.found)}
    return [(places[id(finding)], finding) for finding in chosen], list(starmap(more_of, left_out.items()))


def _badge(severity: str) -> str:
    style = f"background:{SEVERITIES[severity]};color:#fff;border-radius:4px;padding:0 6px;font-size:11px"
    return f'<span style="{style}">{severity.upper()}</span>'


def _bar(counts: dict[str, int]) -> str:
    """Verdicts on the handshakes as one bar; what it says stands in words below."""
    total = sum(counts.values()) or 1
    pieces = "".join(
        f'<span title="{count:,} {word}" style="display:inline-block;height:10px;background:{HANDSHAKES[word]};'
        f'width:{100 * count / total:.3f}%"></span>'
        for word, count in counts.items()
    )
    return (
        f'<div style="margin:8px 0 4px;border-radius:4px;overflow:hidden;font-size:0" aria-hidden="true">{pieces}</div>'
    )


# --- a flow ------------------------------------------------------------------------------------------------------


def flow_text(table: FlowTable, row: int) -> str:
    """One connection in a few lines."""
    return "\n".join(f"{label + ':':22} {value}" if label else value for label, value in _of_flow(record(table, row)))


def flow_html(table: FlowTable, row: int) -> str:
    """The same for Jupyter."""
    (_, title), *rest = _of_flow(record(table, row))
    lines = "".join(
        f'<tr><th scope="row" style="text-align:left;{_FAINT};font-weight:400">{html(label)}</th>'
        f'<td style="text-align:left">{html(value)}</td></tr>'
        for label, value in rest
    )
    return (
        f'<div style="{_CARD}"><div style="font-weight:600">{html(title)}</div><table>{lines}</table>'
        f'<div style="{_FAINT}">.ladder() .segments() .packets() .transitions, and every column by name</div></div>'
    )


def _of_flow(flow: dict[str, Any]) -> Iterator[tuple[str, str]]:
    o, r = (words.endpoint(flow[end], flow[f"{end}_port"]) for end in ("originator", "responder"))
    yield "", f"flow {flow['flow']}: {o} → {r}"
    yield "handshake", flow["handshake"] + (" (confirmed)" if flow["handshake_confirmed"] else "")
    who = [f"{what} by {flow[name]}" for what, name in (("closed", "closed_by"), ("reset", "reset_by")) if flow[name]]
    yield "close", flow["close"] + (f" ({', '.join(who)})" if who else "")
    for end in ("originator", "responder"):
        basis = flow[f"{end}_basis"]
        yield f"{end} at the end", f"{flow[f'{end}_state']}{f' ({basis})' if basis != 'observed' else ''}"
    lasted = words.span(flow["last_ns"] - flow["first_ns"])
    yield "time", f"{words.moment(flow['first_ns'])}, {lasted}"
    yield (
        "packets, bytes",
        (
            f"{flow['originator_packets']:,} and {flow['responder_packets']:,} packets,"
            f" {flow['originator_bytes']:,} and {flow['responder_bytes']:,} bytes"
        ),
    )
    if flow["syn_retransmissions"] or flow["synack_retransmissions"]:
        cause = f" ({flow['synack_cause']})" if flow["synack_cause"] else ""
        yield "sent again", f"SYN {flow['syn_retransmissions']}, SYN+ACK {flow['synack_retransmissions']}{cause}"
    yield "Wireshark", flow["wireshark_filter"]


def html(text: str) -> str:
    """Text of a capture, or of ours, as HTML."""
    text = printable(text)
    for character, written in _WRITTEN:
        text = text.replace(character, written)
    return text


#: as html.escape has it, whose import would cost every report a few milliseconds
_WRITTEN = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;"))
