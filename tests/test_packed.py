"""Packed rows read like the flat array that they were, and change no answer."""

from __future__ import annotations

import os
import pickle
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import tiny_pcap
from hypothesis import given, settings
from hypothesis import strategies as st
from pcaps_cases import PCAPS

from analyzer.cli import main
from analyzer.findings import counting
from analyzer.flows import facts, packed
from analyzer.flows.facts import INDEX, WIDTH, FlowFacts
from analyzer.flows.table import FlowTable
from analyzer.tcp import tracker

CAPTURES = sorted(str(path) for path in PCAPS.glob("*/*.pcap*"))
MOST = (1 << 64) - 1
COLUMNS = st.sampled_from(
    [
        st.just(0),
        st.just(MOST),
        st.integers(0, 255),
        st.integers(1 << 40, (1 << 40) + 255),
        st.integers(MOST - 70_000, MOST),
        st.sampled_from([0, MOST]),
        st.integers(0, MOST),
        *(st.integers(7, 7 + (1 << 8 * size) - 1) for size in range(1, 8)),
    ]
)


@contextmanager
def changed(module: ModuleType, **constants: int) -> Iterator[None]:
    """Other constants for a while: hypothesis runs a test often in one life of pytest's fixtures."""
    before = {name: getattr(module, name) for name in constants}
    vars(module).update(constants)
    try:
        yield
    finally:
        vars(module).update(before)


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, array[int]]:
    """A width, and flat rows of it."""
    kinds = draw(st.lists(COLUMNS, min_size=1, max_size=5))
    rows = draw(st.lists(st.tuples(*kinds), max_size=40))
    return len(kinds), array("Q", [value for row in rows for value in row])


@settings(deadline=None)
@given(table=tables(), cut=st.integers(0, 40), data=st.data())
def test_packed_rows_read_like_the_flat_array(implementation: Any, table: Any, cut: int, data: st.DataObject) -> None:
    module = implementation.load("analyzer.flows.packed")
    width, flat = table
    rows, rest = module.PackedRows(width), module.PackedRows(width)
    with changed(module, CHUNK_ROWS=7):
        rows.append(flat[: cut * width])
        rest.append(flat[cut * width :])
    rows.extend(rest)
    count = len(flat) // width
    assert len(rows) == len(flat)
    assert list(rows) == list(flat) == [rows[at] for at in range(len(flat))]
    first, last = sorted((data.draw(st.integers(0, count)), data.draw(st.integers(0, count))))
    assert rows[first * width : last * width] == flat[first * width : last * width] == rows.unpacked(first, last)
    for column in range(width):
        assert rows[column::width] == flat[column::width]
        part = slice(first * width + column, last * width, width)
        assert rows[part] == flat[part]
        filled = array("Q", [MOST]) * (width * (last - first))
        rows.fill(filled, first, last, array("I", [column]))
        assert filled[column::width] == flat[part]
        assert width == 1 or filled[(column + 1) % width :: width] == array("Q", [MOST]) * (last - first)
    with pytest.raises(IndexError):
        rows[len(flat)]
    if count:
        column = data.draw(st.integers(0, width - 1))
        values = array("Q", data.draw(st.lists(st.integers(0, MOST), min_size=count, max_size=count)))
        rows[column::width] = flat[column::width] = values
        assert list(rows) == list(flat)


def test_rows_say_what_they_take(implementation: Any) -> None:
    """Of 10,000 rows of one small number and zeros, a byte each, and a few words a column; flat, 8 bytes a number."""
    rows = implementation.load("analyzer.flows.packed").PackedRows(WIDTH)
    flat = array("Q", bytes(8 * WIDTH * 10_000))
    flat[::WIDTH] = array("Q", (row % 200 for row in range(10_000)))
    rows.append(flat)
    assert 10_000 < sys.getsizeof(rows) < 30_000
    found = FlowFacts()
    found.rows = flat
    assert sys.getsizeof(found) > 8 * WIDTH * 10_000 < sys.getsizeof(FlowTable(found, 0))


def test_packed_rows_can_be_sent_to_another_process() -> None:
    flat = array("Q", range(0, 3_000_000, 300))
    rows = packed.PackedRows(10)
    rows.append(flat)
    rows[3::10] = array("Q", [5] * 1_000)
    flat[3::10] = array("Q", [5] * 1_000)
    assert list(pickle.loads(pickle.dumps(rows, protocol=5))) == list(flat)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("is_packed", [True, False])
def test_facts_can_be_sent_in_every_form(is_packed: bool, count: int, protocol: int) -> None:
    sent = facts_of(count)
    sent.late = {7: array("Q", [8, 9])}
    expected = list(sent.rows)
    if is_packed:
        sent.pack()
        sent.settle()
    got = pickle.loads(pickle.dumps(sent, protocol))
    assert (got.count, list(got.rows), got.history, got.late) == (count, expected, sent.history, sent.late)
    got.extend(facts_of(1))  # an array of its own, not somebody's buffer
    assert len(got.rows) == (count + 1) * WIDTH


def test_flat_facts_are_sent_without_a_copy() -> None:
    sent, buffers = facts_of(3), []
    head = pickle.dumps(sent, 5, buffer_callback=buffers.append)
    (buffer,) = buffers
    assert buffer.raw().nbytes == 3 * WIDTH * 8
    there = array("Q", buffer.raw().tobytes())
    got = pickle.loads(head, buffers=[there])
    assert got.rows is there


