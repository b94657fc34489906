"""The shards of a data set, tracked and judged, each on the worker that has it.

Owns what the shards have to tell each other so that every number and verdict is that of one process: a number a flow
(the packet that opened it) for the flow numbers, and what flows show of their listeners. Facts stay with their worker.
"""

from __future__ import annotations

import os
import pickle
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from analyzer import selection as choosing
from analyzer.dataset import cluster, is_url
from analyzer.dataset.cluster import Progress, gathered, light
from analyzer.dataset.plan import Damaged, make_plan
from analyzer.dataset.tracking import Shard, check_scopes, put_together
from analyzer.engine import Options, Result
from analyzer.findings.index import Answer, Question
from analyzer.flows import facts as f
from analyzer.flows.evidence import Evidence, Listener
from analyzer.flows.facts import INDEX, WIDTH, FlowFacts
from analyzer.flows.table import FlowTable
from analyzer.jobs import Meanwhile
from analyzer.selection import Selection
from analyzer.tcp.timers import Timers

#: priorities of tasks: of what all others need, and of what nobody waits for yet
SOONER, LATER = 1, -1
#: flows of which one worker holds something at a time where something of all has to meet (8 to 100 bytes of each)
FLOWS_A_WAY = 8_000_000


class Summary(NamedTuple):
    """What the machine that asked gets of one shard."""

    flows: int
    last_opened: int  # the highest packet at which one of them was opened
    counts: dict[str, int]
    last_ns: int
    names: list[str]
    damaged: list[Damaged]
    holes: bool
    doubted: set[Listener]  # verdicts on its flows hang on when these answered others


class View(NamedTuple):
    """How flows are judged and chosen: the same in all shards."""

    end_ns: int
    timers: Timers
    scopes: list[str]
    selection: Selection


class Judged(NamedTuple):
    """A shard on its worker; `rows` of the table are those that the selection leaves."""

    table: FlowTable
    rows: Sequence[int]


class Shards:
    """All shards. `whole`: the result without flows; `known`: what the flows of all show of their listeners."""

    def __init__(self, client: Any, whole: Result, view: View, known: Evidence, judged: list[Any], flows: int) -> None:
        self._client = client
        self._judged = judged
        self.whole = whole
        self.view = view
        self.known = known
        #: in how many parts something of all flows is brought together
        self.ways = _ways(flows)

    def __len__(self) -> int:
        return len(self._judged)

    def each(self, task: Any, *of_shards: Sequence[Any], rest: tuple[Any, ...] = ()) -> list[Any]:
        """What `task` gives for each shard (a `Judged`), of what is its own in `of_shards`, and `rest`."""
        return self.begun(task, *of_shards, rest=rest)()

    def begun(self, task: Any, *of_shards: Sequence[Any], rest: tuple[Any, ...] = ()) -> Callable[[], list[Any]]:
        """Begin with that; the value waits for it."""
        shared = self._shared(rest)
        futures = [
            light(self._client, told, task, *mine, shared) for mine in zip(self._judged, *of_shards, strict=True)
        ]
        return lambda: _unpickled(self._client, futures)

    def asked(self, questions: Sequence[Question[Any, Any]]) -> list[Callable[[], Any]]:
        """Begin to ask all flows, once what was begun before is done; a value each, which waits for what they say."""
        plain = [question for question in questions if not hasattr(question, "parts")]
        shared = self._shared((plain,)) if plain else None
        futures = [light(self._client, told, answers, shard, shared, priority=LATER) for shard in self._judged if plain]
        said = cache(lambda: [*zip(*_unpickled(self._client, futures), strict=True)])
        places = iter(range(len(plain)))

        def wait(question: Question[Any, Any]) -> Callable[[], Any]:
            if hasattr(question, "parts"):
                return self._met(question)
            place = next(places)
            return lambda: question.joined(said()[place])

        return [wait(question) for question in questions]

    def _met(self, question: Question[Any, Answer]) -> Callable[[], Answer]:
        """The same for one that has `parts`."""
        asked = self._shared((question, self.ways))
        parts = [light(self._client, done, parts_of, shard, asked, priority=LATER) for shard in self._judged]
        futures = _across(self._client, met, parts, self.ways, self._shared((question,)))
        return lambda: question.joined(_unpickled(self._client, futures))

    def _shared(self, rest: tuple[Any, ...]) -> Any:
        """What all tasks need, sent once: a worker fetches it from where it is."""
        return light(self._client, as_it_is, pickle.dumps(rest, 5))


