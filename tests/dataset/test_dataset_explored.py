"""The worked examples of docs/scale.md, on a small data set; counts follow from what is in the capture."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_pcap

duckdb = pytest.importorskip("duckdb")

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
Index = Callable[..., Path]


@pytest.fixture
def dataset(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three half-open attempts, then a whole connection; the documents call a data set DATASET."""
    attempts = [frame for n in range(3) for frame in tiny_pcap.half_open(port=41_000 + n, start=n)]
    capture = Path(tiny_pcap.write(tmp_path / "a.pcap", *sorted(attempts), *tiny_pcap.graceful(start=9)))
    made = index([capture], name="DATASET")
    monkeypatch.chdir(tmp_path)
    return made


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return str(found)


def test_the_sql_of_the_document_counts_first_syns_and_their_answers(dataset: Path) -> None:
    assert duckdb.sql(block("sql")).fetchall() == [("198.51.100.2", 80, 4, 10)]


def test_the_pandas_of_the_document_reads_what_goes_to_a_port(dataset: Path) -> None:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    segments = names["segments"]
    assert list(segments.dport.unique()) == [80]
    assert len(segments) == 3 + 5  # a SYN of each attempt, and what the client of the whole connection sends
