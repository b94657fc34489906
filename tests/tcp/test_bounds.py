"""What an attacker can grow has a bound, and what leaves because of it is counted (DESIGN section 8)."""

from __future__ import annotations

from tcp import script
from tcp.script import Packet

from analyzer.flows import facts as f
from analyzer.flows.facts import FlowFacts
from analyzer.segments import ACK, FIN, SYN, SegmentBatch
from analyzer.tcp import states, timeline
from analyzer.tcp.tracker import MAX_HOLES, MAX_LOG, SNAPSHOT_FLOWS, Tracker

WORLD = script.WORLDS[0]
SECOND_NS = 1_000_000_000


def made(packets: list[Packet]) -> list[dict[str, int]]:
    return script.rows(packets, WORLD, ipv6=False, ports=None)


def fill(tracker: Tracker, rows: list[dict[str, int]]) -> None:
    batch = SegmentBatch(len(rows))
    for row in rows:
        batch.append(**row)
    tracker.feed(batch)


def everything(tracker: Tracker) -> FlowFacts:
    found = tracker.take()
    found.extend(tracker.finish())
    return found


def flood(count: int) -> list[dict[str, int]]:
    """SYNs of as many ports."""
    (row,) = made([Packet(script.EPOCH_NS, "C", "S", SYN)])
    return [{**row, "packet": 10 + port, "sport": 1000 + port, "ts_ns": row["ts_ns"] + port} for port in range(count)]


def established() -> list[dict[str, int]]:
    packets = [
        Packet(script.EPOCH_NS, "C", "S", SYN),
        Packet(script.EPOCH_NS + 1, "S", "C", SYN | ACK, 0, 1),
        Packet(script.EPOCH_NS + 2, "C", "S", ACK, 1, 1),
    ]
    return made(packets)


def test_a_flood_leaves_the_bound_of_live_flows() -> None:
    tracker = Tracker(max_flows=50)
    fill(tracker, flood(1000))
    assert tracker.live <= 50


def test_every_flow_of_a_flood_is_a_row_and_the_evicted_are_counted() -> None:
    tracker = Tracker(max_flows=50)
    fill(tracker, flood(1000))
    assert tracker.evicted_embryonic == 950
    rows = everything(tracker)
    assert rows.count == 1000
    assert sum(bool(bits & f.EVICTED) for bits in rows.column("bits")) == 950
    assert sorted(rows.column("number")) == list(range(1000))


def test_a_flood_pushes_out_embryonic_flows_before_established_ones() -> None:
    tracker = Tracker(max_flows=50)
    fill(tracker, established())
    fill(tracker, flood(1000))
    rows = everything(tracker)
    (oldest,) = (rows.row(at) for at in range(rows.count) if rows.value(at, "number") == 0)
    assert oldest["o_state"] == states.ESTABLISHED
    assert not oldest["bits"] & f.EVICTED
    assert tracker.evicted_other == 0


def test_established_flows_leave_only_where_nothing_else_is_left() -> None:
    tracker = Tracker(max_flows=3)
    for shift in range(5):
        fill(tracker, [{**row, "sport": row["sport"] ^ shift, "dport": row["dport"] ^ shift} for row in established()])
    assert tracker.live <= 3
    assert tracker.evicted_other + tracker.evicted_embryonic == 2
    assert everything(tracker).count == 5


def test_finished_flows_leave_in_batches_and_nothing_is_lost() -> None:
    tracker = Tracker(finished_kept=5)
    (reset,) = made([Packet(script.EPOCH_NS + 9, "S", "C", ACK | 0x04, 0, 1)])
    for row in flood(100):
        fill(tracker, [row, {**reset, "packet": row["packet"], "dport": row["sport"]}])
    assert tracker.live <= 5
    assert tracker.departed.count >= 95
    rows = everything(tracker)
    assert rows.count == 100
    assert not any(bits & f.EVICTED for bits in rows.column("bits"))


def test_a_syn_repeated_for_ever_has_a_bounded_log_and_exact_counters() -> None:
    packets = [Packet(script.EPOCH_NS + n * SECOND_NS, "C", "S", SYN) for n in range(10 * MAX_LOG)]
    rows = script.track(made(packets))
    assert len(timeline.unpack(rows.transitions[0])) <= 2 * MAX_LOG
    assert rows.value(0, "o_syns") == len(packets)
    assert rows.value(0, "o_syn_retransmissions") == len(packets) - 1
    assert rows.value(0, "o_refresh_ns") == packets[-1].at_ns


