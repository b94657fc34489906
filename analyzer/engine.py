"""The engine: a capture goes in, facts about its flows and its health come out.

Owns the order of the stages (capture → wire → tracker) and nothing of what they do. Every command and the Python API
run through `run`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from analyzer.capture import open_capture
from analyzer.dataset import location
from analyzer.flows.facts import FlowFacts
from analyzer.garbage import uncollected
from analyzer.segments import SegmentBatch
from analyzer.tcp.tracker import Tracker
from analyzer.wire.decode import Decoder

if TYPE_CHECKING:
    from analyzer.capture import CaptureHealth
    from analyzer.capture.frames import FrameBatch

#: segments a batch: enough to make the cost of a batch vanish, small enough to stay in the second-level cache
BATCH_SEGMENTS = 4096

#: of `Options.jobs`: as many processes as the captures deserve
AUTOMATIC = 0

Source = str | os.PathLike[str] | BinaryIO


class Options(NamedTuple):
    """What changes an analysis itself (not what is shown of it)."""

    by_vlan: bool = False
    by_tunnel: bool = False
    keep_transitions: bool = False
    max_flows: int | None = None
    jobs: int = 1  # processes, or AUTOMATIC; changes nothing of what is found


class Result(NamedTuple):
    """What one pass over a capture gives."""

    facts: FlowFacts
    capture: CaptureHealth
    decoded: dict[str, int]
    skipped: dict[str, int]
    tracker: dict[str, int]
    end_ns: int
    scopes: list[str]


class Tracked(NamedTuple):
    """What tracking gives, of a whole capture or of some of its shards."""

    facts: FlowFacts
    streams: Sequence[int]  # the packets at which streams that are no flows were counted
    counts: dict[str, int]
    last_ns: int


class Decoded(NamedTuple):
    """What reading and decoding give besides segments, of a whole capture or for some of its shards."""

    health: CaptureHealth
    counts: dict[str, int]
    skipped: dict[str, int]
    scopes: list[str]

    @classmethod
    def of(cls, decoder: Decoder, health: CaptureHealth) -> Decoded:
        """At the end of a capture."""
        return cls(health, decoded_by(decoder), dict(decoder.counts), list(decoder.scopes))


def run(
    sources: Sequence[Source],
    options: Options | None = None,
    *,
    progress: Callable[[int, int | None], None] | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> Result:
    """Read, decode and track captures, or one data set. Raises CaptureError where nothing can be read.

    Damage on the way is in the health. `meanwhile` is called where this process would wait for others, if it does.
    """
    options = options or Options()
    data_set = location(sources)
    if data_set is not None:
        from analyzer.dataset.tracking import run as run_data_set

        return run_data_set(data_set, options, progress, meanwhile)
    if options.jobs != 1:
        from analyzer.sharing import together, useful

        jobs = useful(sources) if options.jobs == AUTOMATIC else options.jobs
        found = together(sources, options, jobs, progress, meanwhile)
        if found is not None:
            return found
    return result_of(*read_and_track(sources, options, progress=progress))


def read_and_track(
    sources: Sequence[Source],
    options: Options,
    *,
    shards: range | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    watch: Callable[[int], None] | None = None,
) -> tuple[Tracked, Decoded]:
    """All stages in this process, for the flows of `shards` or for all.

    `watch` is told before each batch how many flows may be held after it.
    """
    decoder = decoder_for(options, shards)
    own = SegmentBatch(BATCH_SEGMENTS)

    def room() -> SegmentBatch:
        own.clear()
        return own

    with open_capture(sources, progress=progress) as capture:
        tracked = track(segments(capture, decoder, room), options, lambda: decoder.left_out_ns, watch)
    return tracked, Decoded.of(decoder, capture.health)


def segments(
    capture: Iterable[FrameBatch], decoder: Decoder, room: Callable[[], SegmentBatch]
) -> Iterator[SegmentBatch]:
    """The segments of a capture, in batches: each full one and the last. `room` gives an empty one to fill next."""
    batch = room()
    for frames in capture:
        done = 0
        while True:
            done = decoder.decode(frames, done, batch)
            if done == frames.count:
                break  # there may be room for more
            yield batch
            batch = room()
    yield batch


def track(
    batches: Iterable[SegmentBatch],
    options: Options,
    left_out_ns: Callable[[], int],
    watch: Callable[[int], None] | None = None,
) -> Tracked:
    """The flows of all batches; where those are of some shards only, `tcp.sharding` is to number them.

    `left_out_ns`: when the latest segment was that is in none of them, asked for in the end. `watch`: see
    `read_and_track`.
    """
    bounds: dict[str, Any] = {} if options.max_flows is None else {"max_flows": options.max_flows}
    tracker = Tracker(keep_transitions=options.keep_transitions, pack=True, **bounds)
    # Tracking makes no garbage cycles that matter, and the collector costs 30 to 50 ns a packet while flows pile up.
    with uncollected():
        for batch in batches:
            if watch is not None:
                watch(tracker.live + batch.count)
            tracker.feed(batch)
        facts = tracker.finish(left_out_ns())
    return Tracked(facts, tracker.streams, tracked_by(tracker), tracker.last_ns)


def result_of(tracked: Tracked, decoded: Decoded) -> Result:
    """What was found of a whole capture."""
    return Result(
        facts=tracked.facts,
        capture=decoded.health,
        decoded=decoded.counts,
        skipped=decoded.skipped,
        tracker=tracked.counts,
        end_ns=max(tracked.last_ns, decoded.health.last_ns or 0),
        scopes=decoded.scopes,
    )


def decoder_for(options: Options, shards: range | None = None) -> Decoder:
    """What decodes a capture for an analysis."""
    return Decoder(by_vlan=options.by_vlan, by_tunnel=options.by_tunnel, shards=shards)


def decoded_by(decoder: Decoder) -> dict[str, int]:
    """What the decoder has counted."""
    return {
        "segments": decoder.segments,
        "icmp_errors": decoder.icmp_errors,
        "bad_checksums": decoder.bad_checksums,
        "partial_checksums": decoder.partial_checksums,
        "tunnelled": decoder.tunnelled,
        "fragments": decoder.fragments,
        "offloaded": decoder.offloaded,
        "cut_options": decoder.cut_options,
    }


def tracked_by(tracker: Tracker) -> dict[str, int]:
    """What the tracker has counted."""
    return {
        "flows": tracker.flows_seen,
        "evicted_embryonic": tracker.evicted_embryonic,
        "evicted_other": tracker.evicted_other,
        "orphan_icmp": tracker.orphan_icmp,
        "odd_flags": tracker.odd_flags,
    }
