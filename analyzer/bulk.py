"""Columns of many flows at once, with numpy, where one flow after the other would take too long.

Owns the columns that are neither a raw fact nor the same for many flows: addresses, identifiers, filters, times and the
states at the end. Every one equals what `COLUMNS` says of each flow by itself; tests hold it to that. Text comes as a
pyarrow array where pyarrow is installed, so that no Python object is made for a flow.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy
import pandas

from analyzer.flows import facts as f
from analyzer.flows import zeek
from analyzer.flows.columns import BY_NAME, address_text
from analyzer.flows.facts import INDEX, NO_VALUE, WIDTH
from analyzer.flows.packed import PackedRows
from analyzer.flows.table import IN_VAIN, WAITING, FlowTable
from analyzer.tcp import states

try:
    import pyarrow
    import pyarrow.compute
except ModuleNotFoundError:
    pyarrow = None

Array = Any  # of numpy, one value a flow

#: rows copied at a time: their facts fit a processor's cache
BLOCK = 2048
#: values up to here are numbered through a table as large as they are, others by hashing
SMALL = 1 << 20
#: SHA-1 is computed for so many flows at a time, for the same reason
DIGESTS = 8_192
#: not a fact, but the part of `bits` that addresses follow from
IS_IPV6 = "is_ipv6"
_NOT_A_TIME = numpy.iinfo(numpy.int64).min


class Facts:
    """The facts of the flows in `rows` of a table, a numpy array of uint64 a fact."""

    def __init__(self, table: FlowTable, rows: Sequence[int]) -> None:
        self.table = table
        self.rows = rows
        self.where = positions(table, rows)
        self._columns: dict[str, Array] = {}
        self._codes: dict[str, tuple[Array, int]] = {}
        self._kinds: dict[tuple[str, ...], tuple[Array, Array]] = {}
        self._finals: tuple[Array, Array, Array, Array] | None = None
        self.addresses: dict[str, Array] = {}  # as text, once made

    def __len__(self) -> int:
        return len(self.where)

    def load(self, names: Sequence[str]) -> None:
        """Take these facts out of the table together: its rows lie far apart in memory."""
        wanted = [name for name in names if name not in self._columns]
        places = [INDEX[name] for name in wanted]
        rows = self.table.facts.rows
        if isinstance(rows, PackedRows):
            for name, place in zip(wanted, places, strict=True):
                self._columns[name] = numpy.frombuffer(rows[place::WIDTH], dtype=numpy.uint64)[self.where]
            return
        matrix = numpy.frombuffer(rows, dtype=numpy.uint64).reshape(-1, WIDTH)
        made = numpy.empty((len(wanted), len(self)), dtype=numpy.uint64)
        for start in range(0, len(self), BLOCK):
            made[:, start : start + BLOCK] = matrix[self.where[start : start + BLOCK]][:, places].T
        self._columns.update(zip(wanted, made, strict=True))

    def __getitem__(self, name: str) -> Array:
        if name == IS_IPV6 and name not in self._columns:
            self._columns[name] = self["bits"] & numpy.uint64(f.IPV6)
        if name not in self._columns:
            self.load([name])
        return self._columns[name]

    def kinds(self, names: tuple[str, ...]) -> tuple[Array, Array]:
        """Flows that are alike in these facts: one position of each kind, and every flow's kind."""
        if names not in self._kinds:
            codes, count = self._numbered(names[0])
            for name in names[1:]:
                more, factor = self._numbered(name)
                codes, count = numbered(codes * factor + more)
            first = numpy.zeros(count, dtype=numpy.int64)
            first[codes] = numpy.arange(len(codes))
            self._kinds[names] = first, codes
        return self._kinds[names]

    def _numbered(self, name: str) -> tuple[Array, int]:
        if name not in self._codes:
            self._codes[name] = numbered(self[name])
        return self._codes[name]

    def finals(self) -> tuple[Array, Array, Array, Array]:
        """State and basis of originator and responder at the end of the capture, as `FlowTable.final` has them."""
        if self._finals is None:
            self._finals = (*_final(self, "o_"), *_final(self, "r_"))
        return self._finals


def positions(table: FlowTable, rows: Sequence[int]) -> Array:
    """Where the rows stand in the facts."""
    if isinstance(rows, range) and rows.step == 1:
        return numpy.asarray(table.order[rows.start : rows.stop], dtype=numpy.int64)
    return numpy.fromiter(map(table.order.__getitem__, rows), dtype=numpy.int64, count=len(rows))


