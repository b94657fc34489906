"""Tables of an analysis as pandas DataFrames.

Owns the dtype of each kind of column. Raw facts are taken from the table at numpy's speed; what is the same for many
flows is asked of `COLUMNS` once for all of them; the rest is the concern of `bulk`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy
import pandas

from analyzer import segments as s
from analyzer.bulk import WHOLE, Facts, categories, pyarrow, text
from analyzer.errors import UsageError
from analyzer.findings.finding import CONFIDENCES, SEVERITIES, Finding
from analyzer.flows.columns import BY_NAME, NAMES, Column
from analyzer.flows.table import FlowTable
from analyzer.sockets import Socket
from analyzer.tcp import states

#: pandas 3 has a dtype of its own for text; before it, text is objects
_MODERN = int(pandas.__version__.partition(".")[0]) >= 3
_TEXT: Any = "str" if _MODERN else object
if TYPE_CHECKING:
    from analyzer.rereading import Kept

ENDS = ("originator", "responder")
#: a number from here on is nanoseconds: as seconds it would lie beyond the year 3,000,000
LEAST_EPOCH_NS = 10**14
#: flows whose columns are made at a time: what is made on the way stays in a processor's cache
SOME = 1 << 16


def frame(table: FlowTable, rows: Sequence[int], names: Iterable[str] = NAMES) -> pandas.DataFrame:
    """The flows in `rows`, indexed by `flow`, with the columns `names` in that order.

    int64 and bool (Int64 and boolean where a value may be missing), str, category, datetime64[ns, UTC] and
    timedelta64[ns].
    """
    columns = [BY_NAME[name] for name in names if name != "flow"]
    needed = {"number": None}
    for column in columns:
        needed.update(dict.fromkeys(WHOLE[column.name][1] if column.name in WHOLE else column.facts))
    numbers, parts = [], []
    for start in range(0, len(rows), SOME) or [0]:
        facts = Facts(table, rows[start : start + SOME])
        facts.load(list(needed))
        numbers.append(facts["number"].astype(numpy.int64))
        parts.append([_values(column, facts) for column in columns])
    index = pandas.Index(numpy.concatenate(numbers), name="flow")
    made = {column.name: _together(pieces) for column, pieces in zip(columns, zip(*parts, strict=True), strict=True)}
    return pandas.DataFrame(made, index=index, copy=False)


def _together(pieces: Sequence[Any]) -> Any:
    """Pieces of one column as one array of pandas."""
    if pyarrow is not None and isinstance(pieces[0], pyarrow.LargeStringArray):
        whole = pyarrow.chunked_array(pieces)
        return pandas.array(whole, dtype=_TEXT) if _MODERN else whole.to_numpy(zero_copy_only=False)
    if isinstance(pieces[0], pandas.Categorical):
        return pandas.Categorical.from_codes(
            numpy.concatenate([piece.codes for piece in pieces]), dtype=pieces[0].dtype
        )
    if isinstance(pieces[0], numpy.ndarray):
        whole = numpy.concatenate(pieces)
        return pandas.array(whole, dtype=_TEXT) if whole.dtype == object else whole
    if isinstance(pieces[0], pandas.Index):
        return pieces[0].append(list(pieces[1:]))
    return type(pieces[0])._concat_same_type(pieces)


def _values(column: Column, facts: Facts) -> Any:
    """One column of the flows, in its dtype."""
    if column.name in WHOLE:
        return WHOLE[column.name][0](facts)
    if column.fact is not None:
        return _typed(column, facts[column.fact].astype(numpy.int64))
    if column.facts:
        first, kinds = facts.kinds(column.facts)
        return _typed(column, [column.get(facts.table, facts.rows[at]) for at in first]).take(kinds)
    return _typed(column, [column.get(facts.table, row) for row in facts.rows])


def _typed(column: Column, values: Any) -> Any:
    """Values of one column (a numpy array of int64, or a list) in the column's dtype."""
    if column.kind == "category":
        return pandas.Categorical(values, categories=list(column.words))
    if column.kind == "text":
        return text(values)
    if column.kind == "bool":
        return pandas.array(values, dtype="boolean") if column.nullable else numpy.asarray(values, dtype=bool)
    if column.kind == "time":
        return times(values)
    if column.kind == "span":
        return pandas.to_timedelta(pandas.array(values, dtype="Int64"), unit="ns").astype("timedelta64[ns]")
    if column.nullable:
        return pandas.array(values, dtype="Int64")
    return numpy.asarray(values, dtype=numpy.int64)


def times(ns: Any) -> pandas.DatetimeIndex:
    """Nanoseconds since the epoch as datetime64[ns, UTC]."""
    return pandas.DatetimeIndex(numpy.asarray(ns, dtype=numpy.int64).view("M8[ns]")).tz_localize("UTC")


# --- other tables ------------------------------------------------------------------------------------------------


def findings(found: Sequence[Finding]) -> pandas.DataFrame:
    """A row a finding, indexed by `finding`: its place in the order of weight."""
    made = pandas.DataFrame([finding._asdict() for finding in found], columns=list(Finding._fields))
    made["severity"] = pandas.Categorical(made["severity"], categories=list(SEVERITIES[::-1]), ordered=True)
    made["confidence"] = pandas.Categorical(made["confidence"], categories=list(CONFIDENCES[::-1]), ordered=True)
    made["count"] = made["count"].astype("int64")
    made.index.name = "finding"
    return made