@contextmanager
def judged(
    root: str,
    options: Options,
    scheduler: str,
    timers: Timers,
    selection: Selection,
    progress: Progress | None = None,
    meanwhile: Meanwhile | None = None,
) -> Iterator[Shards]:
    """The shards of the data set `root` on workers. `meanwhile` is called while they are at work.

    Raises ClusterError, CaptureError, UsageError.
    """
    root = root if is_url(root) else os.path.abspath(root)
    plan = make_plan(root)
    scoped = check_scopes(plan, options)
    with cluster.connected(scheduler) as client:
        tracked = cluster.tracked(client, root, plan, options, scoped)
        if meanwhile is not None:
            meanwhile()
        summaries: list[Summary] = gathered(client, [light(client, summary, shard) for shard in tracked], progress)
        whole = put_together(plan, FlowFacts(), summaries)
        flows = sum(one.flows for one in summaries)
        view = View(whole.end_ns, timers, summaries[0].names, selection)
        known = Evidence(holes=any(one.holes for one in summaries))
        doubted = set().union(*(one.doubted for one in summaries))
        shown = [light(client, shown_by, shard, view, known, doubted) for shard in tracked]
        numbers = _numbers(client, tracked, _ways(flows), max(one.last_opened for one in summaries))
        known.add(gathered(client, shown))
        shared = light(client, as_it_is, known)
        shards = [
            light(client, judge, *mine, view, shared, priority=SOONER) for mine in zip(tracked, numbers, strict=True)
        ]
        del tracked, numbers  # from here on held where `judge` needs them
        yield Shards(client, whole, view, known, shards, flows)


def table_of_none(shards: Shards) -> FlowTable:
    """A table without flows, judged as those of the shards are."""
    view = shards.view
    return FlowTable(FlowFacts(), view.end_ns, view.timers, view.scopes, shards.known)


# --- on workers --------------------------------------------------------------------------------------------------


def summary(shard: Shard) -> Summary:
    """What others need to know of a shard."""
    facts = shard.facts
    holes = any(any(facts.column(end + "missing")) for end in ("o_", "r_"))
    last_opened = max((*facts.column("opened_packet"), *array("Q", shard.streams)), default=0)
    doubts = f.CAUSE_AFTER_ACK | f.CAUSE_DEFERRED | f.CAUSE_CONFLICTING
    doubted = {facts.listener(place) for place, cause in enumerate(facts.column("synack_cause")) if cause & doubts}
    return Summary(facts.count, last_opened, shard.counts, shard.last_ns, shard.names, shard.damaged, holes, doubted)


def shown_by(shard: Shard, view: View, known: Evidence, doubted: set[Listener]) -> Evidence:
    """What the flows of a shard show of their listeners, and when those that are doubted answered."""
    table = FlowTable(shard.facts, view.end_ns, view.timers, view.scopes, known)
    shown = table.shown()
    shown.answers = table.answers(doubted) if doubted else {}
    return shown


def judge(shard: Shard, numbers: bytes, view: View, known: Evidence) -> Judged:
    """A shard with its flow numbers and what is known of all flows."""
    if shard.facts.count:
        shard.facts.rows[INDEX["number"] :: WIDTH] = array("Q", numbers)
    table = FlowTable(shard.facts, view.end_ns, view.timers, view.scopes, known)
    return Judged(table, choosing.rows(table, view.selection))


def as_it_is(what: Any) -> Any:
    """A task that gives what is sent."""
    return what


def done(task: Any, shard: Judged, *mine_and_rest: Any) -> Any:
    """What a task gives for a shard."""
    *mine, rest = mine_and_rest
    return task(shard, *mine, *pickle.loads(rest))


def told(task: Any, shard: Judged, *mine_and_rest: Any) -> bytes:
    """The same to be sent, as one piece: Dask looks at all that lies in a list or dict."""
    return pickle.dumps(done(task, shard, *mine_and_rest), 5)


