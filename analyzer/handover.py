"""Segments that one process decodes and another tracks: batches in memory that belongs to both.

Owns that memory, what the two say about it through pipes, and who waits for whom. Knows nothing of what they do, nor
how they start and end: where one has gone, the other sees an end, and why is for their owner to find out.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import starmap
from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING

from analyzer.segments import SegmentBatch

if TYPE_CHECKING:
    from analyzer.capture.opening import Progress

#: so many that the decoder can go on while the tracker is busy with one, so few that they stay in a processor's cache
BATCHES = 8
#: of so many calls of `Giver.read` without a batch in between one is passed on
SELDOM = 16

#: segments of the batch (or one of the next two), how many of them are ICMP errors, stored bytes read by then, and in
#: all (or _UNKNOWN)
_SAID = Struct("<iIqq")
_NO_BATCH = -1  # only how much has been read
_END = -2  # there will be no more. Not what ends the pipe: another process may have been forked that holds it open
#: an ICMP error's place in the batch, and who sent it
_SENDER = Struct("<I16s")
_UNKNOWN = -1


class Handover:
    """The memory and the pipes, made before a process is forked. Raises OSError where there are none to be had.

    One process calls `giver`, the other one `taker`; `close` gives back the ends of pipes that a process still has.
    """

    def __init__(self, capacity: int) -> None:
        """`capacity`: rows of a batch."""
        size = SegmentBatch.size_of(capacity)
        memory = memoryview(mmap.mmap(-1, BATCHES * size))
        self._batches = [
            SegmentBatch(capacity, memory[number * size : (number + 1) * size]) for number in range(BATCHES)
        ]
        self._said = os.pipe()
        try:
            self._taken = os.pipe()
        except OSError:
            _close(*self._said)
            raise
        self._open = {*self._said, *self._taken}

    def giver(self) -> Giver:
        """What this process gives batches with."""
        self._keep(self._taken[0], self._said[1])
        return Giver(self._batches, self._taken[0], self._said[1])

    def taker(self, progress: Progress | None = None) -> Iterator[SegmentBatch]:
        """The batches given, until there are no more or the giver has gone; `progress` is told what that has read."""
        self._keep(self._said[0], self._taken[1])
        return _taken(self._batches, self._said[0], self._taken[1], progress)

    def close(self) -> None:
        """The other side, if it waits, sees that this one has gone."""
        self._keep()

    def _keep(self, *wanted: int) -> None:
        _close(*self._open.difference(wanted))
        self._open.intersection_update(wanted)


class Giver:
    """Gives batches, one after the other, each filled where `room` said."""

    def __init__(self, batches: list[SegmentBatch], taken: int, said: int) -> None:
        self._batches = batches
        self._taken = taken
        self._said = said
        self._given = 0
        self._waiting = 0
        self._done = 0
        self._total: int | None = None
        self._untold = 0  # calls of `read` since the taker was last told

    def read(self, done: int, total: int | None) -> None:
        """So many stored bytes have been read, of so many in all (None: unknown). Raises OSError as `give` does."""
        self._done = done
        self._total = total
        self._untold += 1
        if self._untold == SELDOM:
            self._say(_NO_BATCH)

    def room(self) -> SegmentBatch:
        """The next batch to fill, empty; waits until the taker has done with it. Raises OSError where that has gone."""
        if self._waiting == BATCHES:
            done = os.read(self._taken, BATCHES)
            if not done:
                raise BrokenPipeError
            self._waiting -= len(done)
        batch = self._batches[self._given % BATCHES]
        batch.clear()
        return batch

    def give(self) -> None:
        """Give that batch. Raises OSError where the taker has gone."""
        batch = self._batches[self._given % BATCHES]
        self._say(batch.count, batch.icmp_sender)
        self._given += 1
        self._waiting += 1

    def end(self) -> None:
        """There are no more. The taker may have gone."""
        with suppress(BrokenPipeError):
            self._say(_END)

    def _say(self, count: int, senders: Mapping[int, bytes] = MappingProxyType({})) -> None:
        known = _UNKNOWN if self._total is None else self._total
        said = [_SAID.pack(count, len(senders), self._done, known), *starmap(_SENDER.pack, senders.items())]
        rest = memoryview(b"".join(said))
        while rest:
            rest = rest[os.write(self._said, rest) :]
        self._untold = 0


def _taken(batches: list[SegmentBatch], said: int, taken: int, progress: Progress | None) -> Iterator[SegmentBatch]:
    number = 0
    with open(said, "rb", closefd=False) as pipe:
        while len(header := pipe.read(_SAID.size)) == _SAID.size:  # less: the giver has died
            count, errors, done, known = _SAID.unpack(header)
            if progress is not None:
                progress(done, None if known == _UNKNOWN else known)
            if count == _END:
                return
            if count == _NO_BATCH:
                continue
            senders = pipe.read(errors * _SENDER.size)
            if len(senders) < errors * _SENDER.size:
                return
            batch = batches[number % BATCHES]
            batch.count = count
            batch.icmp_sender = dict(_SENDER.iter_unpack(senders))
            yield batch
            number += 1
            with suppress(BrokenPipeError):  # a giver that has given all does not wait until it is taken
                os.write(taken, b"\0")


def _close(*ends: int) -> None:
    for end in ends:
        os.close(end)
