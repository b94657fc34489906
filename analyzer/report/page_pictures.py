"""The pictures of a page: which, with what title and what said in words, and what of a large capture they leave out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas

from analyzer import pictures as tables
from analyzer.report import chart_svg, palette, words

if TYPE_CHECKING:
    from analyzer.analysis import Analysis

#: connections whose states are followed over time: some hundred microseconds each
MOST_FOLLOWED = 40_000
HOSTS = 2
#: marks of one picture: more cover each other
MARKS = 1_500
LISTENERS = 7
ATTEMPTS = 7
BARS = 30

Picture = tuple[str, str, str]  # title, note, SVG


def pictures(analysis: Analysis) -> Iterator[Picture]:
    """Those that have something to show."""
    yield from _states(analysis)
    yield from _answers(analysis)
    yield from _repetitions(analysis)
    yield from _failures(analysis)
    yield from _half_closed(analysis)


def _states(analysis: Analysis) -> Iterator[Picture]:
    if len(analysis.table) > MOST_FOLLOWED:
        note = f"left out: of {len(analysis.table):,} connections it takes long; `handshake states --every` counts them"
        yield "Connections by state over time", note, ""
        return
    for host in tables.busiest_hosts(analysis, HOSTS):
        course = tables.state_counts(analysis, host)
        if course.empty:
            continue
        wide = course.pivot_table(index="seconds", columns="state", values="count", observed=True).fillna(0)
        x = [float(second) for second in wide.index]
        layers = [
            (str(state), palette.STATES[str(state)], [int(n) for n in wide[state]])
            for state in wide
            if wide[state].any()
        ]
        peaks = [f"{name} at most {max(counts):,}, {counts[-1]:,} at the end" for name, _, counts in layers]
        title = f"Connections of {host} by state over time"
        yield title, "", chart_svg.areas(title, "; ".join(peaks), x, layers)


def _failures(analysis: Analysis) -> Iterator[Picture]:
    failed = tables.failures(analysis)
    if failed.empty:
        return
    columns = tables.heaviest(failed, "listener")
    rows = []
    cells = {(one.client, one.listener): (int(one.failed), int(one.all)) for one in _rows(failed)}
    for client in tables.heaviest(failed, "client"):
        rows.append((client, [cells.get((client, listener)) for listener in columns]))
    told = "; ".join(
        f"{client} to {listener}: {bad:,} of {total:,}" for (client, listener), (bad, total) in cells.items() if bad
    )
    title = "Handshakes that failed, by client and listener"
    yield title, "of all attempts; darker: a larger part", chart_svg.matrix(title, told, columns, rows)


def _answers(analysis: Analysis) -> Iterator[Picture]:
    times = tables.answer_times(analysis)
    if times.empty:
        return
    order = [str(one) for one in times["listener"].value_counts().index]
    shown = times
    note = "logarithmic; where a repeated SYN makes it ambiguous it is left out"
    if len(times) > MARKS:
        shown = times.iloc[:: -(-len(times) // MARKS)]
        note = f"logarithmic; {len(shown):,} of {len(times):,} connections, evenly chosen"
    series = []
    for place, listener in enumerate(order[:LISTENERS]):
        mine = shown[shown["listener"] == listener]
        series.append(_answer_points(listener, chart_svg.COLOURS[place], mine))
    if len(order) > LISTENERS:
        rest = shown[~shown["listener"].isin(order[:LISTENERS])]
        series.append(_answer_points(f"{len(order) - LISTENERS:,} others", chart_svg.COLOURS[-1], rest))
    medians = times.groupby("listener")["ms"].median()
    told = "; ".join(f"{listener}: median {medians[listener]:.3g} ms" for listener in order[:LISTENERS])
    title = "From SYN to SYN+ACK"
    lasted = (analysis.table.end_ns - (analysis.result.capture.first_ns or 0)) / 1e9
    yield title, note, chart_svg.points(title, told, series, lasted, "seconds", "milliseconds")


def _answer_points(name: str, colour: str, chosen: pandas.DataFrame) -> chart_svg.Points:
    marks = [
        (float(one.seconds), float(one.ms), f"flow {one.flow}, {one.listener}: {one.ms:.3g} ms")
        for one in _rows(chosen)
    ]
    return chart_svg.Points(name, colour, marks)


def _repetitions(analysis: Analysis) -> Iterator[Picture]:
    again = tables.repetitions(analysis)
    if again.empty:
        return
    most = min(int(again["attempt"].max()), ATTEMPTS)
    shown = again[again["attempt"] <= most]
    note = "lines: when a timer is due, doubling (RFC 6298), dashed as Linux 6.5 and later sends SYNs"
    if len(shown) > MARKS:
        shown = shown.iloc[:: -(-len(shown) // MARKS)]
        note += f"; {len(shown):,} of {len(again):,} evenly chosen"
    series = []
    for place, sent in enumerate(("SYN", "SYN+ACK", "FIN")):
        mine = shown[shown["sent"] == sent]
        if not mine.empty:
            marks = [
                (float(one.attempt), float(one.seconds), f"flow {one.flow}: {sent} again after {one.seconds:.3g} s")
                for one in _rows(mine)
            ]
            series.append(chart_svg.Points(sent, chart_svg.COLOURS[place], marks))
    counts = again.groupby("sent").size()
    told = "; ".join(f"{count:,} {sent} sent again" for sent, count in counts.items())
    title = "Retransmissions beside their schedule"
    yield title, note, chart_svg.schedule(title, told, series, tables.EXPECTED, most)


def _half_closed(analysis: Analysis) -> Iterator[Picture]:
    open_halves = tables.half_closed(analysis)
    if open_halves.empty:
        return
    shown = open_halves.iloc[:BARS]
    note = "" if len(shown) == len(open_halves) else f"the longest {len(shown)} of {len(open_halves):,}"
    colours = {"responder": palette.STATES["CLOSE_WAIT"], "originator": palette.STATES["FIN_WAIT_2"]}
    rows = []
    for one in _rows(shown):
        lasted = words.span(int(one.lasted * 1e9))
        said = f"flow {one.flow}: {lasted}, waits for the {one.waits_for}"
        rows.append((f"{one.flow} → {one.listener}", one.start, one.end, colours[one.waits_for], said))
    told = "; ".join(said for *_, said in rows)
    title = "Half-closed connections"
    legend = [(f"waits for the {end}", colour) for end, colour in colours.items() if end in set(shown["waits_for"])]
    yield title, note, chart_svg.bars(title, told, rows, "seconds", legend)


def _rows(table: pandas.DataFrame) -> Iterator[Any]:
    return table.itertuples()