def test_a_flow_that_changes_state_for_ever_has_a_bounded_log() -> None:
    """SYN+ACK and ACK in turn: each contradicts the other."""
    packets = [Packet(script.EPOCH_NS, "C", "S", SYN)]
    for n in range(10 * MAX_LOG):
        at_ns = script.EPOCH_NS + (n + 1) * SECOND_NS
        packets.append(Packet(at_ns, "S", "C", SYN | ACK, 0, 1))
        packets.append(Packet(at_ns + SECOND_NS // 50, "C", "S", ACK, 1, 1))
    rows = script.track(made(packets))
    assert len(timeline.unpack(rows.transitions[0])) <= 2 * MAX_LOG
    assert rows.value(0, "r_synacks") == 10 * MAX_LOG


def test_more_holes_than_are_remembered_count_as_missing() -> None:
    """Every other segment is not there; what is forgotten is not called filled."""
    holes = 3 * MAX_HOLES
    packets = [Packet(script.EPOCH_NS + n, "C", "S", ACK, 1 + 20 * n, 1, 10) for n in range(holes + 1)]
    packets.append(Packet(script.EPOCH_NS + SECOND_NS, "S", "C", ACK, 1, 1 + 20 * holes + 10))
    rows = script.track(made(packets))
    assert rows.value(0, "o_missing") == holes


def test_a_fin_after_a_full_log_is_still_in_the_state() -> None:
    packets = [Packet(script.EPOCH_NS + n * SECOND_NS, "C", "S", SYN) for n in range(10 * MAX_LOG)]
    at_ns = packets[-1].at_ns
    packets.append(Packet(at_ns + 1, "S", "C", SYN | ACK, 0, 1))
    packets.append(Packet(at_ns + 2, "C", "S", ACK | FIN, 1, 1))
    rows = script.track(made(packets))
    assert rows.value(0, "o_state") == states.FIN_WAIT_1
    course = timeline.course(timeline.unpack(rows.transitions[0]), timeline.ORIGINATOR)
    assert course[-1].state == states.FIN_WAIT_1


def as_rows(facts: FlowFacts) -> list[tuple[dict[str, int], bytes, bytes]]:
    return sorted(
        ((facts.row(at), facts.history[at], facts.transitions[at]) for at in range(facts.count)),
        key=lambda row: row[0]["number"],
    )


def test_a_snapshot_is_what_finishing_would_give_and_changes_nothing() -> None:
    """Also of a flow whose first captured segment was the responder's: its log is turned round when it is written."""
    late = [{**row, "sport": row["sport"] ^ 8, "dport": row["dport"] ^ 8} for row in established()[1:]]
    for row in late:
        row["packet"] += 1000
    tracker = Tracker(keep_transitions=True)
    fill(tracker, established() + late + flood(20))
    first = as_rows(tracker.snapshot())
    assert len(first) == 22
    assert as_rows(tracker.snapshot()) == first
    assert as_rows(everything(tracker)) == first


def test_a_snapshot_of_many_pauses_now_and_then_and_leaves_none_out() -> None:
    tracker = Tracker(keep_transitions=True)
    fill(tracker, flood(3 * SNAPSHOT_FLOWS + 5))
    pauses: list[None] = []
    facts = tracker.snapshot(lambda: pauses.append(None))
    assert sorted(facts.row(at)["number"] for at in range(facts.count)) == list(range(3 * SNAPSHOT_FLOWS + 5))
    assert len(pauses) == 3
    assert not tracker.departed.count


def test_silence_ends_the_embryonic_and_the_finished_but_not_the_established() -> None:
    rows = established()
    tracker = Tracker()
    fill(tracker, rows + flood(20))
    tracker.expire(script.EPOCH_NS)  # nothing is that old
    assert tracker.live == 21
    tracker.expire(script.EPOCH_NS + 10 * SECOND_NS)
    assert tracker.live == 1
    assert {row["o_state"] for row, _, _ in as_rows(tracker.take())} == {states.SYN_SENT}
    assert tracker.finish().value(0, "o_state") == states.ESTABLISHED
