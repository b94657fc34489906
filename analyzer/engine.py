"""The engine: a capture goes in, facts about its flows and its health come out.

Owns the order of the stages (capture → wire → tracker) and nothing of what they do. Every command and the Python API
run through `run`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
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
    apart = False
    if options.jobs != 1:
        from analyzer.jobs import together, useful
        from analyzer.processes import CAN_FORK, processors

        apart = options.jobs == AUTOMATIC and CAN_FORK and processors() > 1
        jobs = useful(sources) if options.jobs == AUTOMATIC else options.jobs
        found = together(sources, options, jobs, progress, meanwhile)
        if found is not None:
            return found
    return run_part(sources, options, progress=progress, apart=apart)[0]


def run_part(
    sources: Sequence[Source],
    options: Options,
    *,
    part: int = 0,
    parts: int = 1,
    progress: Callable[[int, int | None], None] | None = None,
    watch: Callable[[int], None] | None = None,
    apart: bool = False,
) -> tuple[Result, Sequence[int]]:
    """The shards of `part` of `parts` (see `jobs`), and the packets at which streams that are no flows were counted.

    `watch` is told before each batch how many flows may be held after it. `apart`: see `open_capture`.
    """
    bounds: dict[str, Any] = {} if options.max_flows is None else {"max_flows": options.max_flows}
    decoder = Decoder(by_vlan=options.by_vlan, by_tunnel=options.by_tunnel, part=part, parts=parts)
    tracker = Tracker(keep_transitions=options.keep_transitions, pack=True, **bounds)
    batch = SegmentBatch(BATCH_SEGMENTS)
    # Tracking makes no garbage cycles that matter, and the collector costs 30 to 50 ns a packet while flows pile up.
    with uncollected():
        with open_capture(sources, progress=progress, apart=apart) as capture:
            for frames in capture:
                done = 0
                if watch is not None:
                    watch(tracker.live + batch.count + frames.count)
                while True:
                    done = decoder.decode(frames, done, batch)
                    if done == frames.count:
                        break  # there may be room for more
                    tracker.feed(batch)
                    batch.clear()
            tracker.feed(batch)
        facts = tracker.finish(decoder.left_out_ns)
    result = Result(
        facts=facts,
        capture=capture.health,
        decoded=decoded_by(decoder),
        skipped=dict(decoder.counts),
        tracker=tracked_by(tracker),
        end_ns=max(tracker.last_ns, capture.health.last_ns or 0),
        scopes=list(decoder.scopes),
    )
    return result, tracker.streams


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