def numbered(values: Array) -> tuple[Array, int]:
    """Each value's number among the distinct ones, and how many those are."""
    if len(values) and values.max() < SMALL:
        values = values.astype(numpy.int64)  # numpy is slow to index by unsigned numbers
        seen = numpy.zeros(int(values.max()) + 1, dtype=bool)
        seen[values] = True
        if seen.all():
            return values, len(seen)
        return (numpy.cumsum(seen) - 1)[values], int(seen.sum())
    codes, distinct = pandas.factorize(values)
    return codes, len(distinct)


# --- the states at the end ---------------------------------------------------------------------------------------


def _final(facts: Facts, end: str) -> tuple[Array, Array]:
    """As `FlowTable._final_end`: timers for all at once, and flow by flow only where other flows have a say."""
    table = facts.table
    state = facts[end + "state"].astype(numpy.int8)
    basis = facts[end + "basis"].astype(numpy.int8)
    inferred = basis == states.INFERRED
    alone = numpy.zeros(len(facts), dtype=bool)
    alone |= inferred & (facts[end + "doubt_until_ns"] > 0)
    cookies = numpy.zeros(len(facts), dtype=bool)
    if end == "r_":
        unrepeated = (state == states.SYN_RECEIVED) & (facts["r_repeats"] == 0)
        silent = table.end_ns - facts["last_synack_ns"].astype(numpy.int64) > table.timers.cookie_ns
        cookies = unrepeated & (facts["o_packets"] == facts["o_syns"]) & silent
        alone |= unrepeated & ~cookies
        alone |= (state == states.ESTABLISHED) & inferred & (facts["o_in_vain"] >= IN_VAIN)
    timed = numpy.isin(state, [*WAITING, states.TIME_WAIT]) & ~alone & ~cookies
    gone = numpy.zeros(len(facts), dtype=bool)
    gone[timed] = table.end_ns > _expiry(facts, end, state, timed)
    basis[gone | cookies] = states.TIMER
    state[cookies | (gone & (state == states.SYN_RECEIVED))] = states.LISTEN
    state[gone & (state != states.LISTEN)] = states.CLOSED
    at = 0 if end == "o_" else 2
    for place in numpy.flatnonzero(alone).tolist():
        state[place], basis[place] = table.final(facts.rows[place])[at : at + 2]
    return state, basis


def _expiry(facts: Facts, end: str, state: Array, timed: Array) -> Array:
    """When each timed state ends silently: the last transmission, and a wait that depends on little else."""
    repeats = facts[end + "repeats"][timed].astype(numpy.int64)
    interval = facts[end + "interval_ns"][timed].astype(numpy.int64)
    interval[repeats == 0] = 0
    codes, _ = numbered(interval)
    codes, count = numbered((codes * (int(repeats.max(initial=0)) + 1) + repeats) * len(states.STATES) + state[timed])
    first = numpy.zeros(count, dtype=numpy.int64)
    first[codes] = numpy.arange(len(codes))
    expiry, kind = facts.table.timers.expiry_ns, state[timed]
    waits = [expiry(int(kind[at]), 0, int(repeats[at]), int(interval[at])) or 0 for at in first]
    return facts[end + "refresh_ns"][timed].astype(numpy.int64) + numpy.asarray(waits, dtype=numpy.int64)[codes]


def _state(position: int) -> Callable[[Facts], Array]:
    words = states.STATES if position in (0, 2) else states.BASES
    return lambda facts: categories(facts.finals()[position], words)


def categories(codes: Array, words: Sequence[str]) -> Any:
    """Words by their number, -1 for none."""
    return pandas.Categorical.from_codes(codes, categories=pandas.Index(list(words)))


def _censored(facts: Facts) -> Array:
    column = BY_NAME["censored"]
    first, codes = facts.kinds(BY_NAME["close"].facts)
    close = BY_NAME["close"].get
    opened = numpy.array([close(facts.table, facts.rows[at]) == "open" for at in first], dtype=bool)[codes]
    o_state, _, r_state, _ = facts.finals()
    waiting = numpy.isin(o_state, list(WAITING)) | numpy.isin(r_state, list(WAITING))
    start = (facts["bits"] & f.CENSORED_START) > 0
    return categories(start + 2 * (waiting | opened), column.words)


# --- numbers and times -------------------------------------------------------------------------------------------