def sockets(listed: Sequence[Socket]) -> pandas.DataFrame:
    """A row a socket; LISTEN has no peer and no flow."""
    made = pandas.DataFrame(listed, columns=list(Socket._fields))
    made["state"] = pandas.Categorical(made["state"], categories=list(states.STATES))
    made["basis"] = pandas.Categorical(made["basis"], categories=list(states.BASES))
    made["flow"] = made["flow"].astype("Int64")
    made["since_ns"] = times(made["since_ns"].to_numpy(dtype=numpy.int64))
    texts = {"local": _TEXT, "peer": _TEXT, "unsure": _TEXT}
    return made.astype({**texts, "local_port": "int64", "peer_port": "int64"})


def timeline(instants: Sequence[int], counts: Sequence[Mapping[str, int]]) -> pandas.DataFrame:
    """A row an instant, indexed by `time`; a column a state that occurs, in the order of RFC 9293."""
    seen = [state for state in states.STATES if any(state in count for count in counts)]
    made = {state: numpy.array([count.get(state, 0) for count in counts], dtype=numpy.int64) for state in seen}
    index = times(numpy.fromiter(instants, dtype=numpy.int64, count=len(instants))).rename("time")
    return pandas.DataFrame(made, index=index).rename_axis(columns="state")


def transitions(table: FlowTable, rows: Sequence[int]) -> pandas.DataFrame:
    """A row a transition; `withdrawn`: an assumption that its end contradicted later."""
    logs = [table.transitions(row) for row in rows]
    numbers = table.raw("number")
    words = numpy.frombuffer(b"".join(logs), dtype=numpy.uint64)
    when, what = words[::2], words[1::2].astype(numpy.int64)
    lengths = numpy.fromiter((len(log) // 16 for log in logs), dtype=numpy.int64, count=len(logs))
    flows = numpy.fromiter((numbers[row] for row in rows), dtype=numpy.int64, count=len(rows))
    return pandas.DataFrame(
        {
            "flow": numpy.repeat(flows, lengths),
            "time": times(when.astype(numpy.int64)),
            "packet": what >> 16,
            "end": categories(what & 1, ENDS),
            "state": categories(what >> 1 & 0xF, states.STATES),
            "basis": categories(what >> 5 & 3, states.BASES),
            "reason": categories(_REASON[what >> 8 & 0xFF], _REASONS),
            "withdrawn": (what & 0x80) > 0,
        }
    )


_REASONS = list(dict.fromkeys(states.REASONS))
_REASON = numpy.array([_REASONS.index(reason) for reason in states.REASONS])


def segments(table: FlowTable, kept: Kept) -> pandas.DataFrame:
    """A row a segment, indexed by `packet`. Numbers as on the wire; an ICMP error is by nobody and quotes its seq."""
    column = {name: numpy.asarray(values) for name, values in kept.columns.items()}
    mark, options, icmp = column["mark"], column["options"], column["kind"] == s.ICMP_ERROR
    rows = numpy.asarray(kept.rows, dtype=numpy.int64)
    numbers = numpy.asarray(table.raw("number"), dtype=numpy.int64)
    facts = Facts(table, kept.rows)
    by_originator = (
        (column["src_hi"] == facts["o_hi"]) & (column["src_lo"] == facts["o_lo"]) & (column["sport"] == facts["o_port"])
    )
    sender = numpy.where(icmp, -1, numpy.where(by_originator, 0, 1))
    letters = [
        f"ICMP {value >> 8}/{value & 0xFF}" if error else s.letters(flags)
        for error, value, flags in zip(icmp.tolist(), options.tolist(), column["flags"].tolist(), strict=True)
    ]
    timestamp, ip_id = (mark & s.HAS_TIMESTAMP) > 0, (mark & s.HAS_IP_ID) > 0
    return pandas.DataFrame(
        {
            "flow": numbers[rows],
            "time": times(column["ts_ns"]),
            "sender": categories(sender, ENDS),
            "tcp_flags": pandas.Categorical(letters),
            "seq": column["seq"].astype(numpy.int64),
            "ack": column["ack"].astype(numpy.int64),
            "window": column["window"].astype(numpy.int64),
            "payload": column["payload"].astype(numpy.int64),
            "ttl": column["ttl"].astype(numpy.int64),
            "ip_id": _nullable(column["ip_id"], ip_id),
            "tsval": _nullable(column["tsval"], timestamp),
            "tsecr": _nullable(column["tsecr"], timestamp),
            "mss": _nullable(column["mss"], ~icmp & ((options & s.OPT_MSS) > 0)),
            "window_scale": _nullable(column["wscale"], ~icmp & ((options & s.OPT_WSCALE) > 0)),
            "bad_checksum": (mark & s.BAD_CHECKSUM) > 0,
        },
        index=pandas.Index(column["packet"].astype(numpy.int64), name="packet"),
    )


def _nullable(values: Any, there: Any) -> Any:
    return pandas.arrays.IntegerArray(values.astype(numpy.int64), ~there)


def moment_ns(when: Any) -> int:
    """A time as pandas reads one, epoch seconds or epoch nanoseconds (from 10**14 on), in nanoseconds."""
    try:
        if isinstance(when, (int, float, numpy.number)):
            return int(when) if when >= LEAST_EPOCH_NS else round(when * 1_000_000_000)
        stamp = pandas.Timestamp(when)
        if stamp is pandas.NaT:
            raise ValueError("it is empty")
        stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp
        return int(stamp.as_unit("ns").value)
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{when!r} is no time: {error}") from None


def span_ns(span: Any) -> int:
    """A span as pandas reads one ("1s", "250ms"), or seconds, in nanoseconds."""
    try:
        made = pandas.Timedelta(seconds=span) if isinstance(span, (int, float)) else pandas.Timedelta(span)
        ns = int(made.as_unit("ns").value)
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{span!r} is no span of time: {error}") from None
    if ns <= 0:
        raise UsageError(f"{span!r} is no span of time: it must be more than nothing")
    return ns
