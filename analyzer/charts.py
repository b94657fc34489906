"""Pictures for a notebook: interactive where the notebook knows Vega-Lite, SVG everywhere else and on paper.

Owns how each table of `pictures` is drawn with Altair, and how a picture shows itself without asking the network for
anything. Needs the extra `notebook`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from analyzer import pictures
from analyzer.errors import OutputError
from analyzer.report.palette import STATES
from analyzer.report.words import moment

try:
    import altair
    import vl_convert
except ModuleNotFoundError:
    raise OutputError("pictures are drawn by Altair: pip install 'handshake-analyzer[notebook]'") from None

if TYPE_CHECKING:
    import pandas

    from analyzer.analysis import Analysis

#: marks of one picture: more cover each other, and make a notebook large
MARKS = 3_000
_WIDTH, _HEIGHT = 640, 280
#: room for a reader's font, wider than the one that static pictures were measured with: labels would be cut off
_PADDING = {"left": 40, "right": 40, "top": 5, "bottom": 5}
#: of the schedules of `pictures.EXPECTED`, told apart from what was sent and from each other
_DUE = ("#333333", "#b0b0b0")


class Picture:
    """One picture. `chart` is Altair's, to be changed at will; `data` the table that it shows."""

    def __init__(self, chart: Any, data: pandas.DataFrame) -> None:
        self.chart = chart
        self.data = data

    def svg(self) -> str:
        """The picture as it stands on paper."""
        return str(vl_convert.vegalite_to_svg(self.chart.to_json(), vl_version=_vega_lite()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write .svg, .png, .pdf, .json, or .html that needs nothing else."""
        name = os.fspath(path)
        if name.endswith(".svg"):
            with open(name, "w", encoding="utf-8") as out:
                out.write(self.svg())
        else:
            self.chart.save(name, **({"inline": True} if name.endswith(".html") else {}))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Vega-Lite for those that draw it themselves, by every name they may know it by; SVG for the rest."""
        spec = self.chart.to_dict()
        major = altair.SCHEMA_VERSION.lstrip("v").partition(".")[0]
        shown: dict[str, Any] = {"text/plain": repr(self), "image/svg+xml": self.svg()}
        shown[f"application/vnd.vegalite.v{major}+json"] = spec
        older = "https://vega.github.io/schema/vega-lite/v5.json"  # what these charts use means the same in 5 and 6
        shown["application/vnd.vegalite.v5+json"] = {**spec, "$schema": older}
        return shown

    def __repr__(self) -> str:
        title = self.chart.title
        return f"<picture: {getattr(title, 'text', title)}>"


class Charts:
    """The pictures of an analysis."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    def states(self, host: str | None = None, instants: int = 100) -> Picture:
        """Connections by state over time, at `host` or everywhere. A click in the legend picks one state."""
        data = pictures.state_counts(self._analysis, host, instants)
        data = data[data.groupby("state", observed=True)["count"].transform("max") > 0]
        seen = [state for state in STATES if state in set(data["state"])]
        data = data.assign(place=data["state"].map({state: place for place, state in enumerate(seen)}).astype(int))
        picked = altair.selection_point(fields=["state"], bind="legend")
        chart = (
            altair.Chart(_plain(data, "state", "count", "seconds", "place"))
            .mark_area(interpolate="step-after")
            .encode(
                x=altair.X("seconds:Q", title=self._seconds()),
                y=altair.Y("count:Q", title="connections", stack="zero"),
                color=altair.Color("state:N", title=None, scale=_colours(seen, [STATES[state] for state in seen])),
                order="place:Q",
                opacity=altair.condition(picked, altair.value(1), altair.value(0.15)),
                tooltip=["state:N", "count:Q", altair.Tooltip("seconds:Q", format=".1f")],
            )
            .add_params(picked)
        )
        return _picture(chart, f"Connections of {host or 'all hosts'} by state", data)

    def answer_times(self) -> Picture:
        """From SYN to SYN+ACK over time, by listener; the axes zoom."""
        data = pictures.answer_times(self._analysis)
        chart = (
            altair.Chart(_plain(_evenly(data), "flow", "seconds", "ms", "listener"))
            .mark_circle(size=28, opacity=0.7)
            .encode(
                x=altair.X("seconds:Q", title=self._seconds()),
                y=altair.Y("ms:Q", title="milliseconds", scale=altair.Scale(type="log")),
                color=altair.Color("listener:N", title=None),
                tooltip=["flow:Q", "listener:N", altair.Tooltip("ms:Q", format=".4g")],
            )
            .interactive()
        )
        return _picture(chart, "From SYN to SYN+ACK", data, shown=min(len(data), MARKS))

    def answer_times_by_listener(self) -> Picture:
        """The same summed up: median, quartiles and extremes of each listener."""
        data = pictures.answer_times(self._analysis)
        chart = (
            altair.Chart(_plain(_evenly(data), "ms", "listener"))
            .mark_boxplot(extent="min-max")
            .encode(
                x=altair.X("ms:Q", title="milliseconds", scale=altair.Scale(type="log")),
                y=altair.Y("listener:N", title=None),
            )
        )
        return _picture(chart, "From SYN to SYN+ACK, by listener", data, shown=min(len(data), MARKS), height=None)

    def repetitions(self) -> Picture:
        """Retransmissions of SYN, SYN+ACK and FIN beside the schedule of their timers (ticks)."""
        import pandas

        data = pictures.repetitions(self._analysis)
        most = int(data["attempt"].max()) if len(data) else 1
        due = pandas.DataFrame(
            [
                {"timer": name, "attempt": attempt, "seconds": at}
                for name, times in pictures.EXPECTED.items()
                for attempt, at in enumerate(times, 1)
                if attempt <= most
            ]
        )
        y = altair.Y("seconds:Q", title="seconds since the first", scale=altair.Scale(type="log"))
        x = altair.X("attempt:O", title="repetition", axis=altair.Axis(labelAngle=0))
        ticks = (
            altair.Chart(due)
            .mark_tick(thickness=2, size=28)
            .encode(
                x=x,
                y=y,
                color=altair.Color(
                    "timer:N",
                    title="due",
                    scale=_colours(list(pictures.EXPECTED), list(_DUE)),
                    legend=altair.Legend(symbolType="square"),
                ),
                tooltip=["timer:N", "seconds:Q"],
            )
        )
        dots = (
            altair.Chart(_plain(_evenly(data), "flow", "sent", "attempt", "seconds"))
            .mark_circle(size=32, opacity=0.7)
            .encode(
                x=x,
                y=y,
                xOffset=altair.XOffset("sent:N"),
                color=altair.Color("sent:N", title="sent again"),
                tooltip=["flow:Q", "sent:N", "attempt:O", altair.Tooltip("seconds:Q", format=".3f")],
            )
        )
        both = (ticks + dots).resolve_scale(color="independent")
        return _picture(both, "Retransmissions beside their schedule", data, shown=min(len(data), MARKS))

    def failures(self, clients: int = 20, listeners: int = 12) -> Picture:
        """Who fails to whom: handshakes that failed, of all, by client and listener."""
        data = pictures.failures(self._analysis, clients, listeners)
        of = [f"{failed:,} of {total:,}" for failed, total in zip(data["failed"], data["all"], strict=True)]
        data = data.assign(part=data["failed"] / data["all"], of=of)
        base = altair.Chart(_plain(data, "client", "listener", "failed", "all", "part", "of")).encode(
            x=altair.X(
                "listener:N",
                title=None,
                axis=altair.Axis(orient="top", labelAngle=-20),
                sort=pictures.heaviest(data, "listener"),
            ),
            y=altair.Y("client:N", title=None, sort=pictures.heaviest(data, "client")),
            tooltip=["client:N", "listener:N", "failed:Q", "all:Q"],
        )
        cells = base.mark_rect().encode(
            color=altair.Color("part:Q", title="failed", scale=altair.Scale(scheme="reds", domain=[0, 1]))
        )
        numbers = base.mark_text().encode(
            text="of:N", color=altair.condition("datum.part > 0.6", altair.value("white"), altair.value("black"))
        )
        return _picture(cells + numbers, "Handshakes that failed, by client and listener", data, height=None)

    def half_closed(self, most: int = 40) -> Picture:
        """How long each half-closed connection has been so, the longest first."""
        data = pictures.half_closed(self._analysis)
        named = [f"{flow} → {listener}" for flow, listener in zip(data["flow"], data["listener"], strict=True)]
        data = data.assign(name=named)
        colours = {"responder": STATES["CLOSE_WAIT"], "originator": STATES["FIN_WAIT_2"]}
        seen = [end for end in colours if end in set(data["waits_for"])]
        shown = _plain(data.head(most), "name", "flow", "listener", "waits_for", "start", "end", "lasted")
        chart = (
            altair.Chart(shown)
            .mark_bar(height=9)
            .encode(
                x=altair.X("start:Q", title=self._seconds()),
                x2="end:Q",
                y=altair.Y("name:N", sort=altair.EncodingSortField("start"), title=None),
                color=altair.Color(
                    "waits_for:N",
                    title="waits for the",
                    scale=_colours(seen, [colours[end] for end in seen]),
                ),
                tooltip=["flow:N", "listener:N", "waits_for:N", altair.Tooltip("lasted:Q", format=".1f")],
            )
        )
        return _picture(chart, "Half-closed connections", data, shown=min(len(data), most), height=None)

    def _seconds(self) -> str:
        first = self._analysis.result.capture.first_ns
        return "seconds" if first is None else f"seconds since {moment(first)}"


def _picture(
    chart: Any, title: str, data: pandas.DataFrame, shown: int | None = None, height: int | None = _HEIGHT
) -> Picture:
    less = shown is not None and shown < len(data)
    subtitle = f"{shown:,} of {len(data):,}" if less else ""
    made = chart.properties(
        title=altair.Title(title, subtitle=subtitle, anchor="start"), width=_WIDTH, padding=_PADDING
    )
    return Picture(made if height is None else made.properties(height=height), data)


def _evenly(data: pandas.DataFrame) -> pandas.DataFrame:
    """At most `MARKS` rows, evenly chosen."""
    return data if len(data) <= MARKS else data.iloc[:: -(-len(data) // MARKS)]


def _plain(data: pandas.DataFrame, *names: str) -> pandas.DataFrame:
    """Only what is shown, words as words."""
    return data[list(names)].astype({name: str for name in names if data[name].dtype.kind not in "iuf"})


def _colours(domain: list[str], colours: list[str]) -> Any:
    return altair.Scale(domain=domain, range=colours)


def _vega_lite() -> str:
    """The version of Vega-Lite that Altair wrote, as the converter names it: "6.4"."""
    return ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