@pytest.mark.parametrize("kept_flat", [True, False])
@pytest.mark.parametrize("flat_first", [True, False])
def test_facts_are_joined_whatever_their_form(
    flat_first: bool, kept_flat: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "PACKED_FROM", 8 if kept_flat else 7)
    flat, small = facts_of(5), facts_of(3)
    small.pack()
    small.settle()
    one, other = (flat, small) if flat_first else (small, flat)
    expected = [*one.rows, *other.rows]
    one.extend(other)
    assert (one.count, list(one.rows)) == (8, expected)
    assert isinstance(one.rows, array) == kept_flat
    assert one.column("o_port") == array("Q", expected[INDEX["o_port"] :: WIDTH])


def facts_of(count: int) -> FlowFacts:
    made = FlowFacts()
    made.rows = array("Q", range(count * WIDTH))
    made.count = count
    made.history = [b""] * count
    made.icmp_sender = [None] * count
    made.transitions = [b""] * count
    return made


VALUES = st.lists(st.one_of(st.integers(0, 60), st.integers(0, 2_000), st.integers(0, MOST)), max_size=60)


@given(values=VALUES, different=st.booleans())
def test_places_come_in_order_of_their_values(implementation: Any, values: list[int], different: bool) -> None:
    module = implementation.load("analyzer.flows.packed")
    values = list(dict.fromkeys(values)) if different else values
    found = module.in_order(array("Q", values))
    assert list(found) == sorted(range(len(values)), key=values.__getitem__)
    assert list(module.times(found, 101)) == [101 * place for place in found]


@given(kind_of=st.lists(st.integers(0, 3), max_size=30), wanted=st.lists(st.booleans(), min_size=4, max_size=4))
def test_rows_of_wanted_kinds_are_found(implementation: Any, kind_of: list[int], wanted: list[bool]) -> None:
    module = implementation.load("analyzer.flows.packed")
    kinds = module.Kinds(array("I", kind_of), array("Q"), array("Q"))
    assert module.of_kinds(kinds, wanted) == [at for at, kind in enumerate(kind_of) if wanted[kind]]


@given(values=VALUES, sought=VALUES)
def test_values_are_found_among_those_that_ascend(implementation: Any, values: list[int], sought: list[int]) -> None:
    module = implementation.load("analyzer.findings.counting")
    values = sorted(set(values))
    found = module.found_in(array("Q", values), array("Q", sought))
    assert list(found) == [values.index(one) if one in values else -1 for one in sought]


QUESTIONS = (["report", "--json"], ["flows", "--json"], ["states", "--json"], ["states", "--every", "1s", "--json"])


@pytest.mark.parametrize("capture", CAPTURES, ids=os.path.basename)
def test_packing_changes_no_answer(
    capture: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answers() -> list[str]:
        said = []
        for words in QUESTIONS:
            assert main([*words, capture]) == 0
            said.append(capsys.readouterr().out)
        return said

    expected = answers()
    monkeypatch.setattr(tracker, "PACKED_FROM", 0)
    monkeypatch.setattr(packed, "CHUNK_ROWS", 3)
    monkeypatch.setattr(counting, "BLOCK_ROWS", 2)
    assert answers() == expected


def test_a_flood_takes_a_tenth_of_its_flat_rows(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from analyzer.engine import run

    monkeypatch.setattr(tracker, "PACKED_FROM", 0)
    syns = [(at / 1000, tiny_pcap.segment("S", at, port=1024 + at)) for at in range(20_000)]
    found = run([tiny_pcap.write(tmp_path / "flood.pcap", *syns)]).facts
    assert isinstance(found.rows, packed.PackedRows)
    assert found.count == 20_000
    assert len(pickle.dumps(found.rows)) < found.count * WIDTH * 8 / 10


# --- 4-tuples that come again ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    flows=st.lists(st.tuples(*(st.integers(0, 2) for _ in range(7))), max_size=60),
    bits=st.sampled_from([3, 8, 27]),  # few bits: many look alike and are not
    whole=st.booleans(),
)
def test_flows_of_one_4_tuple_are_found_whoever_began(
    implementation: Any, flows: list[tuple[int, ...]], bits: int, whole: bool
) -> None:
    module = implementation.load("analyzer.findings.counting")
    rows = array("Q", bytes(8 * WIDTH * len(flows)))
    names = ("o_hi", "o_lo", "o_port", "r_hi", "r_lo", "r_port", "scope")
    for name, values in zip(names, zip(*flows, strict=True), strict=False):
        rows[INDEX[name] :: WIDTH] = array("Q", values)
    expected: defaultdict[Any, list[int]] = defaultdict(list)
    for place, (o_hi, o_lo, o_port, r_hi, r_lo, r_port, scope) in enumerate(flows):
        expected[frozenset({(o_hi, o_lo, o_port), (r_hi, r_lo, r_port)}), scope].append(place)
    asked: Any = rows
    if not whole:
        asked = packed.PackedRows(WIDTH)
        asked.append(rows)
    with changed(module, _TABLE_BITS=bits):
        found = module.repeated(asked)
    assert sorted(found) == sorted(places for places in expected.values() if len(places) > 1)
