"""Workers of a real Dask cluster, each a process of its own, give what one process gives; also when one is killed."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dataset.conftest import QUESTIONS

from analyzer.cli import main

distributed = pytest.importorskip("distributed")

Ask = Callable[..., str]
Index = Callable[..., Path]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as made:
        yield made


def test_two_workers_say_what_one_process_says(
    cluster: Any, rotated: list[Path], taps: list[Path], ask: Ask, index: Index
) -> None:
    for number, (captures, questions) in enumerate(((rotated, QUESTIONS[1:2]), (taps, QUESTIONS[:1]))):
        dataset = index(random.Random(4).sample(captures, len(captures)), name=f"d{number}")
        for question in questions:
            there = ask(*question, dataset, "--scheduler", cluster.scheduler_address)
            assert there == ask(*question, *captures)


def test_an_index_made_on_the_cluster_is_that_of_one_process(
    cluster: Any, rotated: list[Path], tmp_path: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = tmp_path / "d"
    text = tmp_path / "no.pcap"
    text.write_text("no capture")
    words = ["index", str(text), *map(str, rotated), "-o", str(dataset), "--scheduler", cluster.scheduler_address]
    assert main([*words, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["indexed"], len(said["failed"])) == (len(rotated), 1)
    assert ask("report", "--json", dataset) == ask("report", "--json", *rotated)


def slowly(seconds: float) -> Callable[[], None]:
    """For a worker: make every shard take its time, so that a kill finds it at work."""

    def patch() -> None:  # nested, so that it is sent as it is: workers do not know the tests
        import time

        from analyzer.dataset import cluster

        quick = cluster.track

        def slow(*words: Any, **named: Any) -> Any:
            time.sleep(seconds)
            return quick(*words, **named)

        cluster.track = slow

    return patch


def test_a_worker_killed_at_work_changes_nothing(cluster: Any, rotated: list[Path], ask: Ask, index: Index) -> None:
    dataset = index(rotated)
    expected = ask("report", "--json", *rotated)
    said: list[str] = []
    with distributed.Client(cluster, set_as_default=False) as client:
        client.run(slowly(0.4))
        pids = client.run(os.getpid)
        at_work = threading.Thread(
            target=lambda: said.append(ask("report", "--json", dataset, "--scheduler", cluster.scheduler_address))
        )
        at_work.start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            busy = [
                worker for worker, tasks in client.processing().items() if any("track_shard" in key for key in tasks)
            ]
            if len(busy) == 2 and sum(map(len, client.has_what().values())) > 2:
                break
            time.sleep(0.05)
        else:
            pytest.fail("the workers never got to work")
        victim = pids[busy[0]]
        os.kill(victim, signal.SIGKILL)
        at_work.join(timeout=120)
        client.wait_for_workers(2, timeout=60)
        assert victim not in client.run(os.getpid).values()
    assert said == [expected]


def test_a_worker_finds_a_damaged_file_and_the_rest_is_given(
    cluster: Any, rotated: list[Path], ask: Ask, index: Index
) -> None:
    dataset = index(rotated)
    file = min((dataset / "segments").iterdir())
    data = bytearray(file.read_bytes())
    data[len(data) // 4] ^= 1
    file.write_bytes(data)
    report = json.loads(ask("report", "--json", dataset, "--scheduler", cluster.scheduler_address))
    assert any(file.name in line for line in report["capture"]["weakened_by"])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("report", "{capture}", "--scheduler", "local"), 2, "works on a data set"),
        (("report", "{dataset}", "--scheduler", "nonsense"), 1, "--scheduler nonsense"),
    ],
)
def test_one_line_says_what_is_wrong(
    words: tuple[str, ...],
    status: int,
    said: str,
    rotated: list[Path],
    index: Index,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from analyzer.dataset import cluster

    monkeypatch.setattr(cluster, "PATIENCE_S", 2)
    dataset = index(rotated[:1])
    capsys.readouterr()
    assert main([word.format(capture=rotated[0], dataset=dataset) for word in words]) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