def spans(values: Array, missing: Array) -> Array:
    """Nanoseconds as timedelta64, NaT where `missing`."""
    made = values.astype(numpy.int64)
    made[missing] = _NOT_A_TIME
    return made.view("m8[ns]")


def _half_closed(facts: Facts) -> Array:
    start, end = facts["half_start_ns"].astype(numpy.int64), facts["half_end_ns"].astype(numpy.int64)
    lasted = numpy.maximum(numpy.where(end > 0, end, facts.table.end_ns) - start, 0)
    return spans(lasted, start == 0)


def _rtt(name: str) -> Callable[[Facts], Array]:
    return lambda facts: spans(facts[name], facts[name] == NO_VALUE)


def _directions(facts: Facts) -> Array:
    column = BY_NAME["directions_seen"]
    place = {word: number for number, word in enumerate(column.words)}
    o_some, r_some = facts["o_packets"] > 0, facts["r_packets"] > 0
    one = numpy.where(r_some, place["responder"], place["originator"])
    return categories(numpy.where(o_some & r_some, place["both"], one), column.words)


def _completeness(facts: Facts) -> Array:
    value = facts["completeness"].astype(numpy.int64)
    lone = facts["o_packets"] + facts["r_packets"] == 1
    return numpy.where(lone & (value & 1 == 0), 0, value)


# --- text --------------------------------------------------------------------------------------------------------


def _address(end: str) -> Callable[[Facts], Array]:
    def made(facts: Facts) -> Array:
        if end not in facts.addresses:
            first, codes = facts.kinds((end + "hi", end + "lo", IS_IPV6))
            high, low, ipv6 = facts[end + "hi"][first], facts[end + "lo"][first], facts[IS_IPV6][first]
            packed = (low & numpy.uint64(0xFFFFFFFF)).astype(">u4").tobytes()
            facts.addresses[end] = text(
                [
                    address_text(int(high[at]), int(low[at]), True)
                    if ipv6[at]
                    else socket.inet_ntoa(packed[4 * at : 4 * at + 4])
                    for at in range(len(first))
                ]
            ).take(codes)
        return facts.addresses[end]

    return made


def text(values: Sequence[str | None]) -> Array:
    """Strings as pyarrow or numpy has them; both can `take`."""
    if pyarrow is not None:
        return pyarrow.array(values, type=pyarrow.large_string())
    made = numpy.empty(len(values), dtype=object)
    made[:] = values
    return made


def _history(facts: Facts) -> Array:
    if pyarrow is None:
        return _one_by_one(facts, "history")
    letters = facts.table.facts.history
    chosen = [letters[at] for at in facts.where]
    flipped = (facts["bits"] & f.FLIPPED) > 0
    ends = numpy.zeros(len(chosen) + 1, dtype=numpy.int64)
    numpy.cumsum(numpy.fromiter(map(len, chosen), dtype=numpy.int64, count=len(chosen)), out=ends[1:])
    plain = _strings(ends, b"".join(chosen))
    if not flipped.any():
        return plain
    return _joined(_either(flipped, "^", ""), plain)


def _strings(ends: Array, data: Any) -> Any:
    buffers = [None, pyarrow.py_buffer(ends), pyarrow.py_buffer(data)]
    return pyarrow.LargeStringArray.from_buffers(len(ends) - 1, buffers[1], buffers[2])


def _either(chosen: Array, one: str, other: str) -> Any:
    return pyarrow.array([other, one], type=pyarrow.large_string()).take(pyarrow.array(chosen.astype(numpy.int8)))


def _one_by_one(facts: Facts, name: str) -> Array:
    get = BY_NAME[name].get
    return text([get(facts.table, row) for row in facts.rows])


def _filter(facts: Facts) -> Array:
    if pyarrow is None:
        return _one_by_one(facts, "wireshark_filter")
    family = _either(facts[IS_IPV6] > 0, "ipv6.addr == ", "ip.addr == ")
    number = {name: pyarrow.array(facts[name]).cast(pyarrow.large_string()) for name in _NUMBERS}
    made = _joined(
        *(family, _address("o_")(facts), " && ", family, _address("r_")(facts)),
        *(" && tcp.port == ", number["o_port"], " && tcp.port == ", number["r_port"]),
        *(" && frame.number >= ", number["first_packet"], " && frame.number <= ", number["last_packet"]),
        " && !icmp && !icmpv6",
    )
    overlapping = numpy.isin(facts["first_packet"], [*facts.table.facts.late, *facts.table.facts.foreign])
    if not overlapping.any():
        return made
    get = BY_NAME["wireshark_filter"].get
    rows = numpy.asarray(facts.rows)[overlapping].tolist()
    exact = pyarrow.array([get(facts.table, row) for row in rows], type=pyarrow.large_string())
    return pyarrow.compute.replace_with_mask(made, pyarrow.array(overlapping), exact)


