"""Which shard a 4-tuple belongs to, and one numbering for flows tracked in shards.

Owns the symmetric hash, for one 4-tuple and for columns of them, and the order of flow numbers. Both directions of a
flow, all its incarnations, its scopes and the ICMP errors that quote it are in one shard, so that a tracker that is fed
whole shards lacks nothing. Knows nothing of how shards are stored or sent.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analyzer.flows.facts import INDEX, WIDTH, FlowFacts
from analyzer.segments import K_ALL, K_HI, K_LO, K_PORT, SHARDS
from analyzer.segments import SHARD_SHIFT as SHIFT

if TYPE_CHECKING:
    import numpy

    Numbers = numpy.typing.NDArray[numpy.uint64]

__all__ = ["SHARDS", "number_flows", "shard_of", "shards_of"]

#: flows that are numbered without numpy
FEW = 100_000

_M64 = 0xFFFF_FFFF_FFFF_FFFF


def shard_of(a_hi: int, a_lo: int, a_port: int, b_hi: int, b_lo: int, b_port: int) -> int:
    """The shard of a 4-tuple, 0 to SHARDS − 1, whichever end comes first."""
    return ((((_end(a_hi, a_lo, a_port) + _end(b_hi, b_lo, b_port)) & _M64) * K_ALL) & _M64) >> SHIFT


def _end(hi: int, lo: int, port: int) -> int:
    mixed = ((((hi * K_HI) & _M64) ^ lo) * K_LO + port * K_PORT) & _M64
    return mixed ^ (mixed >> 32)


def shards_of(a_hi: Numbers, a_lo: Numbers, a_port: Numbers, b_hi: Numbers, b_lo: Numbers, b_port: Numbers) -> Numbers:
    """`shard_of` of columns: numpy arrays of unsigned integers of one length."""
    import numpy

    def end(hi: Numbers, lo: Numbers, port: Numbers) -> Numbers:
        mixed = hi * numpy.uint64(K_HI)
        mixed ^= lo
        mixed *= numpy.uint64(K_LO)
        mixed += port.astype(numpy.uint64) * numpy.uint64(K_PORT)
        mixed ^= mixed >> numpy.uint64(32)
        return mixed

    both = end(a_hi, a_lo, a_port)
    both += end(b_hi, b_lo, b_port)
    both *= numpy.uint64(K_ALL)
    both >>= numpy.uint64(SHIFT)
    return both


def number_flows(facts: FlowFacts, streams: Sequence[int] | array[int]) -> None:
    """Number the flows of all shards as one tracker would: by the packet that opened each in Wireshark's eyes, counting
    the packets `streams` too."""
    if facts.count <= FEW:  # importing numpy takes longer
        opened = facts.column("opened_packet")
        events = sorted((*opened, *streams))
        first = dict(zip(reversed(events), range(len(events) - 1, -1, -1), strict=True))
        facts.rows[INDEX["number"] :: WIDTH] = array("Q", map(first.__getitem__, opened))
        return
    import numpy

    places = numpy.frombuffer(facts.column("opened_packet"), dtype=numpy.uint64)
    all_places = numpy.concatenate([places, numpy.asarray(streams, dtype=numpy.uint64)])
    all_places.sort()
    numbers = numpy.searchsorted(all_places, places).astype(numpy.uint64)
    facts.rows[INDEX["number"] :: WIDTH] = array("Q", numbers.tobytes())
