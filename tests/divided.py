"""Flows divided among shards that tell each other only what can be sent, as workers of a cluster do, in one process."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from analyzer.dataset import judging, reporting
from analyzer.dataset.judging import Judged, View
from analyzer.dataset.tracking import Shard
from analyzer.findings import CaptureView, Finding
from analyzer.flows.evidence import Evidence
from analyzer.flows.facts import FlowFacts
from analyzer.selection import Selection
from analyzer.selection import rows as chosen_rows
from analyzer.tcp.sharding import shard_of
from analyzer.tcp.timers import Timers


class Divided:
    """What `dataset.judging.Shards` is, of flows that are numbered already."""

    def __init__(self, facts: FlowFacts, end_ns: int, shards: int, selection: Selection | None = None) -> None:
        self.view = View(end_ns, Timers(), [], selection or Selection())
        self.ways = 2
        parts: list[list[int]] = [[] for _ in range(shards)]
        for place in range(facts.count):
            ends = (facts.value(place, end + name) for end in ("o_", "r_") for name in ("hi", "lo", "port"))
            parts[shard_of(*ends) % shards].append(place)
        tracked = [Shard(facts.chosen(part), b"", {}, 0, [], []) for part in parts]
        self.known = Evidence(holes=any(judging.summary(shard).holes for shard in tracked))
        doubted = set().union(*(judging.summary(shard).doubted for shard in tracked))
        self.known.add([sent(judging.shown_by(shard, self.view, self.known, doubted)) for shard in tracked])
        self._judged = []
        for shard in tracked:
            table = judging.FlowTable(shard.facts, end_ns, self.view.timers, (), self.known)
            self._judged.append(Judged(table, chosen_rows(table, self.view.selection)))

    def each(self, task: Any, *of_shards: Sequence[Any], rest: tuple[Any, ...] = ()) -> list[Any]:
        return [sent(task(*mine, *sent(rest))) for mine in zip(self._judged, *of_shards, strict=True)]

    def asked(self, questions: Sequence[Any]) -> list[Callable[[], Any]]:
        return [self._one_asked(sent(question)) for question in questions]

    def _one_asked(self, question: Any) -> Callable[[], Any]:
        if hasattr(question, "parts"):
            parts = [sent(question.parts(shard.table, self.ways)) for shard in self._judged]
            answers = [sent(question.met([each[way] for each in parts])) for way in range(self.ways)]
        else:
            answers = [sent(question.of(shard.table)) for shard in self._judged]
        return lambda: question.joined(answers)


def sent(what: Any) -> Any:
    """What arrives of it."""
    return pickle.loads(pickle.dumps(what))


def found_apart(
    facts: FlowFacts, end_ns: int, capture: CaptureView, *, shards: int = 3, selection: Selection | None = None
) -> tuple[list[Finding], int]:
    """The findings as shards make them, and how many flows came together for them."""
    divided: Any = Divided(facts, end_ns, shards, selection)
    told = divided.each(reporting.tell)
    flows = reporting.Flows(divided, [one.kept for one in told])
    found = reporting.found_by(told, flows, capture, reporting.asked_first(divided, capture))
    return [Finding(*one) for one in found], len(flows.table)