def _joined(*parts: Any) -> Any:
    """Texts put together flow by flow; a str stands for the same text everywhere."""
    kind = pyarrow.large_string()
    made = [pyarrow.scalar(part, type=kind) if isinstance(part, str) else part for part in (*parts, "")]
    return pyarrow.compute.binary_join_element_wise(*made)


_NUMBERS = ("o_port", "r_port", "first_packet", "last_packet")


def _conn_state(facts: Facts) -> Array:
    column = BY_NAME["conn_state"]
    o_zeek, r_zeek = facts["o_zeek"].astype(numpy.int64), facts["r_zeek"].astype(numpy.int64)
    no_bytes = (facts["o_bytes"] == 0) & (facts["r_bytes"] == 0)
    by_history = (o_zeek == zeek.RESET) & numpy.isin(r_zeek, (zeek.INACTIVE, zeek.PARTIAL))
    codes, count = numbered((o_zeek * 16 + r_zeek) * 2 + no_bytes)
    first = numpy.zeros(count, dtype=numpy.int64)
    first[codes] = numpy.arange(len(codes))
    place = {word: number for number, word in enumerate(column.words)}
    made = numpy.array([place[column.get(facts.table, facts.rows[at])] for at in first.tolist()], dtype=numpy.int8)[
        codes
    ]
    for at in numpy.flatnonzero(by_history).tolist():
        made[at] = place[column.get(facts.table, facts.rows[at])]
    return categories(made, column.words)


def _icmp_sender(facts: Facts) -> Array:
    senders = facts.table.facts.icmp_sender
    get = BY_NAME["icmp_sender"].get
    return text(
        [
            None if senders[at] is None else get(facts.table, row)
            for at, row in zip(facts.where, facts.rows, strict=True)
        ]
    )


# --- Community ID ------------------------------------------------------------------------------------------------

_BASE64 = numpy.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", dtype=numpy.uint8)
_ID_LENGTH = 30  # "1:" and the 20 bytes of a digest in base 64


def _community(facts: Facts) -> Array:
    made = numpy.empty((len(facts), _ID_LENGTH), dtype=numpy.uint8)
    ipv6 = facts[IS_IPV6] > 0
    for family, size in ((ipv6, 16), (~ipv6, 4)):
        where = numpy.flatnonzero(family)
        for start in range(0, len(where), DIGESTS):
            some = where[start : start + DIGESTS]
            made[some] = _identified(_sha1(_message(facts, some, size)))
    if pyarrow is None:
        return text(made.view(f"S{_ID_LENGTH}").ravel().astype(str).tolist())
    return _strings(numpy.arange(len(made) + 1, dtype=numpy.int64) * _ID_LENGTH, made)


