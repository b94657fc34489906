"""`Index`: what all causes read, made in one pass over the facts of all flows (`counting`).

Owns what causes may ask of rows, and which rows a cause has already explained. Judges nothing: thresholds belong to
the causes. Flows that lie elsewhere, in shards on other machines, are counted there (`census`), and asked there
(`ask`): the table at hand has those that a list or a cause names.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import compress
from typing import Any, Protocol, TypeVar

from analyzer.findings import counting
from analyzer.findings.census import Census
from analyzer.findings.counting import Listener, Sources
from analyzer.findings.view import CaptureView
from analyzer.flows.facts import INDEX, WIDTH
from analyzer.flows.packed import gathered
from analyzer.flows.table import FlowTable
from analyzer.segments import OPT_SACK_PERMITTED
from analyzer.tcp import states

#: an address, as `flows.facts.host_key` makes it
Host = bytes
#: (host, port, scope)
ListenerKey = tuple[Host, int, int]
Key = TypeVar("Key", bound=Hashable)
Part = TypeVar("Part")
Answer = TypeVar("Answer")
Whole = TypeVar("Whole", covariant=True)

SECOND_NS = 1_000_000_000

# What rests on something that did not come.
_WAITING_LISTS = ("unanswered", "half_open", "after_ack", "deferred", "half_closed", "fin_waiting", "stuck")


#: flow numbers a finding lists: a flood must not make the report as long as the capture
MAX_FLOWS = 1000


class Question(Protocol[Part, Whole]):
    """What a cause wants to know of all flows, plain ones included. It can be sent, and compared.

    One about flows of which two may lie in different shards has `parts` and `met`, too: see `causes.seen_twice.Sights`.
    """

    def of(self, table: FlowTable) -> Part:
        """What these flows say. Flows are spoken of by number."""
        ...

    def joined(self, answers: Sequence[Part]) -> Whole:
        """What all say, where `answers` are those of some each."""
        ...


class Elsewhere(Protocol):
    """Flows that lie on other machines: what was counted of all, and who asks them."""

    @property
    def census(self) -> Census: ...
    def ask(self, question: Question[Any, Answer]) -> Answer: ...


class AbsentError(Exception):
    """Flows that are to be named, by number, lie elsewhere."""

    def __init__(self, numbers: list[int]) -> None:
        super().__init__(numbers)
        self.numbers = numbers


class Index:
    """What all causes read. Rows are rows of `table`, in order of flow number.

    `unanswered` … `duplicated`: rows by what became of them (a row may be in several). `claim` marks rows as explained;
    `free` leaves those out. `flows`: how many there are in all.
    """

    def __init__(
        self,
        table: FlowTable,
        capture: CaptureView,
        selected: Sequence[int] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.table = table
        self._elsewhere = elsewhere
        self._selected = None if selected is None else frozenset(selected)
        self.capture = capture
        self.end_ns = table.end_ns
        self.listeners: dict[ListenerKey, Listener] = {}
        self.sources = Sources()
        self.unanswered = array("I")  # SYN, and nothing came back
        self.refused = array("I")
        self.unreachable = array("I")
        self.half_open = array("I")
        self.aborted = array("I")
        self.after_ack = array("I")  # SYN+ACK repeated after its ACK
        self.deferred = array("I")
        self.syn_repeated = array("I")  # answered by one SYN+ACK after at least counting.SYN_REPEATS_LISTED repeats
        self.challenged = array("I")
        self.reused = array("I")
        self.stale_rst = array("I")
        self.retried = array("I")  # completed after at least one repeated SYN
        self.fast_open_dropped = array("I")
        self.forged_rst = array("I")
        self.stuck = array("I")  # data sent again and never acknowledged, or keep-alives without an answer
        self.evicted = array("I")  # left the tracker at its bound
        self.reset = array("I")
        self.half_closed = array("I")
        self.fin_waiting = array("I")  # a FIN repeated, or left without an ACK
        self.missing = array("I")
        self.one_way = array("I")
        self.duplicates = 0
        self.duplicated = array("I")
        self.flags_only = True  # no segment without SYN, FIN or RST
        self.both_closed = 0  # connections whose two FINs were captured
        self.two_way = 0  # connections of which both directions were captured
        self.overflowing: set[ListenerKey] = set()  # listeners with a full accept queue, once that is found
        self.damaged: dict[Host, tuple[int, int]] = {}  # hosts with wrong checksums that are no offload: of how many
        self.doubts: dict[str, str] = {}  # what is wrong with the capture: its kind → in words
        self._claimed = bytearray(len(table))
        self._rows, self._order = table.facts.rows, table.order
        self._row_at = counting.inverse(self._order)
        reader = counting.Reader(self._rows, self._order)
        # Of a row: one raw fact by name, the hosts of both ends, and the key of the listener that it was meant for.
        self.fact, self.originator, self.responder = reader.fact, reader.originator, reader.responder
        self.listener_key = reader.listener_key
        self.flows = len(table)
        if elsewhere is not None:
            self._take_over(elsewhere.census)
            return
        counting.read(self, self._rows, self._row_at)
        if self.evicted:
            self._leave_out_pieces()

    def _take_over(self, census: Census) -> None:
        """What was counted elsewhere, and the lists, as far as their flows are at hand."""
        self.flows = census.flows
        self.duplicates, self.both_closed, self.two_way = census.duplicates, census.both_closed, census.two_way
        self.flags_only = census.flags_only
        for key, counted in census.listeners:
            self.listeners.setdefault(key, Listener(key)).add(counted)
        self.sources.add(census.sources)
        for name, numbers in census.lists.items():
            setattr(self, name, array("I", self._at_hand(numbers)))

    def listed(self) -> set[int]:
        """The rows that any list has."""
        return set().union(*(getattr(self, name) for name in counting.LISTS))

    def census(self) -> Census:
        """What was counted here, for an index that has only the flows of the lists."""
        numbers = self._numbers
        return Census(
            flows=self.flows,
            listeners=[listener.told() for listener in self.listeners.values()],
            sources=self.sources.told(),
            duplicates=self.duplicates,
            both_closed=self.both_closed,
            two_way=self.two_way,
            flags_only=self.flags_only,
            lists={name: array("Q", (numbers[row] for row in getattr(self, name))) for name in counting.LISTS},
        )

    @cached_property
    def _numbers(self) -> array[int]:
        """The flow number of each row, which ascends."""
        return self.table.raw("number")

    def ask(self, question: Question[Any, Answer]) -> Answer:
        """What all flows say, wherever they are."""
        if self._elsewhere is not None:
            return self._elsewhere.ask(question)
        return question.joined([question.of(self.table)])

    def named(self, numbers: Sequence[int]) -> list[int]:
        """The rows of those flows that a finding about all of them names. Raises AbsentError where one is not here."""
        if self._selected is None:
            numbers = numbers[:MAX_FLOWS]
        return self._at_hand(numbers)

    def _at_hand(self, numbers: Sequence[int]) -> list[int]:
        rows = counting.found_in(self._numbers, array("Q", numbers))
        absent = [number for number, row in zip(numbers, rows, strict=True) if row < 0]
        if absent:
            raise AbsentError(absent)
        return list(rows)

    def claim_flows(self, numbers: Iterable[int]) -> None:
        """Mark flows as explained, as far as they are at hand: nobody asks for others."""
        self.claim(row for row in counting.found_in(self._numbers, array("Q", numbers)) if row >= 0)

    def _leave_out_pieces(self) -> None:
        """Connections let go at the tracker's bound that went on are several rows: no one saw the whole of any."""
        evicted = set(self.evicted)
        pieces: set[int] = set()
        went_on: set[int] = set()
        for places in counting.repeated(self._rows):
            rows = self.rows_of(places)
            if not evicted.isdisjoint(rows):
                pieces.update(rows)
                went_on.update(evicted.intersection(rows[:-1]))
        if not pieces:
            return
        for name in _WAITING_LISTS:
            setattr(self, name, array("I", (row for row in getattr(self, name) if row not in went_on)))
        self.one_way = array(
            "I", (row for row in self.one_way if row not in pieces or (row in evicted and row not in went_on))
        )

    def speaks(self, host: Host) -> bool:
        """Whether at least one segment of the host was captured."""
        return self.sources.spoke(host) or host in self.last_signs

    @cached_property
    def last_signs(self) -> dict[Host, int]:
        """When each responding host last sent something, in ns (the last packet of such a flow)."""
        signs: dict[Host, int] = {}
        for key, listener in self.listeners.items():
            if listener.last_sign_ns > signs.get(key[0], 0):
                signs[key[0]] = listener.last_sign_ns
        return signs

    def facts(self, rows: Sequence[int], *names: str) -> array[int]:
        """Raw facts of many rows, in order, those of one after those of the one before."""
        return gathered(self._rows, WIDTH, self._order, rows, [INDEX[name] for name in names])

    def each(self, rows: Sequence[int], *names: str) -> Iterator[tuple[int, ...]]:
        """Raw facts of each row, in order."""
        return zip(*(self.facts(rows, name) for name in names), strict=True)

    def originators(self, rows: Sequence[int]) -> int:
        """How many hosts rows originate from."""
        return counting.different(self.facts(rows, "o_hi", "o_lo"))

    def free(self, rows: Iterable[int]) -> list[int]:
        """Those rows that no cause has explained yet."""
        claimed = self._claimed
        return [row for row in rows if not claimed[row]]

    def claim(self, rows: Iterable[int]) -> None:
        """Mark rows as explained."""
        for row in rows:
            self._claimed[row] = 1

    def selected_first(self, rows: Sequence[int]) -> Sequence[int]:
        """Those rows, the ones that someone asks about before the others."""
        chosen = self._selected
        if chosen is None:
            return rows
        return [*(row for row in rows if row in chosen), *(row for row in rows if row not in chosen)]

    def listener(self, row: int) -> Listener:
        """The listener that a row was meant for."""
        return self.listeners[self.listener_key(row)]

    def ordinary(self, rows: Sequence[int]) -> int:
        """Of how many the SYN offers SACK, as every system in use does, and tools that flood or scan mostly do not."""
        return sum(1 for options in self.facts(rows, "o_options") if options & OPT_SACK_PERMITTED)

    def with_fact(self, rows: Sequence[int], name: str) -> list[int]:
        """Those rows of which a raw fact is not 0."""
        return list(compress(rows, self.facts(rows, name)))

    def by(self, key: Callable[[int], Key], rows: Iterable[int]) -> list[tuple[Key, list[int]]]:
        """Rows by a key of each, the largest group first."""
        groups: defaultdict[Key, list[int]] = defaultdict(list)
        for row in rows:
            groups[key(row)].append(row)
        return sorted(groups.items(), key=lambda group: -len(group[1]))

    def by_listener(self, rows: Iterable[int]) -> list[tuple[ListenerKey, list[int]]]:
        """Rows by listener, the largest group first."""
        return [(self.listener_key(group[0]), group) for group in self.alike(rows, "r_hi", "r_lo", "r_port", "scope")]

    def alike(self, rows: Iterable[int], *names: str) -> list[list[int]]:
        """Rows by 2 to 4 raw facts that they have in common (of the last two none above 32 bits), most rows first."""
        listed = list(rows)
        groups = counting.grouped(self.facts(listed, *names), len(names))
        return sorted(([listed[at] for at in group] for group in groups), key=len, reverse=True)

    def waited_out(self, rows: Sequence[int]) -> list[bool]:
        """Of each row, whether the originator's attempt was over, by its retransmission timer, before the capture
        ended."""
        expiry = self.table.timers.expiry_ns
        ends = [
            expiry(states.SYN_SENT, *facts) for facts in self.each(rows, "o_refresh_ns", "o_repeats", "o_interval_ns")
        ]
        return [end is not None and end < self.end_ns for end in ends]

    def rows_of(self, places: Iterable[int]) -> list[int]:
        """Rows, in order, of places in the facts (which are in order of leaving the tracker)."""
        return sorted({self._row_at[place] for place in places})

    def repeats(self, row: int, end: str) -> int:
        """How often `o_` or `r_` has sent its FIN again, at most (copies made by the capture left out)."""
        return min(max(self.fact(row, end + "fins") - 1, 0), self.fact(row, end + "retransmissions"))
