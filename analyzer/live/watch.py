"""The engine on a live source: a thread that reads, decodes, tracks and writes, and answers questions in between.

Owns the thread, the clock's ticks, and what is kept of flows that are over. What a question makes of a moment is not
its concern. Memory is bounded: flows held, flows kept after their end, bytes of recent packets.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from analyzer.capture.blocks import cut
from analyzer.capture.frames import FrameBatch
from analyzer.capture.health import CaptureHealth, FileHealth, InterfaceHealth
from analyzer.capture.ring import Counters
from analyzer.capture.writing import Writer
from analyzer.engine import Options, Result, decoded_by, tracked_by
from analyzer.flows.facts import FlowFacts
from analyzer.live.tally import Tally, matrix
from analyzer.segments import ACK, FIN, RST, SYN, SegmentBatch
from analyzer.tcp.tracker import Tracker
from analyzer.wire.decode import Decoder

SECOND_NS = 1_000_000_000
LIVE_FLOWS = 131_072  # flows held at once where nothing else is said: 200 MB in a flood of new 4-tuples
KEPT_FLOWS = 32_768  # flows kept after their end, for findings and the closing report: 23 MB
RECENT_BYTES = 32 << 20  # packets kept for the ladder of a flow and for saving it
BATCH_SEGMENTS = 512  # between two looks at the other threads: two or three milliseconds, even where every SYN is new
SILENT_NS = 600 * SECOND_NS  # after this, flows without a lasting state go: longer than any retransmission waits
SWEEP_S = 10.0  # between two looks for them
LAST_BLOCK_S = 0.15  # after this the kernel has given the block that was still being filled (ring.RETIRE_MS)
WAIT_S = 0.25  # between two ticks when no packet comes

Answer = TypeVar("Answer")


def _give_way() -> None:
    """Let a thread have its turn that waits for the interpreter: the one that answers keys."""
    time.sleep(0)


class LiveSource(Protocol):
    """What gives frames as they come: `capture.ring.Ring`, or `capture.portable.Portable`."""

    interface: str
    linktype: int
    snaplen: int
    expression: str | None
    notes: list[str]

    @property
    def disordered(self) -> int: ...
    def now_ns(self) -> int: ...
    def wait(self, seconds: float, wake: int | None = None) -> bool: ...
    def take(self) -> FrameBatch | None: ...
    def counters(self) -> Counters: ...
    def ring_used(self) -> float: ...
    def close(self) -> None: ...


class Watch:
    """A live capture under way. `start` it, `ask` it, `stop` it; `failed` is the exception that ended it, if one did.

    `count`, `seconds`: it ends after so many packets, or so long. Its other attributes belong to its thread: they are
    read inside a question.
    """

    def __init__(
        self,
        source: LiveSource,
        options: Options,
        *,
        writer: Writer | None = None,
        count: int | None = None,
        seconds: float | None = None,
        kept_flows: int = KEPT_FLOWS,
        recent_bytes: int = RECENT_BYTES,
    ) -> None:
        self.source = source
        self.options = options
        self.writer = writer
        self.failed: BaseException | None = None
        self.tally = Tally()  # of the flows that have left
        self.held = 0  # flows of the last answer that had not left
        self.forgotten = 0  # of them, those no longer kept
        self.syns = self.synacks = self.fins = self.rsts = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.counters = Counters(0, 0, None, 0.0)
        self.recent: deque[bytes] = deque()
        self._recent_bytes = 0
        self._recent_bound = recent_bytes
        self._count = count
        self._seconds = seconds
        self._kept: deque[FlowFacts] = deque()
        self._kept_count = 0
        self._kept_bound = kept_flows
        self._packets = 0
        bound = LIVE_FLOWS if options.max_flows is None else options.max_flows
        self.decoder = Decoder(by_vlan=options.by_vlan, by_tunnel=options.by_tunnel)
        self.tracker = Tracker(keep_transitions=options.keep_transitions, max_flows=bound)
        self._batch = SegmentBatch(BATCH_SEGMENTS)
        self._questions: deque[tuple[Callable[[Watch], Any], Future[Any]]] = deque()
        self._file_stopped = False
        self._stopping = False
        self._ended = threading.Event()
        self._door = threading.Lock()  # held to put a question or to end: none is left without an answer
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._swept = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="handshake-live", daemon=True)

    # --- from other threads ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether packets are still read."""
        return not self._ended.is_set()

    def stop(self) -> None:
        """End, once what the ring holds now has been read; returns when it has. Raises what ended it before."""
        self._stopping = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join()
        if self.failed is not None:
            raise self.failed

    def join(self, seconds: float | None = None) -> bool:
        """Wait for its end, so long at most; whether it has ended."""
        return self._ended.wait(seconds)

    def ask(self, question: Callable[[Watch], Answer]) -> Answer:
        """`question(self)`, between two batches. Raises what ended the capture, where something did."""
        answer: Future[Answer] = Future()
        with self._door:
            if self._ended.is_set() or not self._thread.is_alive():
                if self.failed is not None:
                    raise self.failed
                return question(self)
            self._questions.append((question, answer))
        self._wake()
        return answer.result()

    def ring_used(self) -> float:
        """How much of the ring waits to be read, 0 to 1; for any thread."""
        with self._door:
            return 0.0 if self._ended.is_set() else self.source.ring_used()

    def _wake(self) -> None:
        try:
            os.write(self._wake_in, b"\0")
        except BlockingIOError:
            pass  # full of earlier calls: it will wake

    # --- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # whatever ended it belongs to who asks
            self.failed = error
        finally:
            with self._door:
                self._ended.set()
                self._answer()
            self._close()

    def _work(self) -> None:
        source = self.source
        until = None if self._seconds is None else time.monotonic() + self._seconds
        while not self._stopping and not self._is_enough():
            left = WAIT_S if until is None else min(until - time.monotonic(), WAIT_S)
            if left <= 0:
                break
            source.wait(left, self._wake_out)
            self._drain()
            batch = source.take()
            if batch is not None:
                self._frames(batch)
            self._tick()
            self._answer()
        self._empty_ring()
        self.counters = source.counters()

    def _empty_ring(self) -> None:
        """Read what had come by now: the blocks that are ready, and the one that is still being filled."""
        now = self.source.now_ns()
        while not self._is_enough() and self.source.wait(LAST_BLOCK_S):
            batch = self.source.take()
            if batch is not None:
                self._frames(batch)
                if batch.count and batch.ts_ns[batch.count - 1] >= now:
                    break

    def _drain(self) -> None:
        try:
            while os.read(self._wake_out, 4096):
                pass
        except BlockingIOError:
            pass

    def _is_enough(self) -> bool:
        return self._count is not None and self._packets >= self._count

    def _frames(self, frames: FrameBatch) -> None:
        """One batch through the engine, and into the file."""
        if self._count is not None:
            frames = cut(frames, min(frames.count, self._count - self._packets))
        if not frames.count:
            return
        self._note_times(frames)
        frames.first_packet = self._packets + 1
        self._packets += frames.count
        if self.writer is not None:
            self.writer.write(frames, self.counters.received, self.counters.dropped_by_kernel)
            self._note_a_full_disk()
        self._keep_packets(frames.data)
        batch, tracker = self._batch, self.tracker
        done = 0
        while done < frames.count:
            batch.clear()
            done = self.decoder.decode(frames, done, batch)
            self._count_flags(batch)
            tracker.feed(batch)
        if tracker.departed.count:
            self._keep_flows(tracker.take())

    def _note_times(self, frames: FrameBatch) -> None:
        import numpy as np

        times = np.frombuffer(frames.ts_ns, dtype=np.int64)[: frames.count]
        first, last = int(times.min()), int(times.max())
        self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
        self.last_ns = last if self.last_ns is None else max(self.last_ns, last)

    def _count_flags(self, batch: SegmentBatch) -> None:
        import numpy as np

        flags = np.frombuffer(batch.flags, dtype=np.uint16)[: batch.count]
        both = np.bincount(flags & (SYN | ACK), minlength=(SYN | ACK) + 1)
        self.syns += int(both[SYN])
        self.synacks += int(both[SYN | ACK])
        self.fins += int(np.count_nonzero(flags & FIN))
        self.rsts += int(np.count_nonzero(flags & RST))

    def _keep_packets(self, data: bytes) -> None:
        self.recent.append(data)
        self._recent_bytes += len(data)
        while self._recent_bytes > self._recent_bound:
            self._recent_bytes -= len(self.recent.popleft())

    def _keep_flows(self, facts: FlowFacts) -> None:
        self.tally.add(matrix(facts))
        self._kept.append(facts)
        self._kept_count += facts.count
        while self._kept_count > self._kept_bound and len(self._kept) > 1:
            oldest = self._kept.popleft()
            self._kept_count -= oldest.count
            self.forgotten += oldest.count

    def _note_a_full_disk(self) -> None:
        stopped = self.writer.stopped if self.writer is not None else None
        if stopped is not None and not self._file_stopped:
            self._file_stopped = True
            self.source.notes.append(stopped)

    def _tick(self) -> None:
        """What happens with time, packets or not."""
        now = time.monotonic()
        if now - self._swept < SWEEP_S:
            return
        self._swept = now
        self.counters = self.source.counters()
        self.tracker.expire(self.source.now_ns() - SILENT_NS)
        if self.tracker.departed.count:
            self._keep_flows(self.tracker.take())

    def _answer(self) -> None:
        while self._questions:
            question, answer = self._questions.popleft()
            try:
                answer.set_result(question(self))
            except BaseException as error:
                answer.set_exception(error)

    def _close(self) -> None:
        try:
            if self.writer is not None:
                self.writer.close(self.counters.received, self.counters.dropped_by_kernel)
                self._note_a_full_disk()
        finally:
            self.source.close()

    # --- inside a question ----------------------------------------------------------------------------------------

    @property
    def packets(self) -> int:
        """Frames read so far."""
        return self._packets

    def now_ns(self) -> int:
        """The capture's clock; the time of the last packet once the capture has ended, as a file of it would have."""
        last = self.last_ns or 0
        return max(self.source.now_ns(), last) if self.running else last

    def flows(self) -> FlowFacts:
        """The flows held, in the first `held` rows, and those kept after their end."""
        facts = self.tracker.snapshot(_give_way)
        self.held = facts.count
        for kept in self._kept:
            facts.extend(kept)
        return facts

    def notes(self) -> list[str]:
        """What has happened to the capture, one sentence each, in that order: the list only grows at its end."""
        return list(self.source.notes)

    def result(self) -> Result:
        """Everything as a finished run gives it."""
        if self.running:
            self.counters = self.source.counters()
        return Result(
            facts=self.flows(),
            capture=self._health(),
            decoded=decoded_by(self.decoder),
            skipped=dict(self.decoder.counts),
            tracker=tracked_by(self.tracker),
            end_ns=max(self.now_ns(), self.tracker.last_ns),
            scopes=list(self.decoder.scopes),
        )

    def _health(self) -> CaptureHealth:
        source, counters = self.source, self.counters
        one = FileHealth(source.interface)
        one.format = "live"
        one.packets = self._packets
        one.first_ns = self.first_ns
        one.last_ns = self.last_ns
        one.snaplen = source.snaplen
        one.linktypes = (source.linktype,)
        one.disordered = source.disordered
        interface = InterfaceHealth(source.interface, source.linktype)
        interface.received = counters.received
        interface.dropped_by_kernel = counters.dropped_by_kernel
        interface.dropped_by_interface = counters.dropped_by_interface
        one.interfaces.append(interface)
        health = CaptureHealth([one])
        health.notes.extend(self.notes())
        if self.forgotten:
            health.notes.append(f"{self.forgotten:,} connections that are over are counted, and no longer listed")
        return health
