"""One capture on several processors.

Owns who does what. Two processes are a pipeline: one reads, undoes compression and decodes, the other one tracks. More
of them each read and decode a plain capture for themselves, and track the 4-tuples of their own shards. What comes out
is what one process gives, to the last bit; where that could not be (shards, when a bound on flows held at once comes
near; a system without `fork`), one process does it, and so what can be read only once: another process would move the
place in a stream that this one's caller has opened.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing, suppress

from analyzer.capture import open_capture
from analyzer.capture.compression import LONGEST_MAGIC, compression_of
from analyzer.capture.opening import Progress
from analyzer.capture.sources import STANDARD_INPUT, expand
from analyzer.capture.sources import Source as FoundSource
from analyzer.engine import (
    BATCH_SEGMENTS,
    Decoded,
    Options,
    Result,
    Source,
    Tracked,
    decoder_for,
    read_and_track,
    result_of,
    segments,
    track,
)
from analyzer.errors import CaptureError
from analyzer.flows.facts import joined
from analyzer.jobs import MAX_AUTOMATIC, Meanwhile, room, shared_out, sums
from analyzer.processes import CAN_FORK, processors
from analyzer.segments import SHARDS

#: a shard is not divided
MAX_JOBS = SHARDS
#: below that, a capture is done about as soon as another process has begun
LEAST_BYTES = 16 << 20
#: the same where it is compressed
LEAST_COMPRESSED_BYTES = 1 << 20
#: from here on processes with shards of their own pay, which all read the whole capture and send what they found
LEAST_FOR_SHARDS = 64 << 20


def useful(sources: Sequence[Source]) -> int:
    """How many processes make these captures quicker: several for large files that can be read again."""
    most = min(processors(), MAX_AUTOMATIC)
    if most < 2 or not _can_be_read_again(sources):
        return 1
    try:
        found = expand(list(sources))
    except CaptureError:  # whoever reads it says so
        return 1
    size = sum(source.size or 0 for source in found)
    if size < LEAST_COMPRESSED_BYTES:
        return 1
    if _any_compressed(found):
        return 2
    if size < LEAST_BYTES:
        return 1
    return 2 if size < LEAST_FOR_SHARDS else most


def together(
    sources: Sequence[Source],
    options: Options,
    jobs: int,
    progress: Progress | None = None,
    meanwhile: Meanwhile | None = None,
) -> Result | None:
    """What `engine.run` gives, by `jobs` processes; None where one must do it.

    Two do it where one of the captures is compressed, however many are asked for: each of more would have to undo that.

    Raises CaptureError as `engine.run` does, and AnalyzerError where a process ends without a result.
    """
    jobs = min(jobs, MAX_JOBS)
    if jobs < 2 or not CAN_FORK or not _can_be_read_again(sources):
        return None
    if jobs == 2 or _any_compressed(expand(list(sources))):
        return _pipeline(sources, options, progress, meanwhile)
    return _shards(sources, options, jobs, progress, meanwhile)


def _pipeline(
    sources: Sequence[Source], options: Options, progress: Progress | None, meanwhile: Meanwhile | None
) -> Result | None:
    """By a process that reads and decodes, and this one, which tracks."""
    from analyzer.handover import Handover

    try:
        handover = Handover(BATCH_SEGMENTS)
    except OSError:
        return None

    def decode() -> Decoded:
        decoder = decoder_for(options)
        giver = handover.giver()
        try:
            with open_capture(sources, progress=giver.read) as capture:
                for _ in segments(capture, decoder, giver.room):
                    giver.give()
        finally:
            giver.end()
        return Decoded.of(decoder, capture.health)

    def work(number: int) -> Decoded | Tracked:
        if number:
            return decode()
        if meanwhile is not None:  # the first batches take longer than what comes after them
            meanwhile()
        return track(handover.taker(progress), options, lambda: 0)

    with closing(handover):
        found = shared_out(work, 2)
    if found is None:
        return None
    tracked, decoded = found
    assert isinstance(tracked, Tracked)
    assert isinstance(decoded, Decoded)
    return result_of(tracked, decoded)


def _shards(
    sources: Sequence[Source], options: Options, jobs: int, progress: Progress | None, meanwhile: Meanwhile | None
) -> Result | None:
    """By processes that each read and decode the whole capture."""
    from analyzer.tcp.sharding import number_flows

    check = room(options, jobs)

    def work(part: int) -> tuple[Tracked, Decoded]:
        shards = range(-(-part * SHARDS // jobs), -(-(part + 1) * SHARDS // jobs))
        tell = progress if part == 0 else None
        return read_and_track(sources, options, shards=shards, progress=tell, watch=check)

    found = shared_out(work, jobs, meanwhile)
    if found is None:
        return None
    parts = [tracked for tracked, _ in found]
    facts = joined(part.facts for part in parts)
    number_flows(facts, [packet for part in parts for packet in part.streams])
    tracked = Tracked(facts, (), sums([part.counts for part in parts]), max(part.last_ns for part in parts))
    decoded = found[0][1]._replace(counts=sums([decoded.counts for _, decoded in found]))
    return result_of(tracked, decoded)


def _can_be_read_again(sources: Sequence[Source]) -> bool:
    named = [os.fspath(source) for source in sources if isinstance(source, (str, os.PathLike))]
    return len(named) == len(sources) and not any(
        name in ("-", STANDARD_INPUT) or (os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name))
        for name in named
    )


def _any_compressed(found: Sequence[FoundSource]) -> bool:
    """Whether any of these files is compressed; one that cannot be opened is not: whoever reads it says so."""
    for source in found:
        if source.path is not None:
            with suppress(OSError), open(source.path, "rb") as file:
                if compression_of(file.read(LONGEST_MAGIC)) is not None:
                    return True
    return False
