"""Segments that one process decodes and another tracks: batches in memory that belongs to both.

Owns that memory, what the two say about it through pipes, and who waits for whom. Knows nothing of what they do, nor
how they start and end: where one has gone, the other sees an end, and why is for their owner to find out.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from struct import Struct

from analyzer.segments import SegmentBatch

#: so many that the decoder can go on while the tracker is busy with one, so few that they stay in a processor's cache
BATCHES = 8

#: segments of the batch, how many of them are ICMP errors, stored bytes read by then and in all (or _UNKNOWN)
_SAID = Struct("<IIqq")
#: an ICMP error's place in the batch, and who sent it
_SENDER = Struct("<I16s")
_UNKNOWN = -1


class Handover:
    """The memory and the pipes, made before a process is forked. Raises OSError where there are none to be had.

    One process calls `giver`, the other one `taker`; `close` gives back the pipes that a process still has.
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

    def taker(self) -> Iterator[tuple[SegmentBatch, int, int | None]]:
        """The batches given, each with the stored bytes read by then and in all (None: unknown)."""
        self._keep(self._said[0], self._taken[1])
        return _taken(self._batches, self._said[0], self._taken[1])

    def close(self) -> None:
        """The other side sees an end."""
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

    def give(self, done: int, total: int | None) -> None:
        """Give that batch, with the stored bytes read by now and in all (None: unknown). Raises as `room` does."""
        batch = self._batches[self._given % BATCHES]
        senders = b"".join(_SENDER.pack(*sender) for sender in batch.icmp_sender.items())
        known = _UNKNOWN if total is None else total
        rest = memoryview(_SAID.pack(batch.count, len(batch.icmp_sender), done, known) + senders)
        while rest:
            rest = rest[os.write(self._said, rest) :]
        self._given += 1
        self._waiting += 1


def _taken(batches: list[SegmentBatch], said: int, taken: int) -> Iterator[tuple[SegmentBatch, int, int | None]]:
    number = 0
    with open(said, "rb", closefd=False) as pipe:
        while len(header := pipe.read(_SAID.size)) == _SAID.size:
            count, errors, done, known = _SAID.unpack(header)
            senders = pipe.read(errors * _SENDER.size)
            if len(senders) < errors * _SENDER.size:
                return  # the giver ended in the middle
            batch = batches[number % BATCHES]
            batch.count = count
            batch.icmp_sender = dict(_SENDER.iter_unpack(senders))
            yield batch, done, None if known == _UNKNOWN else known
            number += 1
            try:
                os.write(taken, b"\0")
            except BrokenPipeError:  # a giver that has given all does not wait until it is taken
                pass


def _close(*ends: int) -> None:
    for end in ends:
        os.close(end)
