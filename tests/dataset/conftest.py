"""Captures cut into rotated files, data sets made of them, and the command that reads both."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pcaps_cases import PCAPS

from analyzer.cli import main
from analyzer.dataset import cluster

#: what is compared: everything that a person or a program gets to see
QUESTIONS = (
    ("report", "--json"),
    ("flows", "--format", "csv"),
    ("states", "--sockets", "--json"),
)
HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., str]:
    """The answer of a command, which must succeed."""

    def answer(*words: str | Path) -> str:
        out = tmp_path / "answer"
        assert main([*map(str, words), "-o", str(out)]) == 0
        return out.read_text()

    return answer


class AtOnce:
    """A cluster's client without a cluster: what is submitted is done here and now."""

    def submit(self, task: Callable[..., Any], *words: Any, **_: Any) -> Outcome:
        return Outcome(task(*map(resolved, words)))

    def nthreads(self) -> dict[str, int]:
        return {"one": 2, "another": 1}  # of 16 shards some are tracked by themselves, some with a neighbour


class Outcome:
    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome


def resolved(word: Any) -> Any:
    if isinstance(word, list):
        return [resolved(each) for each in word]
    return word.outcome if isinstance(word, Outcome) else word


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> str:
    """What to name as the scheduler: its tasks are done in this process, one after the other."""
    monkeypatch.setattr(cluster, "connected", lambda scheduler: nullcontext(AtOnce()))
    monkeypatch.setattr(cluster, "finished", lambda client, futures, tell: [(one, one.outcome) for one in futures])
    return "here"


@pytest.fixture
def index(tmp_path: Path) -> Callable[..., Path]:
    """A data set of captures, each indexed by a call of its own."""

    def made(captures: Sequence[Path], *options: str, name: str = "dataset") -> Path:
        for capture in captures:
            assert main(["index", str(capture), "-o", str(tmp_path / name), *options]) == 0
        return tmp_path / name

    return made


def records() -> list[tuple[int, bytes]]:
    """(ns, frame) of the incident, which has every kind of trouble and frames that are no TCP."""
    frames = []
    data = (PCAPS / "incident" / "incident.pcap").read_bytes()
    magic = struct.unpack_from("<I", data)[0]
    unit = 1 if magic == 0xA1B23C4D else 1000
    at = 24
    while at < len(data):
        seconds, fraction, kept, _ = struct.unpack_from("<IIII", data, at)
        frames.append((seconds * 10**9 + fraction * unit, data[at + 16 : at + 16 + kept]))
        at += 16 + kept
    return frames


def write(path: Path, frames: Sequence[tuple[int, bytes]]) -> Path:
    body = b"".join(struct.pack("<IIII", *divmod(ns, 10**9), len(f), len(f)) + f for ns, f in frames)
    path.write_bytes(HEADER + body)
    return path


@pytest.fixture
def rotated(tmp_path: Path) -> list[Path]:
    """The incident cut into seven files, one after the other."""
    frames = records()
    edges = [len(frames) * part // 7 for part in range(8)]
    return [write(tmp_path / f"cut.pcap{n}", frames[edges[n] : edges[n + 1]]) for n in range(7)]


@pytest.fixture
def taps(tmp_path: Path) -> list[Path]:
    """The incident as three taps saw it: each frame at one of them, files rotated at different times, some late."""
    rng = random.Random(5)
    frames = records()
    late = [(ns - 3_000_000 * (rng.random() < 0.02), frame) for ns, frame in frames]
    paths = []
    for tap in range(3):
        seen = [frame for number, frame in enumerate(late) if (number * 7919 >> 3) % 3 == tap]
        middle = len(seen) * (tap + 1) // 5
        paths.append(write(tmp_path / f"tap{tap}-1.pcap", seen[:middle]))
        paths.append(write(tmp_path / f"tap{tap}-2.pcap", seen[middle:]))
    return sorted(paths)
