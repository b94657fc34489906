"""What an attacker chooses must not cost more than what chance brings: keys that collide, and one 4-tuple for ever.

Processor times are compared with each other, never with a number of seconds.
"""

from __future__ import annotations

import io
import random
import struct
import time
from collections.abc import Callable, Iterable

import pytest
import tiny_pcap

from analyzer.analysis import Analysis
from analyzer.engine import Options, run
from analyzer.sockets import sockets_at

M = 1 << 64
#: of CPython's hash of a tuple (Objects/tupleobject.c, after xxHash), and the modulus of that of an int
P1, P2, P5, INT = 11400714785074694791, 14029467366897019727, 2870177450012600261, (1 << 61) - 1
NET = 0x20010DB8 << 32  # 2001:db8::/64 and up
Pairs = list[tuple[int, int]]


def chance(count: int) -> Pairs:
    """Halves of IPv6 addresses."""
    dice = random.Random(1)
    return [(NET | dice.getrandbits(32), dice.getrandbits(61)) for _ in range(count)]


def colliding(count: int) -> Pairs:
    """The same, all with one hash as tuples: the last step of the hash is solved for the lower half."""
    dice = random.Random(2)
    wanted = _turned(0x123456789ABCDEF1 * pow(P1, -1, M) % M, 33)
    found: Pairs = []
    while len(found) < count:
        high = NET | dice.getrandbits(32)
        after = _turned((P5 + high % INT * P2) % M, 31) * P1 % M
        low = (wanted - after) * pow(P2, -1, M) % M
        if low < INT:
            found.append((high, low))
    if len(set(map(hash, found))) > 1:
        pytest.skip("this Python hashes tuples in another way")
    return found


def _turned(value: int, by: int) -> int:
    """Rotated to the left in 64 bits."""
    return (value << by | value >> 64 - by) % M


def ipv6_syns(sources: Pairs) -> bytes:
    """A SYN of each, two milliseconds apart."""
    frames = []
    for number, (high, low) in enumerate(sources):
        tcp = struct.pack("!HHIIBBHHH", 40_000, 80, 7 * number + 1, 0, 5 << 4, 2, 1000, 0, 0)
        ip = struct.pack("!IHBBQQQQ", 6 << 28, len(tcp), 6, 64, high, low, NET, 1)
        frames.append((number / 500, bytes(12) + b"\x86\xdd" + ip + tcp))
    return tiny_pcap.pcap(*frames)


def incarnations(count: int) -> bytes:
    """One 4-tuple: SYN, SYN+ACK and RST, again and again with other numbers."""
    frames = []
    for number in range(count):
        isn, answer = number * 7919 * 1009 % 2**32, number * 104_729 % 2**32
        steps = [tiny_pcap.segment("S", isn), tiny_pcap.segment("S.", answer, (isn + 1) % 2**32, answer=True)]
        steps.append(tiny_pcap.segment("R", (isn + 1) % 2**32))
        frames += [(number / 500 + place / 10_000, frame) for place, frame in enumerate(steps)]
    return tiny_pcap.pcap(*frames)


def analyzed(data: bytes) -> None:
    """Everything that is asked of a capture."""
    analysis = Analysis(run([io.BytesIO(data)], Options(keep_transitions=True)))
    analysis.report()
    sockets_at(analysis.table, analysis.table.end_ns)
    list(analysis.timeline("1s").index)


def cost(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    began = time.process_time()
    work()
    return time.process_time() - began


def costs_less(one: Callable[[], object], times: float, other: Callable[[], object]) -> bool:
    """Whether `one` costs less than so many times `other`; a pair that something else has slowed down is repeated."""
    return any(cost(one) < times * cost(other) for _ in range(3))


def test_addresses_chosen_to_collide_cost_what_others_cost() -> None:
    """Where numbers are keys of dicts, 4,000 take ten times as long, 20,000 fifty times."""
    one, other = ipv6_syns(chance(4000)), ipv6_syns(colliding(4000))
    analyzed(tiny_pcap.pcap())  # imports
    assert costs_less(lambda: analyzed(other), 3, lambda: analyzed(one))


def test_fragments_whose_addresses_collide_cost_what_others_cost() -> None:
    def fragments(sources: Iterable[tuple[int, int]]) -> bytes:
        frames = []
        for number, (high, low) in enumerate(sources):
            piece = struct.pack("!BBHI", 6, 0, 1, 9) + bytes(8)
            ip = struct.pack("!IHBBQQQQ", 6 << 28, len(piece), 44, 64, high, low, NET, 1)
            frames.append((number / 500, bytes(12) + b"\x86\xdd" + ip + piece))
        return tiny_pcap.pcap(*frames)

    one, other = fragments(chance(8000)), fragments(colliding(8000))
    assert costs_less(lambda: run([io.BytesIO(other)]), 3, lambda: run([io.BytesIO(one)]))


def test_incarnations_of_one_4_tuple_cost_the_same_each() -> None:
    few, many = incarnations(1000), incarnations(8000)
    analyzed(tiny_pcap.pcap())
    assert costs_less(lambda: analyzed(many), 3 * 8, lambda: analyzed(few))
