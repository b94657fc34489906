"""The counts and lists of a report say what the columns say, flow by flow."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from pcaps_cases import PCAPS

import analyzer
from analyzer.flows import columns, rendering, verdict
from analyzer.report import jsontext


@pytest.fixture(
    scope="module", params=sorted(path.name for path in PCAPS.iterdir() if (path / "expected.json").exists())
)
def analysis(request):
    return analyzer.read(next((PCAPS / request.param).glob("*.pcap*")))


def test_counts_are_those_of_the_columns(analysis):
    for word in ("handshake", "close"):
        get = columns.BY_NAME[word].get
        assert getattr(analysis.lists, word) == Counter(get(analysis.table, row) for row in analysis.rows)


def test_lists_are_those_of_the_columns(analysis):
    flows = analysis.flows
    for name, where in (
        ("incomplete_handshakes", flows["handshake"].isin(verdict.INCOMPLETE)),
        ("half_closed", flows["close"] == "half_closed"),
        ("synack_retransmissions", flows["synack_retransmissions"] > 0),
    ):
        assert list(getattr(analysis, name).index) == list(flows.index[where])


@pytest.mark.parametrize("names", [columns.NAMES, ("close",), ("flow",), ("history", "close", "flow"), ()], ids=len)
def test_many_records_are_those_of_each_flow(analysis, names, monkeypatch):
    monkeypatch.setattr(rendering, "MAX_KINDS", 3)  # so that what is remembered is forgotten, too
    monkeypatch.setattr(rendering, "BLOCK_ROWS", 5)
    alone = [columns.record(analysis.table, row, names) for row in analysis.rows]
    together = list(rendering.records(analysis.table, analysis.rows, names))
    assert together == alone
    assert [list(one) for one in together] == [list(one) for one in alone]


@pytest.mark.parametrize("names", [columns.NAMES, ("close",), ("flow",), ("history", "close", "flow"), ()], ids=len)
def test_json_text_is_that_of_the_records(analysis, names):
    rows = list(reversed(analysis.rows))
    records = [columns.record(analysis.table, row, names) for row in rows]
    assert list(jsontext.objects(analysis.table, rows, names)) == list(map(json.dumps, records))
    told = [json.dumps(record | {"why": f'"{row}"'}) for record, row in zip(records, rows, strict=True)]
    assert list(jsontext.objects(analysis.table, rows, names, why='"{}"'.format)) == told


def test_frames_hold_what_the_records_hold(analysis):
    import pandas

    flows = analysis.flows.reset_index()
    for row in list(analysis.rows)[:20]:
        for name, value in columns.record(analysis.table, row).items():
            found = flows[name].iloc[row]
            if value is None:
                assert pandas.isna(found)
            elif columns.BY_NAME[name].kind in ("time", "span"):
                assert found.value == value
            else:
                assert found == value
