"""Text made by two processes is that of one, to the last byte."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import psutil
import pytest
import waiting
from pcaps_cases import PCAPS

from analyzer.aside import Make, aside
from analyzer.cli import main
from analyzer.report import document

CAPTURES = sorted(str(path) for path in PCAPS.glob("*/*.pcap*"))


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


# --- text made by another process ------------------------------------------------------------------------------------


def portions(*texts: list[str]) -> list[Make]:
    return [partial(iter, text) for text in texts]


def test_text_made_aside_is_that_made_here() -> None:
    texts = ["a\n", "\x00é\u2028\ud7ff\r\n"], [], ["x" * 1_000_000], ["\U0010ffff" * 40_000]
    with aside(portions(*texts), worth_it=True) as made:
        assert "".join(made()) == "".join("".join(text) for text in texts)


def test_both_processes_make_portions_and_they_come_in_order(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("analyzer.aside.processors", lambda: 2)
    mine = os.getpid()

    def make(number: int) -> Iterator[str]:
        # The other one holds one portion until this one has made one.
        here = os.getpid() == mine
        (tmp_path / ("here" if here else "there")).touch()
        waiting.until(lambda: (tmp_path / "there").exists() and (tmp_path / "here").exists())
        yield f"{number} {'here' if here else 'there'}\n"

    with aside([partial(make, number) for number in range(100)], worth_it=True) as made:
        lines = "".join(made()).splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(100))
    assert {line.split()[1] for line in lines} == {"here", "there"}


def test_what_fails_aside_is_made_here() -> None:
    mine = os.getpid()

    def make() -> list[str]:
        if os.getpid() != mine:
            os._exit(3)
        return ["made", " here"]

    with aside([make, make], worth_it=True) as made:
        assert "".join(made()) == "made heremade here"


def test_where_there_is_no_room_for_text_it_is_made_when_it_is_wanted(monkeypatch) -> None:
    monkeypatch.setattr("analyzer.aside.processors", lambda: 2)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: open("/dev/full", "w+b", buffering))  # noqa: SIM115  # the code closes it
    with aside(portions(["one"], ["two"]), worth_it=True) as made:
        assert "".join(made()) == "onetwo"


def test_no_process_is_left_behind_by_a_text_that_nobody_wants() -> None:
    before = set(psutil.Process().children())
    with pytest.raises(KeyboardInterrupt), aside([lambda: iter(lambda: "without end", "")], worth_it=True):
        raise KeyboardInterrupt
    assert set(psutil.Process().children()) <= before


def test_long_lists_are_written_aside_and_read_the_same(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    alone = printed(capsys, "report", "--json", "--jobs", "1", *CAPTURES)
    monkeypatch.setattr(document, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(document, "aside", partial(noted, calls := []))
    assert printed(capsys, "report", "--json", *CAPTURES) == alone
    assert calls == [True]
    assert printed(capsys, "report", "--json", "--jobs", "1", *CAPTURES) == alone
    assert calls == [True, False]


def noted(calls: list[bool], made: Sequence[Make], *, worth_it: bool) -> Any:
    calls.append(worth_it)
    return aside(made, worth_it=worth_it)


def test_an_expression_that_fails_on_the_flows_prints_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--json"]):
        assert main(["report", CAPTURES[0], "--where", "originator > 3", *words]) == 2
        assert capsys.readouterr().out == ""
