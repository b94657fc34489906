# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The one pass over the facts of all flows: counters by listener and by source, and the rows that causes look at.

Owns what makes a connection plain, and into which lists of an `Index` a row goes. Judges nothing: thresholds belong to
the causes. Ordinary Python that Cython compiles; both give the same answers.
"""

from __future__ import annotations

try:
    import cython
except ModuleNotFoundError:
    from analyzer import _shadow as cython

from array import array
from os import urandom
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.flows import facts as f
from analyzer.flows import verdict
from analyzer.flows.facts import INDEX, WIDTH, host_halves, host_key
from analyzer.flows.packed import PackedRows
from analyzer.tcp import states

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from analyzer.findings.index import Index

#: a half close shorter than a second is the ordinary pause between the two FINs, and is not even listed
HALF_CLOSED_LISTED_NS = 1_000_000_000
#: SYN repeated twice: one loss is ordinary, two of two in a row at 1 % loss come once in 10,000 connections
SYN_REPEATS_LISTED = 2
#: one-way traffic counts as a missing direction from this many segments on; fewer may be a stray RST or probe
ONE_WAY_SEGMENTS = 3

#: packed rows looked at together: they fit a processor's cache
BLOCK_ROWS = 512

_WAITING_FIN = frozenset(("fin_unacked", "last_ack_missing"))

_WIDTH = cython.declare(cython.Py_ssize_t, WIDTH)
_LISTED_NS = cython.declare(cython.longlong, HALF_CLOSED_LISTED_NS)
# A plain connection: its handshake is there and done, and nothing is wrong with it.
_PLAIN = cython.declare(cython.ulonglong, f.SYN_SEEN | f.SYNACK_SEEN | f.COMPLETE)
_PLAIN_MASK = cython.declare(
    cython.ulonglong,
    (f.SYN_SEEN | f.SYNACK_SEEN | f.COMPLETE | f.CONTRADICTED | f.RESET | f.STALE_RST | f.CHALLENGED | f.REUSED)
    | (f.REPLACED | f.EVICTED | f.O_FORGED_RST | f.R_FORGED_RST | f.FAST_OPEN_DROPPED),
)
_BOTH_ACKED = cython.declare(cython.ulonglong, f.O_FIN_ACKED | f.R_FIN_ACKED)
_BEGINS = cython.declare(cython.ulonglong, f.SYN_SEEN | f.SYNACK_SEEN)
_COMPLETE = cython.declare(cython.ulonglong, f.COMPLETE)
_CONTRADICTED = cython.declare(cython.ulonglong, f.CONTRADICTED)
_FORGED = cython.declare(cython.ulonglong, f.O_FORGED_RST | f.R_FORGED_RST)

_M64 = cython.declare(cython.ulonglong, 0xFFFF_FFFF_FFFF_FFFF)
_SECRET = cython.declare(cython.ulonglong, int.from_bytes(urandom(8), "big") | 1)
_OTHER_SECRET = cython.declare(cython.ulonglong, int.from_bytes(urandom(8), "big") | 1)
_THIRD_SECRET = cython.declare(cython.ulonglong, int.from_bytes(urandom(8), "big") | 1)
#: 16 MiB of bits: of 5,000,000 rows four in a hundred are looked at in vain
_TABLE_BITS = 27

_BITS = cython.declare(cython.Py_ssize_t, INDEX["bits"])
_O_PORT = cython.declare(cython.Py_ssize_t, INDEX["o_port"])
_SCOPE = cython.declare(cython.Py_ssize_t, INDEX["scope"])
_O_HI = cython.declare(cython.Py_ssize_t, INDEX["o_hi"])
_O_LO = cython.declare(cython.Py_ssize_t, INDEX["o_lo"])
_R_HI = cython.declare(cython.Py_ssize_t, INDEX["r_hi"])
_R_LO = cython.declare(cython.Py_ssize_t, INDEX["r_lo"])
_R_PORT = cython.declare(cython.Py_ssize_t, INDEX["r_port"])
_LAST_NS = cython.declare(cython.Py_ssize_t, INDEX["last_ns"])
_SYNACK_CAUSE = cython.declare(cython.Py_ssize_t, INDEX["synack_cause"])
_HALF_START_NS = cython.declare(cython.Py_ssize_t, INDEX["half_start_ns"])
_HALF_END_NS = cython.declare(cython.Py_ssize_t, INDEX["half_end_ns"])
_O_PACKETS = cython.declare(cython.Py_ssize_t, INDEX["o_packets"])
_R_PACKETS = cython.declare(cython.Py_ssize_t, INDEX["r_packets"])
_O_SYNS = cython.declare(cython.Py_ssize_t, INDEX["o_syns"])
_R_SYNS = cython.declare(cython.Py_ssize_t, INDEX["r_syns"])
_O_SYNACKS = cython.declare(cython.Py_ssize_t, INDEX["o_synacks"])
_R_SYNACKS = cython.declare(cython.Py_ssize_t, INDEX["r_synacks"])
_O_FINS = cython.declare(cython.Py_ssize_t, INDEX["o_fins"])
_R_FINS = cython.declare(cython.Py_ssize_t, INDEX["r_fins"])
_O_RSTS = cython.declare(cython.Py_ssize_t, INDEX["o_rsts"])
_R_RSTS = cython.declare(cython.Py_ssize_t, INDEX["r_rsts"])
_O_COPIES = cython.declare(cython.Py_ssize_t, INDEX["o_duplicates"])
_R_COPIES = cython.declare(cython.Py_ssize_t, INDEX["r_duplicates"])
_O_MISSING = cython.declare(cython.Py_ssize_t, INDEX["o_missing"])
_R_MISSING = cython.declare(cython.Py_ssize_t, INDEX["r_missing"])
_O_REPEATS = cython.declare(cython.Py_ssize_t, INDEX["o_retransmissions"])
_R_REPEATS = cython.declare(cython.Py_ssize_t, INDEX["r_retransmissions"])
_O_SYN_REPEATS = cython.declare(cython.Py_ssize_t, INDEX["o_syn_retransmissions"])
_R_SYNACK_REPEATS = cython.declare(cython.Py_ssize_t, INDEX["r_synack_retransmissions"])
_O_STUCK = cython.declare(cython.Py_ssize_t, INDEX["o_stuck"])
_R_STUCK = cython.declare(cython.Py_ssize_t, INDEX["r_stuck"])
_O_BAD = cython.declare(cython.Py_ssize_t, INDEX["o_bad_checksums"])
_R_BAD = cython.declare(cython.Py_ssize_t, INDEX["r_bad_checksums"])
_O_ISN = cython.declare(cython.Py_ssize_t, INDEX["o_isn"])
_O_STATE = cython.declare(cython.Py_ssize_t, INDEX["o_state"])
_R_STATE = cython.declare(cython.Py_ssize_t, INDEX["r_state"])
_O_REFRESH = cython.declare(cython.Py_ssize_t, INDEX["o_refresh_ns"])
_R_REFRESH = cython.declare(cython.Py_ssize_t, INDEX["r_refresh_ns"])
_ANSWER_NS = cython.declare(cython.Py_ssize_t, INDEX["responder_rtt_ns"])
_ACK_NS = cython.declare(cython.Py_ssize_t, INDEX["originator_rtt_ns"])
_CLOSED_BY = cython.declare(cython.Py_ssize_t, INDEX["closed_by"])
_NO_VALUE = cython.declare(cython.ulonglong, f.NO_VALUE)
_IPV6 = cython.declare(cython.ulonglong, f.IPV6)
_TIME_WAIT = cython.declare(cython.ulonglong, states.TIME_WAIT)


@cython.final
@cython.cclass
class Listener:
    """Counters of one (host, port, scope): flows to it that begin with a SYN or SYN+ACK, plain ones and others."""

    if cython.compiled:
        key = cython.declare(tuple, visibility="readonly")
        last_sign_ns = cython.declare(cython.longlong, visibility="readonly")
        plain = cython.declare(cython.longlong)
        others = cython.declare(cython.longlong)
        others_completed = cython.declare(cython.longlong)

    def __init__(self, key: tuple[bytes, int, int]) -> None:
        self.key = key
        self.last_sign_ns = 0  # last packet of any flow in which it sent something; 0 if it never did
        self.plain = self.others = self.others_completed = 0

    def told(self) -> tuple[tuple[bytes, int, int], tuple[int, int, int, int]]:
        """Its key and what was counted, for `add` elsewhere."""
        return self.key, (self.last_sign_ns, self.plain, self.others, self.others_completed)

    def add(self, counted: tuple[int, int, int, int]) -> None:
        """Add what was counted of the same listener elsewhere."""
        last_sign_ns, plain, others, completed = counted
        self.last_sign_ns = max(self.last_sign_ns, last_sign_ns)
        self.plain += plain
        self.others += others
        self.others_completed += completed

    @property
    def attempts(self) -> int:
        """All of them."""
        return self.plain + self.others

    @property
    def completed(self) -> int:
        """Of them, those whose handshake completed and was not contradicted later."""
        return self.plain + self.others_completed


@cython.final
@cython.cclass
class _Numbers:
    """Numbers keys of three words in order of first sight. Nobody outside can choose keys that meet."""

    if cython.compiled:
        count = cython.declare(cython.Py_ssize_t)
        _mask = cython.declare(cython.ulonglong)
        _table = cython.declare(cython.int[::1])  # number, or −1
        _keys = cython.declare(cython.ulonglong[::1])

    def __init__(self) -> None:
        self.count = 0
        self._resize(256)

    @cython.cfunc
    def _resize(self, slots: cython.Py_ssize_t) -> cython.void:
        """Make room for half as many keys as `slots`, a power of 2."""
        number: cython.Py_ssize_t
        old: cython.ulonglong[::1]
        keys: cython.ulonglong[::1] = array("Q", bytes(12 * slots))
        self._mask = slots - 1
        self._table = array("i", (-1,)) * slots  # there are fewer rows than an int can number
        if self.count:
            old = self._keys
            for number in range(3 * self.count):
                keys[number] = old[number]
        self._keys = keys
        for number in range(self.count):
            self._table[self._slot(keys[3 * number], keys[3 * number + 1], keys[3 * number + 2])] = number

    @cython.cfunc
    @cython.exceptval(check=False)
    def _slot(self, one: cython.ulonglong, two: cython.ulonglong, three: cython.ulonglong) -> cython.Py_ssize_t:
        """Where the key is, or would be."""
        mixed: cython.ulonglong = _mixed_end(one, two, three)
        at: cython.ulonglong = (mixed ^ (mixed >> 32)) & self._mask
        number: cython.Py_ssize_t = self._table[at]
        while number >= 0 and not (
            self._keys[3 * number] == one and self._keys[3 * number + 1] == two and self._keys[3 * number + 2] == three
        ):
            at = (at + 1) & self._mask
            number = self._table[at]
        return at

    @cython.cfunc
    @cython.exceptval(check=False)
    def find(self, one: cython.ulonglong, two: cython.ulonglong, three: cython.ulonglong) -> cython.Py_ssize_t:
        """Its number, −1 where it has none."""
        return self._table[self._slot(one, two, three)]

    @cython.cfunc
    def host(self, number: cython.Py_ssize_t) -> bytes:
        """The address whose halves are the first two words of a key."""
        return _key(self._keys[3 * number], self._keys[3 * number + 1])

    @cython.cfunc
    def add(self, one: cython.ulonglong, two: cython.ulonglong, three: cython.ulonglong) -> cython.Py_ssize_t:
        """Its number, the next one where it has none."""
        at: cython.Py_ssize_t = self._slot(one, two, three)
        if self._table[at] < 0:
            self._table[at] = self.count
            self._keys[3 * self.count] = one
            self._keys[3 * self.count + 1] = two
            self._keys[3 * self.count + 2] = three
            self.count += 1
            if 2 * self.count > self._mask:
                self._resize(2 * (self._mask + 1))
            return self.count - 1
        return self._table[at]


@cython.final
@cython.cclass
class Sources:
    """Counters of originating hosts: a flood has millions, so that none is an object."""

    if cython.compiled:
        _numbers = cython.declare(_Numbers)
        _counts = cython.declare(cython.longlong[::1])  # 3 a host: attempts, completed, flows in which it spoke

    def __init__(self) -> None:
        self._numbers = _Numbers()
        self._counts = array("q", bytes(8 * 3 * 128))

    @cython.cfunc
    def _at(self, high: cython.ulonglong, low: cython.ulonglong) -> cython.Py_ssize_t:
        """Where the counters of a host begin."""
        number: cython.Py_ssize_t = self._numbers.add(high, low, 0)
        size: cython.Py_ssize_t = len(self._counts)
        if 3 * number == size:
            grown: cython.longlong[::1] = array("q", bytes(16 * size))
            at: cython.Py_ssize_t
            for at in range(size):
                grown[at] = self._counts[at]
            self._counts = grown
        return 3 * number

    @cython.cfunc
    def note(
        self,
        high: cython.ulonglong,
        low: cython.ulonglong,
        begins: cython.bint,
        completed: cython.bint,
        spoke: cython.bint,
    ) -> cython.void:
        """Count a flow of the host."""
        at: cython.Py_ssize_t = self._at(high, low)
        self._counts[at] += begins
        self._counts[at + 1] += completed
        self._counts[at + 2] += spoke

    def told(self) -> array[int]:
        """Five words a host: its address and what was counted, for `add` elsewhere."""
        number: cython.Py_ssize_t
        word: cython.Py_ssize_t
        made = array("Q", bytes(8 * 5 * self._numbers.count))
        out: cython.ulonglong[::1] = made or array("Q", (0,))
        for number in range(self._numbers.count):
            for word in range(2):
                out[5 * number + word] = self._numbers._keys[3 * number + word]
            for word in range(3):
                out[5 * number + 2 + word] = self._counts[3 * number + word]
        return made

    def add(self, counted: array[int]) -> None:
        """Add what was counted elsewhere."""
        words: cython.ulonglong[::1] = counted or array("Q", (0,))
        host: cython.Py_ssize_t
        word: cython.Py_ssize_t
        at: cython.Py_ssize_t
        for host in range(len(counted) // 5):
            at = self._at(words[5 * host], words[5 * host + 1])
            for word in range(3):
                self._counts[at + word] += words[5 * host + 2 + word]

    def _count(self, host: bytes, which: cython.Py_ssize_t) -> int:
        high, low = host_halves(host)
        number: cython.Py_ssize_t = self._numbers.find(high, low, 0)
        return 0 if number < 0 else self._counts[3 * number + which]

    def attempts(self, host: bytes) -> int:
        """Its flows that begin with a SYN or SYN+ACK."""
        return self._count(host, 0)

    def completed(self, host: bytes) -> int:
        """Of them, those whose handshake completed and was not contradicted later."""
        return self._count(host, 1)

    def spoke(self, host: bytes) -> bool:
        """Whether a segment of it was captured in a flow that it originated."""
        return self._count(host, 2) > 0

    def busy(self, least: int) -> set[bytes]:
        """The hosts with so many attempts."""
        number: cython.Py_ssize_t
        bound: cython.longlong = least
        found: set = set()
        for number in range(self._numbers.count):
            if self._counts[3 * number] >= bound:
                found.add(self._numbers.host(number))
        return found


@cython.final
@cython.cclass
class _Listeners:
    """The listeners of an index, found by the words of a row."""

    if cython.compiled:
        _numbers = cython.declare(_Numbers)
        _found = cython.declare(list)
        _by_key = cython.declare(dict)

    def __init__(self, by_key: dict[tuple[bytes, int, int], Listener]) -> None:
        self._numbers = _Numbers()
        self._found = []
        self._by_key = by_key

    @cython.cfunc
    def of(self, rows: cython.ulonglong[::1], at: cython.Py_ssize_t) -> Listener:
        """The listener of the row that begins there."""
        port: cython.ulonglong = rows[at + _R_PORT] | rows[at + _SCOPE] << 16
        number: cython.Py_ssize_t = self._numbers.add(rows[at + _R_HI], rows[at + _R_LO], port)
        if number == len(self._found):
            key = (_key(rows[at + _R_HI], rows[at + _R_LO]), rows[at + _R_PORT], rows[at + _SCOPE])
            listener: Listener = Listener(key)
            self._by_key[key] = listener
            self._found.append(listener)
        return self._found[number]


_ENDS = ("hi", "lo", "port")
# What the functions below read of a row: of packed rows, nothing else is unpacked.
_OF_TUPLES = array("I", (INDEX[name] for name in ("scope", *(end + name for end in ("o_", "r_") for name in _ENDS))))
_OF_CHECKSUMS = array(
    "I",
    (INDEX[end + name] for end in ("o_", "r_") for name in ("hi", "lo", "packets", "retransmissions", "bad_checksums")),
)
_OF_TALLIES = array(
    "I",
    (
        INDEX[name]
        for name in (
            *("bits", "r_hi", "r_lo", "r_port", "responder_rtt_ns", "r_synack_retransmissions"),
            *("o_fins", "r_fins", "closed_by"),
        )
    ),
)
_OF_SEEN = array("I", [INDEX[name] for name in ("bits", "o_packets", "r_packets", "o_missing", "r_missing")])
_OF_ROUND_TRIPS = array("I", (INDEX["responder_rtt_ns"], INDEX["originator_rtt_ns"]))
_OF_FIRST_NUMBERS = array("I", [INDEX[name] for name in ("bits", "o_isn")])
_OF_TIME_WAIT = array(
    "I", (*_OF_TUPLES, *(INDEX[end + name] for end in ("o_", "r_") for name in ("state", "refresh_ns")))
)
_LOOKED_AT = array(
    "I",
    (
        *_OF_TUPLES,
        *(INDEX[name] for name in ("bits", "last_ns", "synack_cause", "half_start_ns", "half_end_ns")),
        *(
            INDEX[end + name]
            for end in ("o_", "r_")
            for name in (
                *("packets", "syns", "synacks", "fins", "rsts", "duplicates", "missing", "retransmissions", "stuck"),
                *("syn_retransmissions", "synack_retransmissions"),
            )
        ),
    ),
)


#: the lists of an index that hold rows
LISTS = (
    *("unanswered", "refused", "unreachable", "half_open", "aborted", "after_ack", "deferred", "syn_repeated"),
    *("challenged", "reused", "stale_rst", "retried", "fast_open_dropped", "forged_rst", "stuck", "evicted", "reset"),
    *("half_closed", "fin_waiting", "missing", "one_way", "duplicated"),
)


def read(index: Index, facts: Any, row_at: array[int]) -> None:
    """Fill `index` from rows of facts (`FlowFacts.rows`); `row_at`: of each place in them, its row."""
    first = 0
    listeners = _Listeners(index.listeners)
    for block in _blocks(facts, _LOOKED_AT):
        _count(index, listeners, block, row_at, first)
        first += len(block) // WIDTH
    for name in LISTS:
        setattr(index, name, _sorted(getattr(index, name)))


@cython.final
@cython.cclass
class Reader:
    """Single facts of the rows of a table, which causes ask for by the ten thousand.

    `facts`: as `FlowFacts.rows`; row i is at place `order[i]` of them.
    """

    if cython.compiled:
        _flat = cython.declare(cython.ulonglong[::1])
        _packed = cython.declare(object)
        _order = cython.declare(cython.ulonglong[::1])

    def __init__(self, facts: Any, order: Any) -> None:
        self._packed = facts if isinstance(facts, PackedRows) else None
        self._flat = array("Q", (0,)) if self._packed is not None else facts or array("Q", (0,))
        self._order = order or array("Q", (0,))

    @cython.cfunc
    def _value(self, row: cython.Py_ssize_t, fact: cython.Py_ssize_t) -> cython.ulonglong:
        at: cython.Py_ssize_t = self._order[row] * _WIDTH + fact
        return self._flat[at] if self._packed is None else self._packed[at]

    def fact(self, row: cython.Py_ssize_t, name: str) -> int:
        """One raw fact of a row."""
        return self._value(row, INDEX[name])

    def originator(self, row: cython.Py_ssize_t) -> bytes:
        """The originating host of a row."""
        return _key(self._value(row, _O_HI), self._value(row, _O_LO))

    def responder(self, row: cython.Py_ssize_t) -> bytes:
        """The responding host of a row."""
        return _key(self._value(row, _R_HI), self._value(row, _R_LO))

    def listener_key(self, row: cython.Py_ssize_t) -> tuple[bytes, int, int]:
        """The key of the listener that a row was meant for."""
        return self.responder(row), self._value(row, _R_PORT), self._value(row, _SCOPE)


def inverse(order: Any) -> array[int]:
    """Of each place of the facts its row, where `order` has of each row its place."""
    places: cython.ulonglong[::1] = order if len(order) else array("Q", (0,))
    made = array("I", bytes(4 * len(order)))
    rows: cython.uint[::1] = made or array("I", (0,))
    row: cython.Py_ssize_t
    for row in range(len(order)):
        rows[places[row]] = row
    return made


def _sorted(found: Any) -> array[int]:
    """The rows in order, as mostly they are."""
    if len(found) < 2:
        return found
    rows: cython.uint[::1] = found
    at: cython.Py_ssize_t
    for at in range(1, len(found)):
        if rows[at] < rows[at - 1]:
            return array("I", sorted(found))
    return found


def _blocks(facts: Any, columns: array[int]) -> Iterator[memoryview]:
    """Flat rows, block after block, in which these columns are right until the next is asked for."""
    if not isinstance(facts, PackedRows):
        if facts:
            yield memoryview(facts)
        return
    count = len(facts) // WIDTH
    block = array("Q", bytes(8 * WIDTH * min(BLOCK_ROWS, count)))
    for first in range(0, count, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, count)
        facts.fill(block, first, last, columns)
        yield memoryview(block)[: (last - first) * WIDTH]


def _count(index: Any, listeners: _Listeners, block: Any, row_at: Any, first: cython.Py_ssize_t) -> None:
    """Count the connections of a block with their listeners and sources; rows of what is not plain go to the lists.

    `first`: the place of the block's first row in the facts.
    """
    rows: cython.ulonglong[::1] = block
    row_of: cython.uint[::1] = row_at
    count: cython.Py_ssize_t = len(block) // WIDTH
    listener: Listener
    sources: Sources = index.sources
    completed: cython.bint
    end_ns: cython.longlong = index.end_ns
    flags_only: cython.bint = index.flags_only
    both_closed: cython.longlong = 0
    two_way: cython.longlong = 0
    duplicates: cython.longlong = 0
    place: cython.Py_ssize_t
    at: cython.Py_ssize_t
    bits: cython.ulonglong
    o_packets: cython.ulonglong
    r_packets: cython.ulonglong
    o_fins: cython.ulonglong
    r_fins: cython.ulonglong
    copies: cython.ulonglong
    cause: cython.ulonglong
    half_start: cython.longlong
    half_end: cython.longlong
    is_long_half: cython.bint
    verdicts: dict = {}
    for place in range(count):
        at = place * _WIDTH
        bits = rows[at + _BITS]
        o_packets = rows[at + _O_PACKETS]
        r_packets = rows[at + _R_PACKETS]
        o_fins = rows[at + _O_FINS]
        r_fins = rows[at + _R_FINS]
        half_start = rows[at + _HALF_START_NS]
        half_end = rows[at + _HALF_END_NS]
        is_long_half = half_start and (half_end if half_end else end_ns) - half_start > _LISTED_NS
        completed = bits & _COMPLETE and not bits & _CONTRADICTED
        listener = listeners.of(rows, at)
        sources.note(
            rows[at + _O_HI], rows[at + _O_LO], bits & _BEGINS != 0, bits & _BEGINS and completed, o_packets != 0
        )
        if r_packets and rows[at + _LAST_NS] > listener.last_sign_ns:
            listener.last_sign_ns = rows[at + _LAST_NS]
        if o_packets and r_packets:
            two_way += 1
        if o_fins and r_fins:
            both_closed += 1
        if flags_only:
            flags_only = (
                o_packets == rows[at + _O_SYNS] + rows[at + _O_SYNACKS] + rows[at + _O_FINS] + rows[at + _O_RSTS]
                and r_packets == rows[at + _R_SYNS] + rows[at + _R_SYNACKS] + rows[at + _R_FINS] + rows[at + _R_RSTS]
            )
        copies = rows[at + _O_COPIES] + rows[at + _R_COPIES]
        if (
            bits & _PLAIN_MASK == _PLAIN
            and (o_fins + r_fins == 0 or (o_fins + r_fins == 2 and o_fins and bits & _BOTH_ACKED == _BOTH_ACKED))
            and not (is_long_half or copies or rows[at + _SYNACK_CAUSE] or rows[at + _O_SYN_REPEATS])
            and not (rows[at + _O_MISSING] or rows[at + _R_MISSING] or rows[at + _O_STUCK] or rows[at + _R_STUCK])
        ):
            listener.plain += 1
            continue
        row: object = row_of[first + place]
        if copies:
            duplicates += copies
            index.duplicated.append(row)
        if rows[at + _O_MISSING] or rows[at + _R_MISSING]:
            index.missing.append(row)
        if rows[at + _O_STUCK] or rows[at + _R_STUCK]:
            index.stuck.append(row)
        if bits & _FORGED:
            index.forged_rst.append(row)
        if bits & f.EVICTED:
            index.evicted.append(row)
        if not (o_packets and r_packets) and (
            bits & _COMPLETE or (o_packets + r_packets >= ONE_WAY_SEGMENTS and not bits & _BEGINS)
        ):
            index.one_way.append(row)
        if bits & _BEGINS:
            listener.others += 1
            if bits & _COMPLETE:
                listener.others_completed += completed
                if bits & f.STALE_RST:
                    index.stale_rst.append(row)
                if rows[at + _O_SYN_REPEATS] and not bits & _CONTRADICTED:
                    index.retried.append(row)
                cause = rows[at + _SYNACK_CAUSE]
                if cause & f.CAUSE_AFTER_ACK:
                    index.after_ack.append(row)
                elif cause & f.CAUSE_DEFERRED:
                    index.deferred.append(row)
                if rows[at + _O_SYN_REPEATS] >= SYN_REPEATS_LISTED and not rows[at + _R_SYNACK_REPEATS]:
                    index.syn_repeated.append(row)
            else:
                _incomplete(index, row, bits, verdicts)
            if bits & f.FAST_OPEN_DROPPED:
                index.fast_open_dropped.append(row)
            if bits & f.CHALLENGED:
                index.challenged.append(row)
            if bits & f.REUSED:
                index.reused.append(row)
        if bits & f.RESET:
            index.reset.append(row)
        if not (o_fins or r_fins):
            continue
        if is_long_half:
            index.half_closed.append(row)
        if (
            (o_fins > 1 and rows[at + _O_REPEATS])
            or (r_fins > 1 and rows[at + _R_REPEATS])
            or verdict.close(bits, o_fins, r_fins) in _WAITING_FIN
        ):
            index.fin_waiting.append(row)
    index.flags_only = flags_only
    index.both_closed += both_closed
    index.two_way += two_way
    index.duplicates += duplicates


def _incomplete(index: Any, row: object, bits: cython.ulonglong, known: dict) -> None:
    kind = known.get(bits)
    if kind is None:
        kind = known[bits] = verdict.handshake(bits)
    if kind == "refused":
        index.refused.append(row)
    elif kind == "aborted":
        index.aborted.append(row)
    elif kind == "unreachable":
        index.unreachable.append(row)
    elif kind == "half_open":
        index.half_open.append(row)
    elif not bits & f.REPLACED:
        index.unanswered.append(row)


@cython.final
@cython.cclass
class Tally:
    """How the flows to one (host, port) fared; `closers` by facts.NOBODY, ORIGINATOR, RESPONDER, BOTH."""

    if cython.compiled:
        host = cython.declare(bytes, visibility="readonly")
        port = cython.declare(cython.uint, visibility="readonly")
        ipv6 = cython.declare(cython.bint, visibility="readonly")
        attempts = cython.declare(cython.longlong, visibility="readonly")
        completed = cython.declare(cython.longlong, visibility="readonly")
        refused = cython.declare(cython.longlong, visibility="readonly")
        unanswered = cython.declare(cython.longlong, visibility="readonly")
        synacks_again = cython.declare(cython.longlong, visibility="readonly")
        half_closed = cython.declare(cython.longlong, visibility="readonly")
        closers = cython.declare(list, visibility="readonly")
        answers_ns = cython.declare(object, visibility="readonly")

    def __init__(self, host: bytes, port: int, ipv6: bool) -> None:
        self.host = host
        self.port = port
        self.ipv6 = ipv6
        self.attempts = self.completed = self.refused = self.unanswered = 0
        self.synacks_again = self.half_closed = 0
        self.closers = [0, 0, 0, 0]
        self.answers_ns = array("Q")


def tallies(facts: Any, places: Sequence[int] | None = None) -> list[Tally]:
    """One a (host, port) of the flows that begin with a SYN or SYN+ACK; `places`: of these rows only."""
    rows: cython.ulonglong[::1]
    row: cython.Py_ssize_t
    at: cython.Py_ssize_t
    number: cython.Py_ssize_t
    bits: cython.ulonglong
    o_fins: cython.ulonglong
    r_fins: cython.ulonglong
    numbers: _Numbers = _Numbers()
    made: list = []
    tally: Tally
    handshakes: dict = {}
    half_closed: dict = {}
    blocks = _blocks(facts, _OF_TALLIES) if places is None else _chosen(facts, places)
    for block in blocks:
        rows = block
        for row in range(len(block) // WIDTH):
            at = row * _WIDTH
            bits = rows[at + _BITS]
            if not bits & _BEGINS:
                continue
            number = numbers.add(rows[at + _R_HI], rows[at + _R_LO], rows[at + _R_PORT] | (bits & _IPV6) << 32)
            if number == len(made):
                made.append(Tally(_host(rows, at, 1), rows[at + _R_PORT], bits & _IPV6 != 0))
            tally = made[number]
            tally.attempts += 1
            tally.synacks_again += rows[at + _R_SYNACK_REPEATS]
            if rows[at + _ANSWER_NS] != _NO_VALUE:
                tally.answers_ns.append(rows[at + _ANSWER_NS])
            if bits & _COMPLETE and not bits & _CONTRADICTED:
                tally.completed += 1
            else:
                word = handshakes.get(bits)
                if word is None:
                    word = handshakes[bits] = verdict.handshake(bits)
                if word == "refused":
                    tally.refused += 1
                elif word == "unanswered":
                    tally.unanswered += 1
            o_fins = rows[at + _O_FINS]
            r_fins = rows[at + _R_FINS]
            if not (o_fins or r_fins):
                continue
            tally.closers[rows[at + _CLOSED_BY]] += 1
            if not (o_fins and r_fins):
                kind = (bits, o_fins, r_fins)
                is_half = half_closed.get(kind)
                if is_half is None:
                    is_half = half_closed[kind] = verdict.close(bits, o_fins, r_fins) == "half_closed"
                if is_half:
                    tally.half_closed += 1
    return made


def _chosen(facts: Any, places: Sequence[int]) -> Iterator[array[int]]:
    """Single rows, flat."""
    for place in places:
        yield facts[place * WIDTH : (place + 1) * WIDTH]


class Hosts(NamedTuple):
    """How many hosts, and the first few by address: a flood has millions."""

    number: int
    first: list[bytes]


class Checksums(NamedTuple):
    """Hosts that sent wrong checksums, by what those mean."""

    offloading: Hosts  # all or most of its segments: left to its network card
    damaged: dict[bytes, tuple[int, int]]  # some had to be sent again: how many, of how many segments; by address
    taken: Hosts  # few, and none came again


#: what is told of a host: its address, its wrong checksums, those of flows in which as many segments had to be sent
#: again, and all its segments
_SUM_WORDS = cython.declare(cython.Py_ssize_t, 5)


def sums(facts: Any) -> array[int]:
    """The checksums of each host, _SUM_WORDS words a host."""
    rows: cython.ulonglong[::1]
    row: cython.Py_ssize_t
    at: cython.Py_ssize_t
    side: cython.Py_ssize_t
    number: cython.Py_ssize_t
    bad: cython.ulonglong
    numbers: _Numbers = _Numbers()
    for block in _blocks(facts, _OF_CHECKSUMS):
        rows = block
        for row in range(len(block) // WIDTH):
            at = row * _WIDTH
            for side in range(2):
                numbers.add(rows[at + (_R_HI if side else _O_HI)], rows[at + (_R_LO if side else _O_LO)], 0)
    made = array("Q", bytes(8 * _SUM_WORDS * numbers.count))
    out: cython.ulonglong[::1] = made or array("Q", (0,))
    for number in range(numbers.count):
        out[_SUM_WORDS * number] = numbers._keys[3 * number]
        out[_SUM_WORDS * number + 1] = numbers._keys[3 * number + 1]
    for block in _blocks(facts, _OF_CHECKSUMS):
        rows = block
        for row in range(len(block) // WIDTH):
            at = row * _WIDTH
            for side in range(2):
                number = numbers.find(rows[at + (_R_HI if side else _O_HI)], rows[at + (_R_LO if side else _O_LO)], 0)
                bad = rows[at + (_R_BAD if side else _O_BAD)]
                out[_SUM_WORDS * number + 2] += bad
                if bad and rows[at + (_R_REPEATS if side else _O_REPEATS)] >= bad:
                    out[_SUM_WORDS * number + 3] += bad
                out[_SUM_WORDS * number + 4] += rows[at + (_R_PACKETS if side else _O_PACKETS)]
    return made


def sums_together(parts: Sequence[array[int]]) -> array[int]:
    """What `sums` gives of all flows, where `parts` are what it gives of some."""
    return _added(parts, 2, _SUM_WORDS)


@cython.cfunc
def _added(parts: Any, keys: cython.Py_ssize_t, wide: cython.Py_ssize_t) -> array:
    """Rows of `wide` words of all parts, those together that are alike in their first `keys` (2 or 5): the rest summed.

    Of five, the third is none above 32 bits.
    """
    some: _Numbers = _Numbers()
    numbers: _Numbers = _Numbers()
    part: cython.ulonglong[::1]
    row: cython.Py_ssize_t
    number: cython.Py_ssize_t
    word: cython.Py_ssize_t
    made = array("Q", bytes(sum([8 * len(each) for each in parts])))  # room for all, should none come twice
    out: cython.ulonglong[::1] = made or array("Q", (0,))
    for each in parts:
        part = each or array("Q", (0,))
        for row in range(0, len(each), wide):
            if keys == 2:
                number = numbers.add(part[row], part[row + 1], 0)
            else:
                number = some.add(part[row], part[row + 1], part[row + 2])
                number = numbers.add(part[row + 3], part[row + 4], number)
            number *= wide
            for word in range(keys):
                out[number + word] = part[row + word]
            for word in range(keys, wide):
                out[number + word] += part[row + word]
    return made[: wide * numbers.count]


def checksums(sums_of: array[int], share: float, named: int) -> Checksums:
    """Tell hosts with wrong checksums apart, by what `sums` gives of all flows.

    `share`: of its segments, from which on a host offloads; `named`: how many are the first few.
    """
    offloading: _Lowest = _Lowest(named)
    taken: _Lowest = _Lowest(named)
    damaged = {}
    at: cython.Py_ssize_t
    host: cython.Py_ssize_t
    most: cython.double = share
    words: cython.ulonglong[::1] = sums_of or array("Q", (0,))
    for host in range(len(sums_of) // _SUM_WORDS):
        at = _SUM_WORDS * host
        if not words[at + 2]:
            continue
        if words[at + 2] >= most * words[at + 4]:
            offloading.add(words[at], words[at + 1])
        elif words[at + 3]:
            damaged[_key(words[at], words[at + 1])] = (words[at + 3], words[at + 4])
        else:
            taken.add(words[at], words[at + 1])
    return Checksums(offloading.hosts(), dict(sorted(damaged.items())), taken.hosts())


@cython.final
@cython.cclass
class _Lowest:
    """Counts hosts, and keeps the lowest few."""

    if cython.compiled:
        _room = cython.declare(cython.Py_ssize_t)
        _count = cython.declare(cython.Py_ssize_t)
        _kept = cython.declare(list)
        _high = cython.declare(cython.ulonglong)
        _low = cython.declare(cython.ulonglong)

    def __init__(self, room: int) -> None:
        self._room = room
        self._count = 0
        self._kept = []
        self._high = self._low = 0  # the highest of those kept, once there are enough

    @cython.cfunc
    def add(self, high: cython.ulonglong, low: cython.ulonglong) -> cython.void:
        self._count += 1
        if self._count > self._room and (high > self._high or (high == self._high and low > self._low)):
            return
        self._kept = sorted([*self._kept, (high, low)])[: self._room]
        self._high, self._low = self._kept[len(self._kept) - 1]

    def hosts(self) -> Hosts:
        return Hosts(self._count, [_key(high, low) for high, low in self._kept])


def grouped(words: Any, wide: cython.Py_ssize_t) -> list[array[int]]:
    """Rows of `wide` words each (2 to 4, of the last two none above 32 bits), by what they hold: their positions."""
    values: cython.ulonglong[::1] = words or array("Q", (0,))
    count: cython.Py_ssize_t = len(words) // wide
    numbers: _Numbers = _Numbers()
    groups: list = []
    row: cython.Py_ssize_t
    at: cython.Py_ssize_t
    number: cython.Py_ssize_t
    rest: cython.ulonglong
    for row in range(count):
        at = row * wide
        rest = values[at + 2] if wide > 2 else 0
        if wide > 3:
            rest |= values[at + 3] << 32
        number = numbers.add(values[at], values[at + 1], rest)
        if number == len(groups):
            groups.append(array("I"))
        groups[number].append(row)
    return groups


def different(words: Any) -> int:
    """How many of the rows of two words are not alike."""
    values: cython.ulonglong[::1] = words or array("Q", (0,))
    numbers: _Numbers = _Numbers()
    row: cython.Py_ssize_t
    for row in range(len(words) // 2):
        numbers.add(values[2 * row], values[2 * row + 1], 0)
    return numbers.count


def met_again(values: Any, most: cython.Py_ssize_t) -> list[array[int]]:
    """The positions of equal values in an array('Q'), 0 left out, where there are 2 to `most` of them."""
    numbers_of: cython.ulonglong[::1] = values or array("Q", (0,))
    count: cython.Py_ssize_t = len(values)
    numbers: _Numbers = _Numbers()
    number_of = array("q", bytes(8 * count))
    number: cython.longlong[::1] = number_of or array("q", (0,))
    times_of = array("I", bytes(4 * count))
    times: cython.uint[::1] = times_of or array("I", (0,))
    at: cython.Py_ssize_t
    for at in range(count):
        number[at] = -1
        if numbers_of[at]:
            number[at] = numbers.add(numbers_of[at], 0, 0)
            times[number[at]] += 1
    groups: dict = {}
    for at in range(count):
        if number[at] >= 0 and 2 <= times[number[at]] <= most:
            groups.setdefault(number[at], array("I")).append(at)
    return list(groups.values())


def found_in(values: array[int], sought: array[int]) -> array[int]:
    """The places of `sought` in `values`, which ascend; −1 where one is not there."""
    here: cython.ulonglong[::1] = values or array("Q", (0,))
    wanted: cython.ulonglong[::1] = sought or array("Q", (0,))
    made = array("q", bytes(8 * len(sought)))
    out: cython.longlong[::1] = made or array("q", (0,))
    at: cython.Py_ssize_t
    low: cython.Py_ssize_t
    high: cython.Py_ssize_t
    middle: cython.Py_ssize_t
    count: cython.Py_ssize_t = len(values)
    for at in range(len(sought)):
        low, high = 0, count
        while low < high:
            middle = (low + high) >> 1
            if here[middle] < wanted[at]:
                low = middle + 1
            else:
                high = middle
        out[at] = low if low < count and here[low] == wanted[at] else -1
    return made


def seen(facts: Any) -> tuple[int, int, int, int, int]:
    """How many flows have segments of both ends, of the originator only and of the responder only; how many gaps there
    are in all; how many flows are older than the capture."""
    rows: cython.ulonglong[::1]
    row: cython.Py_ssize_t
    at: cython.Py_ssize_t
    both: cython.Py_ssize_t = 0
    originator: cython.Py_ssize_t = 0
    responder: cython.Py_ssize_t = 0
    missing: cython.ulonglong = 0
    midstream: cython.Py_ssize_t = 0
    for block in _blocks(facts, _OF_SEEN):
        rows = block
        for row in range(len(block) // WIDTH):
            at = row * _WIDTH
            if not rows[at + _O_PACKETS]:
                responder += 1
            elif rows[at + _R_PACKETS]:
                both += 1
            else:
                originator += 1
            missing += rows[at + _O_MISSING] + rows[at + _R_MISSING]
            if not rows[at + _BITS] & _BEGINS:
                midstream += 1
    return both, originator, responder, missing, midstream


def round_trips(facts: Any) -> array[int]:
    """Of each row, in order of the facts, both halves of its handshake together, in ns; what is not known is 0."""
    rows: cython.ulonglong[::1]
    row: cython.Py_ssize_t
    at: cython.Py_ssize_t
    total: cython.ulonglong
    made = array("Q", bytes(8 * (len(facts) // WIDTH)))
    out: cython.ulonglong[::1] = made or array("Q", (0,))
    place: cython.Py_ssize_t = 0
    for block in _blocks(facts, _OF_ROUND_TRIPS):
        rows = block
        for row in range(len(block) // WIDTH):
            at = row * _WIDTH
            total = 0 if rows[at + _ANSWER_NS] == _NO_VALUE else rows[at + _ANSWER_NS]
            if rows[at + _ACK_NS] != _NO_VALUE:
                total += rows[at + _ACK_NS]
            out[place] = total
            place += 1
    return made


def first_numbers(facts: Any) -> array[int]:
    """Of each row, in order of the facts, the originator's first sequence number; 0 without SYN or SYN+ACK."""
    rows: cython.ulonglong[::1]
    row: cython.Py_ssize_t
    made = array("Q", bytes(8 * (len(facts) // WIDTH)))
    out: cython.ulonglong[::1] = made or array("Q", (0,))
    place: cython.Py_ssize_t = 0
    for block in _blocks(facts, _OF_FIRST_NUMBERS):
        rows = block
        for row in range(len(block) // WIDTH):
            if rows[row * _WIDTH + _BITS] & _BEGINS:
                out[place] = rows[row * _WIDTH + _O_ISN]
            place += 1
    return made


def most_within(times_ns: Any, span: cython.longlong) -> int:
    """The most of those times, an array('Q') in order, that lie within `span` of the first of them."""
    times: cython.ulonglong[::1] = times_ns or array("Q", (0,))
    most: cython.Py_ssize_t = 0
    first: cython.Py_ssize_t = 0
    last: cython.Py_ssize_t
    for last in range(len(times_ns)):
        while times[last] - times[first] > span:
            first += 1
        if last - first + 1 > most:
            most = last - first + 1
    return most


#: what is told of who holds sockets in TIME_WAIT: the service's address (two words) and port, the client's address, and
#: how many
HELD_WORDS = 6
_HELD_WORDS = cython.declare(cython.Py_ssize_t, HELD_WORDS)


def held(facts: Any, side: cython.Py_ssize_t, since: cython.ulonglong) -> array[int]:
    """How many sockets a side (0 originator, 1 responder) holds in TIME_WAIT, begun or refreshed since `since` ns.

    HELD_WORDS words a service and client; a responder's for all clients together, under the client 0.
    """
    rows: cython.ulonglong[::1]
    row: cython.Py_ssize_t
    at: cython.Py_ssize_t
    number: cython.Py_ssize_t
    word: cython.Py_ssize_t
    services: _Numbers = _Numbers()
    holders: _Numbers = _Numbers()
    of_client: cython.ulonglong = 0 if side else _M64
    counts = array("Q")
    for block in _blocks(facts, _OF_TIME_WAIT):
        rows = block
        for row in range(len(block) // WIDTH):
            at = row * _WIDTH
            if not _is_held(rows, at, side, since):
                continue
            number = services.add(rows[at + _R_HI], rows[at + _R_LO], rows[at + _R_PORT])
            number = holders.add(rows[at + _O_HI] & of_client, rows[at + _O_LO] & of_client, number)
            if number == len(counts):
                counts.append(0)
            counts[number] += 1
    made = array("Q", bytes(8 * _HELD_WORDS * holders.count))
    out: cython.ulonglong[::1] = made or array("Q", (0,))
    for number in range(holders.count):
        at = _HELD_WORDS * number
        row = holders._keys[3 * number + 2]
        for word in range(3):
            out[at + word] = services._keys[3 * row + word]
        for word in range(2):
            out[at + 3 + word] = holders._keys[3 * number + word]
    made[HELD_WORDS - 1 :: HELD_WORDS] = counts
    return made


def held_together(parts: Sequence[array[int]]) -> array[int]:
    """What `held` gives of all flows, where `parts` are what it gives of some."""
    return _added(parts, _HELD_WORDS - 1, _HELD_WORDS)


def held_by(facts: Any, side: cython.Py_ssize_t, since: cython.ulonglong, holders: array[int]) -> list[array[int]]:
    """The places of the rows that `held` counts, of each of these holders (rows as it gives them)."""
    rows: cython.ulonglong[::1]
    row: cython.Py_ssize_t
    at: cython.Py_ssize_t
    number: cython.Py_ssize_t
    place: cython.Py_ssize_t = -1
    services: _Numbers = _Numbers()
    wanted: _Numbers = _Numbers()
    of_client: cython.ulonglong = 0 if side else _M64
    words: cython.ulonglong[::1] = holders or array("Q", (0,))
    groups: list = []
    for at in range(0, len(holders), _HELD_WORDS):
        number = services.add(words[at], words[at + 1], words[at + 2])
        wanted.add(words[at + 3], words[at + 4], number)
        groups.append(array("I"))
    for block in _blocks(facts, _OF_TIME_WAIT):
        rows = block
        for row in range(len(block) // WIDTH):
            place += 1
            at = row * _WIDTH
            if not _is_held(rows, at, side, since):
                continue
            number = services.find(rows[at + _R_HI], rows[at + _R_LO], rows[at + _R_PORT])
            if number >= 0:
                number = wanted.find(rows[at + _O_HI] & of_client, rows[at + _O_LO] & of_client, number)
            if number >= 0:
                groups[number].append(place)
    return groups


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def _is_held(
    rows: cython.ulonglong[::1], at: cython.Py_ssize_t, side: cython.Py_ssize_t, since: cython.ulonglong
) -> cython.bint:
    """Whether that side of the row that begins there is in TIME_WAIT since then or later."""
    return rows[at + (_R_STATE if side else _O_STATE)] == _TIME_WAIT and (
        rows[at + (_R_REFRESH if side else _O_REFRESH)] >= since
    )


def repeated(facts: Any) -> list[list[int]]:
    """The places of rows that share their 4-tuple and scope with others, in groups.

    A table of bits tells those that may, and only they are looked at in full. Nobody outside can choose two that meet.
    """
    mask: cython.ulonglong = (1 << _TABLE_BITS) - 1
    table_of = bytearray(1 << (_TABLE_BITS - 3))
    table: cython.uchar[::1] = table_of
    rows: cython.ulonglong[::1]
    row: cython.Py_ssize_t
    at: cython.Py_ssize_t
    bit: cython.ulonglong
    place: cython.Py_ssize_t = 0
    suspects: set = set()
    for block in _blocks(facts, _OF_TUPLES):
        rows = block
        for row in range(len(block) // WIDTH):
            at = row * _WIDTH
            bit = (_mixed(rows, at) >> 20) & mask
            if table[bit >> 3] & (1 << (bit & 7)):
                suspects.add(bit)
            else:
                table[bit >> 3] |= 1 << (bit & 7)
    if not suspects:
        return []
    groups: dict = {}
    for block in _blocks(facts, _OF_TUPLES):
        rows = block
        for row in range(len(block) // WIDTH):
            at = row * _WIDTH
            bit = (_mixed(rows, at) >> 20) & mask
            if bit in suspects:
                ends = (_host(rows, at, 0), rows[at + _O_PORT]), (_host(rows, at, 1), rows[at + _R_PORT])
                groups.setdefault((min(ends), max(ends), rows[at + _SCOPE]), []).append(place)
            place += 1
    return [places for places in groups.values() if len(places) > 1]


@cython.cfunc
@cython.exceptval(check=False)
def _mixed(rows: cython.ulonglong[::1], at: cython.Py_ssize_t) -> cython.ulonglong:
    """A number of the 4-tuple and scope of a row, the same for both directions."""
    one: cython.ulonglong = _mixed_end(rows[at + _O_HI], rows[at + _O_LO], rows[at + _O_PORT])
    other: cython.ulonglong = _mixed_end(rows[at + _R_HI], rows[at + _R_LO], rows[at + _R_PORT])
    mixed: cython.ulonglong = ((one + other + rows[at + _SCOPE]) & _M64) * _SECRET & _M64
    return mixed ^ (mixed >> 32)


@cython.cfunc
@cython.exceptval(check=False)
def _mixed_end(high: cython.ulonglong, low: cython.ulonglong, port: cython.ulonglong) -> cython.ulonglong:
    third: cython.ulonglong = port * _THIRD_SECRET & _M64  # all of it counts: a scope may stand above the port
    mixed: cython.ulonglong = ((((high * _SECRET & _M64) ^ low) + third) & _M64) * _OTHER_SECRET & _M64
    mixed ^= mixed >> 29
    return mixed * _SECRET & _M64


@cython.cfunc
def _host(rows: cython.ulonglong[::1], at: cython.Py_ssize_t, side: cython.Py_ssize_t) -> bytes:
    """The originator (side 0) or responder of the row that begins there."""
    if side:
        return _key(rows[at + _R_HI], rows[at + _R_LO])
    return _key(rows[at + _O_HI], rows[at + _O_LO])


@cython.cfunc
def _key(high: cython.ulonglong, low: cython.ulonglong) -> bytes:
    """`facts.host_key`, without the detour through Python's numbers where that can be."""
    if not cython.compiled:
        return host_key(high, low)
    raw = cython.declare(cython.uchar[16])
    place: cython.int
    for place in range(8):
        raw[place] = (high >> (56 - 8 * place)) & 0xFF
        raw[place + 8] = (low >> (56 - 8 * place)) & 0xFF
    return raw[:16]
