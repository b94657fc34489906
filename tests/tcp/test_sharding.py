"""Trackers that are fed whole shards find together what one tracker finds."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
from conftest import Implementation

from analyzer.flows.facts import WIDTH, FlowFacts
from analyzer.segments import ACK, FIN, ICMP_ERROR, RST, SYN, SegmentBatch
from analyzer.tcp.sharding import SHARDS, number_flows, shard_of, shards_of

MAPPED = 0xFFFF << 32
#: the least that is shared out among the shards, so that a thousand flows overflow it
FINISHED_KEPT = 16 * SHARDS
ENDS = ("src_hi", "src_lo", "sport", "dst_hi", "dst_lo", "dport")


def connection(rng: random.Random, client: int, port: int) -> list[dict[str, int]]:
    """A few segments between `client` and one server: opened, or not; closed, reset, or left."""
    server, isn = MAPPED | 0xC0A80001, rng.getrandbits(32)
    there = {"src_lo": MAPPED | client, "sport": port, "dst_lo": server, "dport": 443}
    back = {"src_lo": server, "sport": 443, "dst_lo": MAPPED | client, "dport": port}
    course = [
        {**there, "flags": SYN, "seq": isn},
        {**back, "flags": SYN | ACK, "seq": 7, "ack": isn + 1},
        {**there, "flags": ACK, "seq": isn + 1, "ack": 8},
        {**there, "flags": ACK | FIN, "seq": isn + 1, "ack": 8},
        {**back, "flags": ACK | FIN, "seq": 8, "ack": isn + 2},
        {**there, "flags": ACK, "seq": isn + 2, "ack": 9},
    ]
    if rng.random() < 0.3:
        course[3:] = [{**back, "flags": RST | ACK, "seq": 8, "ack": isn + 1}]
    if rng.random() < 0.1:  # an ICMP error tells of it first, or alone
        course = [{**course[0], "kind": ICMP_ERROR, "options": 3 << 8 | 1}, *course]
    return [{**row, "seq": row["seq"] & 0xFFFFFFFF} for row in course[: rng.choice((1, 2, 3, 6, 6, 6, 6))]]


def traffic() -> list[dict[str, int]]:
    """4-tuples used again soon and late, late segments of what is over, ICMP errors about what is yet to come."""
    rng = random.Random(8)
    ends = [(0x0A000000 | rng.randrange(40), 1024 + rng.randrange(100)) for _ in range(3000)]
    courses = [connection(rng, *end) for end in ends]
    rows = [row for course in courses for row in (*course, *rng.choice(courses)[-1:])]
    return [{**row, "packet": number, "ts_ns": 10**18 + number * 10**6} for number, row in enumerate(rows, start=1)]


def tracked(tracker: Any, rows: list[dict[str, int]]) -> FlowFacts:
    batch = SegmentBatch(len(rows))
    for row in rows:
        batch.append(**row)
    tracker.feed(batch)
    facts: FlowFacts = tracker.take()
    facts.extend(tracker.finish())
    return facts


def in_order(facts: FlowFacts) -> list[tuple[object, ...]]:
    return sorted(
        (*facts.rows[row * WIDTH : (row + 1) * WIDTH], facts.history[row], facts.transitions[row])
        for row in range(facts.count)
    )


@pytest.mark.parametrize("together", [1, 4, SHARDS])
def test_shards_tracked_apart_give_the_flows_and_numbers_of_one_tracker(
    implementation: Implementation, together: int
) -> None:
    made = implementation.load("analyzer.tcp.tracker").Tracker
    rows = traffic()
    whole = made(keep_transitions=True, finished_kept=FINISHED_KEPT)
    expected = tracked(whole, rows)
    assert len(whole.streams), "no stream of Wireshark's that is no flow: the test would not see them"
    apart = FlowFacts()
    streams: list[int] = []
    for part in range(together):
        mine = [row for row in rows if shard_of(*(row.get(name, 0) for name in ENDS)) * together // SHARDS == part]
        tracker = made(keep_transitions=True, finished_kept=FINISHED_KEPT)
        apart.extend(tracked(tracker, mine))
        streams.extend(tracker.streams)
    number_flows(apart, streams)
    assert in_order(apart) == in_order(expected)


def test_the_hash_is_symmetric_and_the_same_for_columns() -> None:
    rng = random.Random(1)
    rows = [tuple(rng.getrandbits(bits) for bits in (64, 64, 16, 64, 64, 16)) for _ in range(200)]
    columns = [numpy.array(column, dtype=numpy.uint64) for column in zip(*rows, strict=True)]
    one_by_one = [shard_of(*row) for row in rows]
    assert shards_of(*columns).tolist() == one_by_one
    assert [shard_of(*row[3:], *row[:3]) for row in rows] == one_by_one
    assert len(set(one_by_one)) > SHARDS // 2
