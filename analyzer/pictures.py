"""What each picture shows, as a table: the same for the report's drawings and for the charts of a notebook.

Owns the choice and the reckoning, and how much of a large capture a picture can hold. Draws nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas

from analyzer.report.words import endpoint
from analyzer.tcp import states

if TYPE_CHECKING:
    from analyzer.analysis import Analysis

#: instants of a course of states: a picture is not wider
INSTANTS = 160
#: states that are no connection
_NONE = ("CLOSED", "LISTEN")
#: what stands for all that a picture has no room for
_OTHERS = " others"

#: offsets in seconds of each repetition from the first transmission, by what is sent
EXPECTED = {
    "doubling (RFC 6298)": (1.0, 3.0, 7.0, 15.0, 31.0, 63.0),
    "Linux 6.5 and later, SYN": (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0, 35.0),
}
_SENT = {
    "SYN_SENT": "SYN",
    "SYN_RECEIVED": "SYN+ACK",
    "FIN_WAIT_1": "FIN",
    "CLOSING": "FIN",
    "LAST_ACK": "FIN",
}
_AGAIN = [
    states.REASONS[code]
    for code in (
        states.RE_SYN_AGAIN,
        states.RE_SYNACK_AGAIN,
        states.RE_FIN_AGAIN,
        states.RE_ACK_CONTRADICTED,
        states.RE_FIN_ACK_CONTRADICTED,
    )
]


def state_counts(analysis: Analysis, host: str | None = None, instants: int = INSTANTS) -> pandas.DataFrame:
    """Connections in each state over time, at `host` or at all hosts: `time`, `state`, `count`, `seconds`."""
    first = analysis.result.capture.first_ns
    every = max((analysis.table.end_ns - (first or 0)) / instants / 1e9, 1e-6)
    course = analysis.timeline(every, host).drop(columns=list(_NONE), errors="ignore")
    long = course.reset_index().melt("time", var_name="state", value_name="count")
    long["state"] = pandas.Categorical(long["state"], categories=list(states.STATES), ordered=True)
    long["seconds"] = _seconds(long["time"], analysis)
    return long


def busiest_hosts(analysis: Analysis, count: int) -> list[str]:
    """The hosts with the most connections."""
    flows = analysis.flows
    both = pandas.concat([flows["originator"], flows["responder"]])
    return [str(host) for host in both.value_counts().index[:count]]


def answer_times(analysis: Analysis) -> pandas.DataFrame:
    """From SYN to SYN+ACK, a row a connection where that is known: `time`, `seconds`, `ms`, `listener`, `flow`."""
    flows = analysis.flows
    chosen = flows[flows["responder_rtt_ns"].notna()]
    return pandas.DataFrame(
        {
            "flow": chosen.index,
            "time": chosen["first_ns"].to_numpy(),
            "seconds": _seconds(chosen["first_ns"], analysis).to_numpy(),
            "ms": chosen["responder_rtt_ns"].dt.total_seconds().to_numpy() * 1000,
            "listener": _listeners(chosen),
        }
    )


def repetitions(analysis: Analysis) -> pandas.DataFrame:
    """Segments that a timer sent again: `flow`, `sent`, `attempt` (from 1), `seconds` since the first transmission."""
    changes = analysis.transitions()
    changes = changes[changes["state"].isin(list(_SENT))]
    same = [changes["flow"], changes["end"], changes["state"]]
    first = changes.groupby(same, observed=True)["time"].transform("min")
    again = changes[changes["reason"].isin(_AGAIN)]
    made = pandas.DataFrame(
        {
            "flow": again["flow"],
            "end": again["end"],
            "sent": again["state"].map(_SENT).astype(str),
            "attempt": again.groupby(["flow", "end", "state"], observed=True).cumcount() + 1,
            "seconds": (again["time"] - first[again.index]).dt.total_seconds(),
        }
    )
    return made.reset_index(drop=True)


def failures(analysis: Analysis, clients: int = 20, listeners: int = 12) -> pandas.DataFrame:
    """Who fails to whom: `client`, `listener`, `failed`, `all`; those with the most failures, others summed up."""
    flows = analysis.flows
    failed = ~flows["handshake"].isin(["complete", "midstream"])
    made = pandas.DataFrame(
        {"client": flows["originator"].astype(str), "listener": _listeners(flows), "failed": failed.astype("int64")}
    )
    for name, most in (("client", clients), ("listener", listeners)):
        weight = made.groupby(name)["failed"].agg(["sum", "size"]).sort_values(["sum", "size"], ascending=False)
        kept = weight[weight["sum"] > 0].index[:most]
        rest = int((weight["sum"] > 0).sum()) - len(kept)
        made = made[made.groupby(name)["failed"].transform("sum") > 0]
        made[name] = made[name].where(made[name].isin(kept), f"{rest:,}{_OTHERS}")
    counted = made.groupby(["client", "listener"], sort=False)["failed"].agg(failed="sum", all="size")
    return counted.reset_index()


def heaviest(failed: pandas.DataFrame, name: str) -> list[str]:
    """The clients or listeners of `failures`, those that fail most first, the others that were summed up last."""
    weight = failed.groupby(name)["failed"].sum().sort_values(ascending=False, kind="stable")
    return sorted(map(str, weight.index), key=lambda one: one.endswith(_OTHERS))


def half_closed(analysis: Analysis) -> pandas.DataFrame:
    """Half-closed connections, the longest first: `flow`, `listener`, `waits_for`, `start`, `end`, `lasted`."""
    flows = analysis.half_closed
    start = analysis.table.end_ns - flows["half_closed_ns"].fillna(pandas.Timedelta(0)).astype("int64")
    began = _seconds(pandas.to_datetime(start, unit="ns", utc=True), analysis)
    lasted = flows["half_closed_ns"].dt.total_seconds()
    made = pandas.DataFrame(
        {
            "flow": flows.index,
            "listener": _listeners(flows),
            "waits_for": flows["closed_by"].astype(str).map({"originator": "responder", "responder": "originator"}),
            "start": began.to_numpy(),
            "end": (began + lasted).to_numpy(),
            "lasted": lasted.to_numpy(),
        }
    )
    return made.sort_values("lasted", ascending=False, ignore_index=True)


def _seconds(times: pandas.Series, analysis: Analysis) -> pandas.Series:
    """Seconds since the capture began."""
    start = pandas.Timestamp(analysis.result.capture.first_ns or 0, unit="ns", tz="UTC")
    return (times - start).dt.total_seconds()


def _listeners(flows: pandas.DataFrame) -> list[str]:
    return [endpoint(str(host), port) for host, port in zip(flows["responder"], flows["responder_port"], strict=True)]
