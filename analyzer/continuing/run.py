"""One run of a stream of captures without an end: it goes on where the one before it stopped (`--continue`).

Owns which flows a run gives. It gives each flow that is not over, and each that has ended since it was last given. A
flow has ended when neither end holds a socket any more, or when the tracker let it go and no timer can change what is
said of it. The tracker still knows it for a while, for segments that come late; where one changes it, it is given once
more. So the last row of each flow number, over all runs, is the row that one run over all captures gives. What flows
show of their listeners counts for later ones, and for those that are still held.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from analyzer.capture.health import CaptureHealth
from analyzer.capture.opening import Capture
from analyzer.capture.sources import Source, expand
from analyzer.continuing.state import State, packed, read, sealed, settings, stamp, write
from analyzer.dataset import is_url, location
from analyzer.engine import BATCH_SEGMENTS, Options, Result, decoded_by, tracked_by
from analyzer.errors import NotACaptureError, StateError, UsageError
from analyzer.flows.evidence import Evidence
from analyzer.flows.facts import WIDTH, FlowFacts
from analyzer.flows.table import FlowTable
from analyzer.garbage import uncollected
from analyzer.segments import SegmentBatch
from analyzer.tcp import saved, states
from analyzer.tcp.timers import Timers
from analyzer.tcp.tracker import Tracker
from analyzer.wire.decode import Decoder

Progress = Callable[[int, int | None], None]

#: captures remembered, so that none is tracked twice: rotation has few more on disk; the one longest known leaves
MAX_FILES = 10_000
#: later than any timer
_NEVER_NS = (1 << 63) - 1

_OVER = frozenset((states.CLOSED, states.LISTEN))


class Run(NamedTuple):
    """What one run gives: `result` has the flows of the run; `ended` are the numbers of those that have ended."""

    result: Result
    evidence: Evidence
    ended: frozenset[int]
    left_out: list[str]  # captures that an earlier run has tracked


@contextmanager
def continued(
    path: str, sources: Sequence[Any], options: Options, timers: Timers, progress: Progress | None = None
) -> Iterator[Run]:
    """Track `sources` on top of the state at `path` (none there: a beginning).

    The state is replaced on leaving without an error: once the run's result has been written, so that a run that fails
    can be made again. Raises StateError where the file is damaged, of something else, or of other options;
    CaptureError, OutputError.
    """
    if options.jobs > 1:
        raise UsageError("--continue goes on with one process: leave --jobs out")
    if location(sources) is not None:
        raise UsageError("--continue tracks captures; a data set takes in new ones with `handshake index`")
    if any(is_url(source) for source in sources):
        raise UsageError("--continue tracks captures of this machine; index others into a data set")
    bounds: dict[str, Any] = {} if options.max_flows is None else {"max_flows": options.max_flows}
    tracker = Tracker(keep_transitions=options.keep_transitions, **bounds)
    found = stamp(path)
    before = read(path, settings(options, timers), tracker)
    run, after, flows = _go_on(before, tracker, expand(sources), options, timers, progress)
    yield run
    if stamp(path) != found:
        raise StateError(f"{path} was changed by another run meanwhile, and has nothing of this one: run it again")
    write(path, sealed(settings(options, timers), after, flows))


def _go_on(
    state: State,
    tracker: Tracker,
    sources: list[Source],
    options: Options,
    timers: Timers,
    progress: Progress | None,
) -> tuple[Run, State, bytes]:
    """The run, the state after it, and what the tracker then held, packed."""
    counted = tracked_by(tracker)
    new = [source for source in sources if not _is_known(source, state.files)]
    left_out = [source.name for source in sources if _is_known(source, state.files)]
    decoder = Decoder(by_vlan=options.by_vlan, by_tunnel=options.by_tunnel)
    scopes = list(state.scopes)
    try:
        health = _feed(tracker, decoder, new, state.packets, scopes, progress) if new else CaptureHealth()
    except NotACaptureError:
        # In a directory whose captures were all tracked, what is no capture is passed over, too.
        if not left_out or any(source.directory is None for source in new):
            raise
        health = CaptureHealth()
    end_ns = max(state.end_ns, tracker.last_ns, health.last_ns or 0)
    counts = {name: count - counted[name] for name, count in tracked_by(tracker).items()}
    left = FlowFacts()
    left.extend(state.pending)
    left.extend(tracker.take())
    flows = packed(saved.tracker_lines(tracker))

    facts = FlowFacts()
    facts.extend(left)
    facts.extend(tracker.finish())
    table = FlowTable(facts, end_ns, timers, scopes, state.evidence)
    found = _sort_out(table, left.count, state)
    gone = FlowTable(facts.chosen(found.gone), end_ns, timers, scopes, state.evidence)
    result = Result(
        facts=facts.chosen(found.shown),
        capture=health,
        decoded=decoded_by(decoder),
        skipped=dict(decoder.counts),
        tracker=counts,
        end_ns=end_ns,
        scopes=scopes,
    )
    after = State(
        packets=state.packets + health.packets,
        end_ns=end_ns,
        scopes=scopes,
        files=_with_new(state.files, new, health),
        given=found.given,
        evidence=gone.evidence(),
        pending=facts.chosen(found.pending),
    )
    return Run(result, table.evidence(), frozenset(found.ended), left_out), after, flows


def _feed(
    tracker: Tracker,
    decoder: Decoder,
    sources: list[Source],
    packets: int,
    scopes: list[str],
    progress: Progress | None,
) -> CaptureHealth:
    """Track captures whose first packet has number `packets` + 1; scopes are numbered as `scopes` has them."""
    batch = SegmentBatch(BATCH_SEGMENTS)
    numbers: list[int] = []
    known = {name: number for number, name in enumerate(scopes)}
    with uncollected(), Capture(sources, progress) as capture:
        for frames in capture:
            frames.first_packet += packets
            done = 0
            while done < frames.count:
                batch.clear()
                done = decoder.decode(frames, done, batch)
                if len(decoder.scopes) > 1:
                    for name in decoder.scopes[len(numbers) :]:
                        if name not in known:
                            known[name] = len(scopes)
                            scopes.append(name)
                        numbers.append(known[name])
                    for row in range(batch.count):
                        batch.scope[row] = numbers[batch.scope[row]]
                tracker.feed(batch)
    return capture.health


class _Sorted(NamedTuple):
    """Rows of the facts, and numbers of flows."""

    shown: list[int]
    pending: list[int]
    gone: list[int]
    ended: list[int]
    given: dict[int, str]


def _sort_out(table: FlowTable, left: int, state: State) -> _Sorted:
    """Which flows are given, and what is remembered; the first `left` rows of the facts have left the tracker."""
    late = FlowTable(table.facts, _NEVER_NS, table.timers, table.scopes, table.known)
    found = _Sorted([], [], [], [], {})
    for row, at in enumerate(table.order):
        final = table.final(row)
        if at >= left:
            ended = final[0] in _OVER and final[2] in _OVER
        else:
            ended = final == late.final(row) and table.bits(row) == late.bits(row)
            (found.gone if ended else found.pending).append(at)
        if not ended:
            found.shown.append(at)
            continue
        number = table.fact(row, "number")
        said = _said(table, row, at)
        if at >= left:
            found.given[number] = said
        if state.given.get(number) != said:
            found.shown.append(at)
            found.ended.append(number)
    return found


def _said(table: FlowTable, row: int, at: int) -> str:
    """A digest of all that a row of the flow table comes from."""
    facts = table.facts
    numbers = facts.rows[at * WIDTH : (at + 1) * WIDTH]
    rest = (table.final(row), table.bits(row), facts.history[at], facts.icmp_sender[at])
    return hashlib.blake2b(numbers.tobytes() + repr(rest).encode(), digest_size=8).hexdigest()


# --- captures that were tracked --------------------------------------------------------------------------------------


def _is_known(source: Source, files: dict[str, list[int | None]]) -> bool:
    """Whether this very state of the file was tracked."""
    if source.path is None:
        return False
    known = files.get(os.path.abspath(source.path))
    return known is not None and known[:2] == [source.size, os.stat(source.path).st_mtime_ns]


def _with_new(
    files: dict[str, list[int | None]], sources: list[Source], health: CaptureHealth
) -> dict[str, list[int | None]]:
    """`files` and those of `sources` that were captures. Raises StateError where one of them is an old one, grown."""
    first_ns = {file.name: file.first_ns for file in health.files}
    found = dict(files)
    for source in sources:
        if source.path is None or source.name not in first_ns:
            continue
        path, first = os.path.abspath(source.path), first_ns[source.name]
        known = found.pop(path, None)
        if known is not None and known[2] == first is not None:
            raise StateError(
                f"{source.name} has grown since an earlier run tracked it, and its packets would count twice:"
                " with --continue, name captures that are complete"
            )
        found[path] = [source.size, os.stat(source.path).st_mtime_ns, first]
    return dict(list(found.items())[-MAX_FILES:])
