"""A report of a data set, made by the workers that tracked it: counted in shards, put together where it was asked for.

Owns what comes to the machine that asked: what was counted, and the flows that a list names or a cause looks at; plain
ones stay with their worker. What causes want to know of those besides is asked there, and the few that a finding names
are fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from analyzer import listeners
from analyzer.dataset.cluster import packed
from analyzer.dataset.judging import Judged, Shards
from analyzer.engine import Options
from analyzer.findings import CAUSES, CaptureView, find
from analyzer.findings.census import Census, united
from analyzer.findings.index import AbsentError, Answer, Index, Question
from analyzer.flows.facts import FlowFacts
from analyzer.flows.table import FlowTable
from analyzer.garbage import uncollected
from analyzer.listeners import Listener
from analyzer.report import health, lists
from analyzer.report.display import ShownFinding, shown
from analyzer.report.health import Seen
from analyzer.report.lists import Lists
from analyzer.report.reported import LISTENERS


class Gathered(NamedTuple):
    """A `report.reported.Reported`. The table has the flows that something names, and `lists` rows of it."""

    table: FlowTable
    options: Options
    selected: int
    lists: Lists
    found: list[ShownFinding]
    capture: dict[str, Any]
    listeners: list[Listener]


@uncollected()
def report(shards: Shards, options: Options) -> Gathered:
    """The report of all shards. Raises ClusterError."""
    capture = CaptureView.of(shards.whole)
    begun = shards.begun(tell)
    asked = asked_first(shards, capture)
    told: list[Told] = begun()
    flows = Flows(shards, [one.kept for one in told])
    found = found_by(told, flows, capture, asked)  # first: what it names is fetched, and then in the table, too
    return Gathered(
        options=options,
        found=found,
        table=flows.table,
        selected=sum(one.selected for one in told),
        lists=lists.united([flows.rows_of(one.lists) for one in told]),
        capture=health.health(shards.whole, Seen(*map(sum, zip(*(one.seen for one in told), strict=True)))),
        listeners=_listeners(shards, told),
    )


# --- on workers --------------------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """Flows that go to the machine that asked, and the numbers of those that are selected."""

    facts: FlowFacts
    selected: list[int]


class Told(NamedTuple):
    """What a shard says. `lists` has flow numbers; `selected` counts flows, `everything`: whether it is all."""

    census: Census
    kept: Kept
    seen: Seen
    lists: Lists
    selected: int
    everything: bool
    listeners: dict[listeners.Place, listeners.Part]


def tell(shard: Judged) -> Told:
    """Count the flows of a shard, and tell those that are in a list."""
    table, rows = shard
    index = Index(table, CaptureView())
    mine = lists.make_lists(table, rows)
    named = set().union(index.listed(), mine.incomplete_handshakes, mine.half_closed, mine.synack_retransmissions)
    numbers = table.raw("number")
    return Told(
        census=index.census(),
        kept=_kept(shard, sorted(named)),
        seen=Seen.of(table),
        lists=mine.renamed(numbers.__getitem__),
        selected=len(rows),
        everything=len(rows) == len(table),
        listeners=listeners.parts(table, rows),
    )


def fetched(shard: Judged, numbers: Sequence[int]) -> Kept:
    """Those of some flows that are in the shard."""
    wanted = frozenset(numbers)
    return _kept(shard, [row for row, number in enumerate(shard.table.raw("number")) if number in wanted])


def _kept(shard: Judged, rows: Sequence[int]) -> Kept:
    table = shard.table
    facts = table.facts.chosen(table.places(rows))
    chosen = range(len(table)) if len(shard.rows) == len(table) else frozenset(shard.rows)
    return Kept(packed(facts), [table.fact(row, "number") for row in rows if row in chosen])


def answers_in(shard: Judged, wanted: dict[listeners.Place, frozenset[int]]) -> dict[listeners.Place, list[int]]:
    """The answer times that settle quantiles."""
    return listeners.answers_in(shard.table, shard.rows, wanted)


# --- on the machine that asked ------------------------------------------------------------------------------------


class Flows:
    """The flows at hand, of all shards."""

    def __init__(self, shards: Shards, kept: Iterable[Kept]) -> None:
        self.shards = shards
        self._facts = FlowFacts()
        self.selected: set[int] = set()  # flow numbers
        self._take(kept)

    def _take(self, kept: Iterable[Kept]) -> None:
        facts = FlowFacts()  # others: an index may still read the rows of those before
        facts.extend(self._facts)
        for one in kept:
            facts.extend(one.facts)
            self.selected.update(one.selected)
        self._facts = facts
        view = self.shards.view
        self.table = FlowTable(self._facts, view.end_ns, view.timers, view.scopes, self.shards.known)
        self._row_of = {number: row for row, number in enumerate(self.table.raw("number"))}

    def fetch(self, numbers: Sequence[int]) -> None:
        """Bring these flows here, too."""
        self._take(self.shards.each(fetched, rest=(numbers,)))

    def rows_of(self, numbered: Lists) -> Lists:
        """Lists of flow numbers as lists of rows."""
        return numbered.renamed(self._row_of.__getitem__)

    @property
    def selected_rows(self) -> list[int]:
        """The rows that are selected."""
        return [row for number, row in self._row_of.items() if number in self.selected]


#: a question, and what waits for the answer
Asked = tuple[Question[Any, Any], Callable[[], Any]]


def asked_first(shards: Shards, capture: CaptureView) -> list[Asked]:
    """What causes ask in any case, put to the shards now."""
    view = shards.view
    first = [question for cause in CAUSES for question in cause.asks(capture, view.end_ns, view.timers)]
    return [(question, cache(wait)) for question, wait in zip(first, shards.asked(first), strict=True)]


class _Elsewhere:
    """A `findings.index.Elsewhere`: asks all shards, each question once."""

    def __init__(self, shards: Shards, census: Census, asked: list[Asked]) -> None:
        self.census = census
        self._shards = shards
        self._asked = asked

    def ask(self, question: Question[Any, Answer]) -> Answer:
        for asked, said in self._asked:
            if type(asked) is type(question) and asked == question:
                known: Answer = said()
                return known
        (wait,) = self._shards.asked([question])
        self._asked.append((question, cache(wait)))
        return self.ask(question)


def found_by(told: Sequence[Told], flows: Flows, capture: CaptureView, asked: list[Asked]) -> list[ShownFinding]:
    """The findings about all flows; those that one names are fetched."""
    elsewhere = _Elsewhere(flows.shards, united([one.census for one in told]), asked)
    everything = all(one.everything for one in told)
    while True:
        selected = None if everything else flows.selected_rows
        try:
            found = find(flows.table, capture, selected, elsewhere)
        except AbsentError as error:
            before = len(flows.table)
            flows.fetch(error.numbers)
            if len(flows.table) == before:  # no shard has them, and asking again would not change that
                raise
        else:
            return shown(found, None if everything else flows.selected)


def _listeners(shards: Shards, told: Sequence[Told]) -> list[Listener]:
    whole = listeners.united(one.listeners for one in told)
    wanted = listeners.unsettled(whole, LISTENERS)
    answers: dict[listeners.Place, list[int]] = {}
    for some in shards.each(answers_in, rest=(wanted,)) if wanted else ():
        for place, times in some.items():
            answers.setdefault(place, []).extend(times)
    return listeners.settled(whole, answers)
