"""What a tracker holds goes through text and comes back whole, compiled or not, and nothing hostile gets in with it."""

from __future__ import annotations

import hashlib
import json
import random
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pure
import pytest
from conftest import Implementation
from pcaps_cases import PCAPS

from analyzer.capture import open_capture
from analyzer.flows.facts import FACTS, FlowFacts
from analyzer.segments import SegmentBatch
from analyzer.tcp import saved
from analyzer.tcp.tracker import Tracker
from analyzer.wire.decode import Decoder

TRACKER = "analyzer.tcp.tracker"
CAPTURES = sorted(PCAPS.glob("*/*.pcap*"))


def batches(path: Path, size: int = 7) -> Iterator[SegmentBatch]:
    decoder, batch = Decoder(), SegmentBatch(size)
    with open_capture([path]) as capture:
        for frames in capture:
            done = 0
            while done < frames.count:
                batch.clear()
                done = decoder.decode(frames, done, batch)
                yield batch


def filled(path: Path) -> Any:
    tracker = Tracker()
    for batch in batches(path):
        tracker.feed(batch)
    tracker.take()
    return tracker


def all_of(facts: FlowFacts) -> tuple[Any, ...]:
    return tuple(getattr(facts, name) for name in FlowFacts.__slots__)


@pytest.mark.parametrize("bounds", [{}, {"finished_kept": 2, "max_flows": 9}], ids=["roomy", "tight"])
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_a_tracker_made_anew_again_and_again_finds_the_same(
    capture: Path, bounds: dict[str, int], implementation: Implementation
) -> None:
    made = implementation.load(TRACKER).Tracker
    rng = random.Random(capture.name)
    whole, cut = made(keep_transitions=True, **bounds), made(keep_transitions=True, **bounds)
    expected, found = FlowFacts(), FlowFacts()
    for batch in batches(capture):
        whole.feed(batch)
        cut.feed(batch)
        if rng.random() < 0.1:
            found.extend(cut.take())
            lines = list(saved.tracker_lines(cut))
            cut = made(keep_transitions=True, **bounds)
            saved.fill_tracker(cut, lines)
            assert list(saved.tracker_lines(cut)) == lines
    for tracker, facts in ((whole, expected), (cut, found)):
        facts.extend(tracker.take())
        facts.extend(tracker.finish())
    assert all_of(found) == all_of(expected)


def test_compiled_and_not_read_each_other(compiled_and_pure: tuple[Implementation, Implementation]) -> None:
    compiled, uncompiled = (each.load(TRACKER).Tracker for each in compiled_and_pure)
    for source, target in ((compiled, uncompiled), (uncompiled, compiled)):
        one, other = source(), target()
        for batch in batches(PCAPS / "incident" / "incident.pcap"):
            one.feed(batch)
        lines = list(saved.tracker_lines(one))
        saved.fill_tracker(other, lines)
        assert list(saved.tracker_lines(other)) == lines
        assert all_of(other.finish()) == all_of(one.finish())


def test_a_change_of_what_is_saved_asks_for_another_layout() -> None:
    """Where this fails, raise `saved.LAYOUT` and put the new digest here: older files must be refused."""
    tracker = pure.load(TRACKER)
    kinds = tracker.Flow, tracker.FlowExtras, tracker.End, tracker.EndExtras
    fields = [sorted(kind.__annotations__.items()) for kind in kinds]
    digest = hashlib.sha256(json.dumps([fields, FACTS, sorted(tracker.Tracker().export())]).encode()).hexdigest()[:12]
    assert (saved.LAYOUT, digest) == (2, "0879e0575210")


def test_facts_come_back() -> None:
    facts = filled(PCAPS / "incident" / "incident.pcap").finish()
    facts.late[facts.value(2, "first_packet")] = facts.foreign[facts.value(4, "first_packet")] = array("Q", (7, 9))
    rows = range(0, facts.count, 2)
    assert all_of(saved.facts_of(saved.facts_lines(facts, rows))) == all_of(facts.chosen(rows))


def numbers_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        if isinstance(child, (dict, list)):
            yield from numbers_in(child, (*path, key))
        else:
            yield (*path, key)


@pytest.mark.parametrize("hostile", [255, -1, 1 << 70, None, "a", 1.5, [3]], ids=str)
def test_no_value_from_outside_leads_the_tracker_astray(hostile: Any, implementation: Implementation) -> None:
    """Each is refused, or tracked on with; none ends the process."""
    made = implementation.load(TRACKER).Tracker
    lines = list(saved.tracker_lines(filled(PCAPS / "port_reuse" / "port_reuse.pcap")))[:6]
    held = json.loads(lines[0])
    for name in ("embryonic", "lasting", "finished"):
        held[name] = [place for place in held[name] if place < 5]
    lines[0] = json.dumps(held)
    again = list(batches(PCAPS / "port_reuse" / "port_reuse.pcap", 64))
    refused = went_on = 0
    for line in range(len(lines)):
        for path in numbers_in(json.loads(lines[line])):
            value = json.loads(lines[line])
            inner = value
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = hostile
            tracker = made()
            try:
                saved.fill_tracker(tracker, [*lines[:line], json.dumps(value), *lines[line + 1 :]])
            except saved.FAILURES:
                refused += 1
                continue
            for batch in again[:3]:
                try:
                    tracker.feed(batch)
                except saved.FAILURES:  # uncompiled, a number may be too large for what is made of it
                    assert implementation.name == "pure"
                    break
            went_on += 1
    assert refused > 10, went_on
