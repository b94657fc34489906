"""An `engine.Result` from a data set: the same tracker, fed from Parquet, and the captures' health put together.

Owns the order of these steps on one machine; `cluster` has those on many.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from analyzer.capture.health import CaptureHealth, FileHealth
from analyzer.dataset import form, is_url
from analyzer.dataset.plan import Damaged, Plan, make_plan
from analyzer.dataset.reading import Reader
from analyzer.engine import AUTOMATIC, Options, Result, decoded_by, tracked_by
from analyzer.errors import UsageError
from analyzer.flows.facts import FlowFacts, joined
from analyzer.garbage import uncollected
from analyzer.jobs import MAX_AUTOMATIC, Meanwhile, room, shared_out, sums
from analyzer.processes import processors
from analyzer.segments import SegmentBatch
from analyzer.tcp.sharding import number_flows
from analyzer.tcp.tracker import Tracker
from analyzer.wire.decode import Decoder
from analyzer.wire.reasons import REASONS

Progress = Callable[[int, int | None], None]


#: fewer segments are tracked about as soon as another process has begun
LEAST_SEGMENTS = 500_000


class Shard(NamedTuple):
    """What tracking gives of one shard, or of several."""

    facts: FlowFacts
    streams: bytes
    counts: dict[str, int]
    last_ns: int
    names: list[str]
    damaged: list[Damaged]

    @classmethod
    def of(cls, facts: FlowFacts, tracker: Tracker, reader: Reader) -> Shard:
        """What `track` gave, less the tracker."""
        counts = tracked_by(tracker)
        return cls(facts, tracker.streams.tobytes(), counts, tracker.last_ns, reader.names, reader.damaged)


def united(shards: Iterable[Shard]) -> Shard:
    """Several as one."""
    some = list(shards)
    return some[0]._replace(
        facts=joined(shard.facts for shard in some),
        streams=b"".join(shard.streams for shard in some),
        counts=sums([shard.counts for shard in some]),
        last_ns=max(shard.last_ns for shard in some),
        damaged=[each for shard in some for each in shard.damaged],
    )


def run(root: str, options: Options, progress: Progress | None = None, meanwhile: Meanwhile | None = None) -> Result:
    """What `engine.run` gives for the captures of the data set. Raises CaptureError, UsageError."""
    plan = make_plan(root)
    scoped = check_scopes(plan, options)
    found = _together(plan, options, scoped, progress, meanwhile)
    if found is not None:
        return merge(plan, found)
    facts, tracker, reader = track(plan, options, scoped=scoped, progress=progress)
    if tracker.evicted_embryonic or tracker.evicted_other:
        # Which flows leave at the bound hangs on the order of all segments, and not of those of one shard alone.
        facts, tracker, reader = track(plan, options, scoped=scoped, ordered=True, progress=progress)
    return merge(plan, [Shard.of(facts, tracker, reader)])


def _together(
    plan: Plan, options: Options, scoped: bool, progress: Progress | None, meanwhile: Meanwhile | None
) -> list[Shard] | None:
    """Each process tracks shards of its own; None where one must do it. Object stores have threads, forks have none."""
    jobs = options.jobs
    if jobs == AUTOMATIC:
        segments = sum(group.rows for part in plan.parts for group in part.described.groups)
        jobs = min(processors(), MAX_AUTOMATIC) if segments >= LEAST_SEGMENTS else 1
    jobs = min(jobs, plan.settings.shards)
    if jobs < 2 or is_url(plan.store.root):
        return None
    check = room(options, jobs)

    def work(part: int) -> Shard:
        mine = [*range(part, plan.settings.shards, jobs)]
        tell = progress if part == 0 else None
        return Shard.of(*track(plan, options, scoped=scoped, shards=mine, progress=tell, watch=check))

    return shared_out(work, jobs, meanwhile)


def merge(plan: Plan, shards: Sequence[Shard]) -> Result:
    """The shards as one result."""
    whole = united(shards)
    number_flows(whole.facts, array("Q", whole.streams))
    return put_together(plan, whole.facts, [whole])


class Counted(Protocol):
    """What is known of a shard besides its flows."""

    @property
    def counts(self) -> dict[str, int]: ...
    @property
    def last_ns(self) -> int: ...
    @property
    def names(self) -> list[str]: ...
    @property
    def damaged(self) -> list[Damaged]: ...


def put_together(plan: Plan, facts: FlowFacts, shards: Sequence[Counted]) -> Result:
    """The result of all shards, with these facts."""
    health = CaptureHealth()
    decoded = decoded_by(Decoder())
    skipped = dict.fromkeys(REASONS, 0)
    failed = {each.path: each for each in (*plan.damaged, *(one for shard in shards for one in shard.damaged))}
    for part in sorted(plan.parts, key=lambda part: part.place):
        described = part.described
        file = form.health_of(described.health)
        damage = failed.pop(plan.store.path(f"{form.SEGMENTS}/{part.file}.parquet"), None)
        if damage is not None:
            file.truncated = _damage(damage)
            health.notes.append(f"{file.name}: {file.truncated}")
        health.files.append(file)
        health.notes.extend(described.notes)
        for name, count in described.decoded.items():
            decoded[name] = decoded.get(name, 0) + count
        for name, count in described.skipped.items():
            skipped[name] = skipped.get(name, 0) + count
    for path, damage in failed.items():
        file = FileHealth(path)
        file.truncated = _damage(damage)
        health.notes.append(file.truncated)
        health.files.append(file)
    return Result(
        facts=facts,
        capture=health,
        decoded=decoded,
        skipped={name: count for name, count in skipped.items() if count},
        tracker=sums([shard.counts for shard in shards]),
        end_ns=max(*(shard.last_ns for shard in shards), health.last_ns or 0),
        scopes=shards[0].names,
    )


def track(
    plan: Plan,
    options: Options,
    *,
    scoped: bool,
    shards: list[int] | None = None,
    ordered: bool = False,
    progress: Progress | None = None,
    watch: Callable[[int], None] | None = None,
) -> tuple[FlowFacts, Tracker, Reader]:
    """The flows of some shards or of all, not yet numbered; the tracker, for its counters; the reader, for damage.

    `watch` is told before each batch how many flows may be held after it.
    """
    bounds: dict[str, Any] = {} if options.max_flows is None else {"max_flows": options.max_flows}
    tracker = Tracker(keep_transitions=options.keep_transitions, pack=True, **bounds)
    reader = Reader(plan, shards, scopes=scoped, ordered=ordered)
    with uncollected():
        for batch in reader.batches(progress):
            if watch is not None:
                watch(tracker.live + batch.count)
            tracker.feed(batch)
        facts = tracker.finish(max((part.described.last_ns for part in plan.parts), default=0))
    return facts, tracker, reader


def segments(root: str, options: Options, progress: Progress | None = None) -> Iterator[SegmentBatch]:
    """All segments in order of packet number, for a second look at them."""
    plan = make_plan(root)
    yield from Reader(plan, scopes=check_scopes(plan, options), ordered=True).batches(progress)


def check_scopes(plan: Plan, options: Options) -> bool:
    """Whether scopes are to be read. Raises UsageError where the data set does not have those asked for."""
    wanted = (options.by_vlan, options.by_tunnel)
    have = (plan.settings.by_vlan, plan.settings.by_tunnel)
    if not any(wanted):
        return False
    if wanted != have:
        asked = " ".join(word for word, on in zip(("--by-vlan", "--by-tunnel"), wanted, strict=True) if on)
        made = " ".join(word for word, on in zip(("--by-vlan", "--by-tunnel"), have, strict=True) if on)
        raise UsageError(f"{plan.store.root} was indexed {f'with {made}' if made else 'without'}, not with {asked}")
    return True


def _damage(damage: Damaged) -> str:
    return f"the data set's {damage.path} is damaged and left out ({damage.why}); take it away and index again"
