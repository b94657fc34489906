"""`handshake flows`: its formats, and which flows it shows."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
import tiny_pcap

from analyzer.cli import main
from analyzer.flows.columns import COLUMNS, NAMES
from analyzer.report.csv import harmless


@pytest.fixture
def capture(tmp_path):
    return tiny_pcap.write(
        tmp_path / "a.pcap",
        *sorted([*tiny_pcap.graceful(), *tiny_pcap.half_open(start=1.0), *tiny_pcap.graceful(port=42_000, start=9)]),
    )


def flows(capsys, *words: str) -> list[dict]:
    assert main(["flows", *words, "--format", "jsonl"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_lines_have_every_column_in_order(capture, capsys):
    rows = flows(capsys, capture)
    assert [row["flow"] for row in rows] == [0, 1, 2]
    assert all(tuple(row) == NAMES for row in rows)


def test_json_lines_hold_plain_values(capture, capsys):
    first, second, _ = flows(capsys, capture)
    assert first["first_ns"] == tiny_pcap.START_NS
    assert first["last_ns"] - first["first_ns"] == 70_000_000
    assert (first["handshake"], first["close"], first["closed_by"]) == ("complete", "graceful", "originator")
    assert (second["handshake"], second["synack_count"], second["synack_retransmissions"]) == ("half_open", 3, 2)
    assert second["originator_rtt_ns"] is None


def test_json_is_json_lines(capture, capsys):
    main(["flows", capture, "--json"])
    short = capsys.readouterr().out
    main(["flows", capture, "--format", "jsonl"])
    assert capsys.readouterr().out == short


def test_csv_is_what_a_csv_reader_reads(capture, capsys):
    main(["flows", capture, "--format", "csv"])
    text = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert text.count("\r\n") == 4
    assert tuple(rows[0]) == NAMES
    assert rows[1]["handshake"] == "half_open"
    assert rows[1]["originator_rtt_ns"] == ""


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_csv_text_is_never_a_formula(text):
    assert harmless(text) == "'" + text


def test_zeek_log_has_zeeks_header_and_fields(capture, capsys):
    main(["flows", capture, "--format", "zeek"])
    lines = capsys.readouterr().out.splitlines()
    fields = next(line for line in lines if line.startswith("#fields")).split("\t")[1:]
    row = dict(zip(fields, lines[8].split("\t"), strict=True))
    assert lines[0] == "#separator \\x09"
    assert " ".join(fields).startswith(
        "ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes"
    )
    assert (row["ts"], row["id.orig_h"], row["id.resp_p"], row["proto"]) == (
        "1700000000.000000",
        "192.0.2.1",
        "80",
        "tcp",
    )
    assert (row["duration"], row["conn_state"], row["history"]) == ("0.070000", "SF", "ShADaFf")
    assert row["service"] == row["orig_ip_bytes"] == row["tunnel_parents"] == "-"
    assert row["uid"].startswith("C")
    assert len({line.split("\t")[1] for line in lines[8:11]}) == 3
    assert lines[-1].startswith("#close\t")


def test_parquet_keeps_types(capture, tmp_path):
    pytest.importorskip("pyarrow")
    import pandas

    out = tmp_path / "flows.parquet"
    assert main(["flows", capture, "--format", "parquet", "-o", str(out)]) == 0
    data = pandas.read_parquet(out)
    assert tuple(data.columns) == NAMES
    assert str(data["first_ns"].dtype) == "datetime64[ns, UTC]"
    assert data["first_ns"][0].value == tiny_pcap.START_NS
    assert list(data["handshake"]) == ["complete", "half_open", "complete"]


def test_parquet_without_pyarrow_is_one_line(capture, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "analyzer.report.parquet", raising=False)
    assert main(["flows", capture, "--format", "parquet", "-o", str(tmp_path / "x")]) == 1
    assert (
        capsys.readouterr().err
        == "handshake: parquet is written by pyarrow: pip install 'handshake-analyzer[parquet]'\n"
    )


def test_the_table_leads_with_a_heading_and_a_row_a_flow(capture, capsys):
    main(["flows", capture])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].split()[:5] == ["0", "192.0.2.1:40000", "198.51.100.2:80", "complete", "graceful"]


def test_the_table_can_show_any_columns(capture, capsys):
    main(["flows", capture, "--columns", "flow,syn_count,history"])
    assert capsys.readouterr().out.splitlines()[2].split() == ["1", "1", "Sh"]


def test_all_columns_can_be_shown(capture, capsys):
    main(["flows", capture, "--columns", "all"])
    assert capsys.readouterr().out.splitlines()[0].split() == list(NAMES)


def test_an_unknown_column_names_those_near_it(capture, capsys):
    assert main(["flows", capture, "--columns", "flow,histori"]) == 2
    assert "near it: history" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--port", "41000"], [1]),
        (["--port", "80"], [0, 1, 2]),
        (["--port", "41000", "--port", "42000"], [1, 2]),
        (["--host", "192.0.2.1"], [0, 1, 2]),
        (["--host", "203.0.113.1"], []),
        (["--host", "198.51.100.0/24"], [0, 1, 2]),
        (["--from", "1700000002"], [1, 2]),
        (["--to", "1700000000.5"], [0]),
        (["--from", "2023-11-14T22:13:21Z", "--to", "2023-11-14T22:13:24Z"], [1]),
        (["--where", "handshake == 'half_open'"], [1]),
        (["--where", "handshake == 'complete'", "--from", "1700000005"], [2]),
    ],
)
def test_narrowing(capture, capsys, words, expected):
    assert [row["flow"] for row in flows(capsys, capture, *words)] == expected


def test_narrowing_does_not_change_what_is_tracked(capture, capsys):
    whole = flows(capsys, capture)
    assert flows(capsys, capture, "--port", "41000", "--from", "1700000003") == [whole[1]]


def test_a_result_in_a_file_is_whole(capture, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    assert main(["flows", capture, "--json", "-o", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert len(out.read_text().splitlines()) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pcap", "out.jsonl"]


def test_a_failure_leaves_the_old_file_alone(capture, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    out.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("analyzer.report.jsonl.write", fail)
    assert main(["flows", capture, "--json", "-o", str(out)]) == 1
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pcap", "out.jsonl"]


@pytest.mark.parametrize("how", ["itself", "link", "directory"])
def test_no_result_is_written_over_a_capture(capture, tmp_path, capsys, how):
    before = Path(capture).read_bytes()
    out, read = capture, capture
    if how == "link":
        out = str(tmp_path / "link")
        (tmp_path / "link").symlink_to(capture)
    if how == "directory":
        read = str(tmp_path)
    assert main(["flows", read, "--json", "-o", out]) == 1
    assert "is one of the captures" in capsys.readouterr().err
    assert Path(capture).read_bytes() == before


def test_a_place_that_does_not_exist_is_told_before_reading(capture, capsys):
    assert main(["flows", capture, "--json", "-o", "/nowhere/at/all"]) == 1
    assert capsys.readouterr().err == "handshake: /nowhere/at: no such directory\n"


def test_every_column_is_documented():
    assert all(column.doc for column in COLUMNS)


def test_several_files_are_one_capture(tmp_path, capsys):
    later = tiny_pcap.write(tmp_path / "1.pcap", *tiny_pcap.graceful(start=5))
    earlier = tiny_pcap.write(tmp_path / "2.pcap", *tiny_pcap.graceful(port=50_000))
    assert [row["originator_port"] for row in flows(capsys, later, earlier)] == [50_000, 40_000]


def test_standard_input_is_a_dash(capture, capsys, monkeypatch):
    with open(capture, "rb") as source:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(source))
        assert len(flows(capsys, "-")) == 3