def _message(facts: Facts, some: Array, size: int) -> list[Array]:
    """What the Community ID of each flow is the digest of, as the words of a padded SHA-1 block.

    Two bytes of seed, both addresses and ports in order, between them protocol 6 and a zero.
    """
    half = numpy.uint64(32)
    ends = []
    for end in ("o_", "r_"):
        high, low = facts[end + "hi"][some], facts[end + "lo"][some]
        parts = [high >> half, high, low >> half, low][-(size // 4) :]
        ends.append([part.astype(numpy.uint32) for part in (*parts, facts[end + "port"][some])])
    swap, alike = numpy.zeros(len(some), dtype=bool), numpy.ones(len(some), dtype=bool)
    for ours, theirs in zip(*ends, strict=True):
        swap |= alike & (ours > theirs)
        alike &= ours == theirs
    low_end = [numpy.where(swap, theirs, ours) for ours, theirs in zip(*ends, strict=True)]
    high_end = [numpy.where(swap, ours, theirs) for ours, theirs in zip(*ends, strict=True)]
    addresses = [*low_end[:-1], *high_end[:-1]]
    sixteen = numpy.uint32(16)
    words = [addresses[0] >> sixteen]
    words += [before << sixteen | after >> sixteen for before, after in pairwise(addresses)]
    words += [addresses[-1] << sixteen | numpy.uint32(0x0600), low_end[-1] << sixteen | high_end[-1]]
    length = 32 * len(words)
    constants = [0x80000000, *([0] * (14 - len(words))), length]
    return words + [numpy.full(len(some), constant, dtype=numpy.uint32) for constant in constants]


def _sha1(words: list[Array]) -> Array:
    """SHA-1 (FIPS 180-4) of one padded block a flow, given as its sixteen words; digests as rows of 20 bytes."""
    start = [numpy.full(len(words[0]), value, dtype=numpy.uint32) for value in _START]
    a, b, c, d, e = start
    for step in range(80):
        if step >= 16:
            mixed = words[step - 3] ^ words[step - 8]
            mixed ^= words[step - 14]
            mixed ^= words[step - 16]
            words.append(_rotated(mixed, 1))
        if step < 20:
            chosen, constant = d ^ (b & (c ^ d)), 0x5A827999
        elif step < 40:
            chosen, constant = b ^ c ^ d, 0x6ED9EBA1
        elif step < 60:
            chosen, constant = (b & c) | (d & (b | c)), 0x8F1BBCDC
        else:
            chosen, constant = b ^ c ^ d, 0xCA62C1D6
        new = _rotated(a, 5)
        new += chosen
        new += e
        new += words[step]
        new += numpy.uint32(constant)
        a, b, c, d, e = new, a, _rotated(b, 30), c, d
    digest = [before + value for before, value in zip(start, (a, b, c, d, e), strict=True)]
    return numpy.stack(digest, axis=1).astype(">u4").view(numpy.uint8)


_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)


def _rotated(word: Array, by: int) -> Array:
    left = word << numpy.uint32(by)
    left |= word >> numpy.uint32(32 - by)
    return left


def _identified(digests: Array) -> Array:
    """Digests as version 1 writes them: "1:" and base 64."""
    padded = numpy.zeros((len(digests), 21), dtype=numpy.uint8)
    padded[:, :20] = digests
    threes = padded.reshape(-1, 7, 3).astype(numpy.uint32)
    joined = threes[:, :, 0] << 16 | threes[:, :, 1] << 8 | threes[:, :, 2]
    letters = numpy.stack([_BASE64[joined >> shift & 63] for shift in (18, 12, 6, 0)], axis=2).reshape(-1, 28)
    letters[:, 27] = ord("=")
    return numpy.hstack([numpy.tile(numpy.frombuffer(b"1:", dtype=numpy.uint8), (len(digests), 1)), letters])


# --- which column is made how ------------------------------------------------------------------------------------

_ENDS = ("o_hi", "o_lo", "r_hi", "r_lo", "bits")
_FINAL = (
    *(f"{end}_{name}" for end in "or" for name in ("state", "basis", "repeats", "interval_ns", "refresh_ns")),
    *("o_doubt_until_ns", "r_doubt_until_ns", "last_synack_ns", "o_packets", "o_syns", "o_in_vain"),
)

#: column → how it is made of the facts, and which it takes
WHOLE: dict[str, tuple[Callable[[Facts], Array], tuple[str, ...]]] = {
    "originator": (_address("o_"), _ENDS),
    "responder": (_address("r_"), _ENDS),
    "community_id": (_community, (*_ENDS, "o_port", "r_port")),
    "originator_state": (_state(0), _FINAL),
    "originator_basis": (_state(1), _FINAL),
    "responder_state": (_state(2), _FINAL),
    "responder_basis": (_state(3), _FINAL),
    "half_closed_ns": (_half_closed, ("half_start_ns", "half_end_ns")),
    "censored": (_censored, (*_FINAL, *BY_NAME["close"].facts)),
    "responder_rtt_ns": (_rtt("responder_rtt_ns"), ("responder_rtt_ns",)),
    "originator_rtt_ns": (_rtt("originator_rtt_ns"), ("originator_rtt_ns",)),
    "directions_seen": (_directions, ("o_packets", "r_packets")),
    "icmp_sender": (_icmp_sender, ()),
    "conn_state": (_conn_state, ("o_zeek", "r_zeek", "o_bytes", "r_bytes")),
    "history": (_history, ("bits",)),
    "completeness": (_completeness, ("completeness", "o_packets", "r_packets")),
    "wireshark_filter": (_filter, (*_ENDS, *_NUMBERS)),
}