def answers(shard: Judged, questions: Sequence[Question[Any, Any]]) -> list[Any]:
    """What the flows of a shard say to each question."""
    return [question.of(shard.table) for question in questions]


def parts_of(shard: Judged, question: Any, ways: int) -> list[Any]:
    """What of a shard has to meet what of others, by where."""
    parts: list[Any] = question.parts(shard.table, ways)
    return parts


def met(parts: list[list[Any]], question: bytes) -> bytes:
    """What has met in one place; of each shard a list of its one part."""
    (asked,) = pickle.loads(question)
    return pickle.dumps(asked.met([part for (part,) in parts]), 5)


def only(parts: list[Any], way: int) -> list[Any]:
    """A list of one part."""
    return [parts[way]]


class _Opened(NamedTuple):
    """The packets, of one range, at which flows of a shard were opened, and streams that are no flows."""

    flows: Any
    streams: Any


def opened(shard: Shard, edges: Sequence[int]) -> list[_Opened]:
    """Those of a shard, by range: from one of `edges` to before the next."""
    import numpy

    flows = numpy.frombuffer(shard.facts.column("opened_packet"), dtype=numpy.uint64)
    streams = numpy.frombuffer(shard.streams, dtype=numpy.uint64)
    return [
        _Opened(*(each[(each >= begin) & (each < end)] for each in (flows, streams))) for begin, end in pairwise(edges)
    ]


class _Ranked(NamedTuple):
    """How many events a range has, and the place among them of each shard's flows."""

    events: int
    places: list[Any]


def ranked(parts: list[list[_Opened]]) -> _Ranked:
    """The flows of all shards that were opened in one range, in order; of each shard a list of its one part."""
    import numpy

    events = numpy.concatenate([each for (part,) in parts for each in part])
    events.sort()
    return _Ranked(len(events), [numpy.searchsorted(events, part.flows).astype(numpy.uint64) for (part,) in parts])


def events_of(one: _Ranked) -> int:
    """How many events the range has."""
    return one.events


def places_of(one: _Ranked, shard: int) -> Any:
    """The places of a shard's flows."""
    return one.places[shard]


def numbered(shard: Shard, edges: Sequence[int], before: Sequence[int], places: list[Any]) -> bytes:
    """The flow numbers of a shard, 64 bits each; `before`: the events before each range, `places`: those in it."""
    import numpy

    flows = numpy.frombuffer(shard.facts.column("opened_packet"), dtype=numpy.uint64)
    made = numpy.empty(len(flows), dtype=numpy.uint64)
    for (begin, end), base, mine in zip(pairwise(edges), before, places, strict=True):
        made[(flows >= begin) & (flows < end)] = mine + numpy.uint64(base)
    return made.tobytes()


# --- on the machine that asked ------------------------------------------------------------------------------------


def _ways(flows: int) -> int:
    return 1 + flows // FLOWS_A_WAY


def _unpickled(client: Any, futures: list[Any]) -> list[Any]:
    """What was sent as one piece each; one is opened while the others come."""
    found = {future: pickle.loads(sent) for future, sent in cluster.finished(client, futures, None)}
    return [found[future] for future in futures]


def _numbers(client: Any, tracked: Sequence[Any], ways: int, last_opened: int) -> list[Any]:
    """A future a shard, of its flow numbers as `tcp.sharding.number_flows` gives them."""
    edges = [*(last_opened * way // ways for way in range(ways)), last_opened + 1]
    parts = [light(client, opened, shard, edges) for shard in tracked]
    ranges = _across(client, ranked, parts, ways)
    events = gathered(client, [light(client, events_of, one) for one in ranges])
    before = [0, *accumulate(events)][:-1]
    return [
        light(client, numbered, shard, edges, before, [light(client, places_of, one, number) for one in ranges])
        for number, shard in enumerate(tracked)
    ]


def _across(client: Any, task: Any, of_shards: Sequence[Any], ways: int, *rest: Any) -> list[Any]:
    """A future a way, of `task` with the parts that each shard has for it, as lists of one."""
    if ways == 1:
        return [light(client, task, list(of_shards), *rest)]
    return [light(client, task, [light(client, only, parts, way) for parts in of_shards], *rest) for way in range(ways)]
