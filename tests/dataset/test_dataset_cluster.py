"""Workers of a real Dask cluster, each a process of its own, give what one process gives; also when one is killed."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import tiny_pcap
from conftest import only_once
from dataset.conftest import QUESTIONS
from waiting import PATIENCE_S, until

from analyzer.cli import main
from analyzer.dataset import cluster as cluster_module
from analyzer.errors import ClusterError

WORKERS = 2

distributed = pytest.importorskip("distributed")

Ask = Callable[..., str]
Index = Callable[..., Path]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer to answer than a person waits for a scheduler that is not there."""
    monkeypatch.setattr(cluster_module, "PATIENCE_S", PATIENCE_S)


def workers() -> Any:
    """A cluster of separate processes."""
    return distributed.LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    only_once()
    with workers() as made:
        yield made


@pytest.fixture
def mortal() -> Iterator[Any]:
    """One for a test that kills a worker: that another takes its place is up to Dask, and nothing waits for it."""
    only_once()
    with workers() as made:
        yield made


def test_two_workers_say_what_one_process_says(
    cluster: Any, rotated: list[Path], taps: list[Path], ask: Ask, index: Index
) -> None:
    for number, (captures, questions) in enumerate(((rotated, QUESTIONS[1:2]), (taps, QUESTIONS[:1]))):
        dataset = index(random.Random(4).sample(captures, len(captures)), name=f"d{number}")
        for question in questions:
            there = ask(*question, dataset, "--scheduler", cluster.scheduler_address)
            assert there == ask(*question, *captures)


def pack_from(count: int) -> Callable[[], None]:
    """For the workers: the facts of so many flows are packed before they are sent."""

    def patch() -> None:
        from analyzer.dataset import cluster

        cluster.PACKED_FROM = count

    return patch


def test_shards_whose_facts_are_packed_say_the_same(
    cluster: Any, taps: list[Path], tmp_path: Path, ask: Ask, index: Index
) -> None:
    dataset = index(taps)
    with distributed.Client(cluster, set_as_default=False) as client:
        before = client.run(lambda: __import__("analyzer.dataset.cluster").dataset.cluster.PACKED_FROM)
        client.run(pack_from(1))
        try:
            for question in QUESTIONS:
                assert ask(*question, dataset, "--scheduler", cluster.scheduler_address) == ask(*question, *taps)
            there = one_table([dataset], tmp_path / "table", "--scheduler", cluster.scheduler_address)
        finally:
            client.run(pack_from(min(before.values())))
    assert there.equals(one_table(taps, tmp_path / "one.parquet"))


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


def held_at_work(mark: Path, shards: int) -> Callable[[], None]:
    """For the workers: the first with its shard number `shards` writes its process id to `mark`, and waits."""
    place = str(mark)

    def patch() -> None:  # nested, so that it is sent as it is: workers do not know the tests
        import os
        import time

        from analyzer.dataset import cluster

        quick = cluster.track
        calls = 0

        def held(*words: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= shards:
                own = f"{place}.{os.getpid()}"
                with open(own, "w") as file:
                    file.write(str(os.getpid()))
                try:
                    os.link(own, place)
                except FileExistsError:  # the other one waits
                    pass
                else:
                    time.sleep(600)  # until it is killed
            return quick(*words, **named)

        cluster.track = held

    return patch


def wait_for(mark: Path) -> int:
    """The process id of the worker that waits."""
    until(mark.exists)
    return int(mark.read_text())


def test_a_worker_killed_at_work_changes_nothing(
    mortal: Any, rotated: list[Path], tmp_path: Path, ask: Ask, index: Index
) -> None:
    dataset = index(rotated)
    expected = ask("report", "--json", *rotated)
    said: list[str] = []
    with distributed.Client(mortal, set_as_default=False) as client:
        client.run(held_at_work(tmp_path / "held", 3))
        at_work = threading.Thread(
            target=lambda: said.append(ask("report", "--json", dataset, "--scheduler", mortal.scheduler_address))
        )
        at_work.start()
        os.kill(wait_for(tmp_path / "held"), signal.SIGKILL)
        at_work.join(timeout=3 * PATIENCE_S)
    assert said == [expected]


def test_a_scheduler_that_is_gone_when_its_workers_are_counted_is_an_error_of_one_line(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Gone:
        def submit(self, *_: Any, **__: Any) -> None:
            pass

        def nthreads(self) -> None:
            raise distributed.comm.CommClosedError("ConnectionPool closing")

    monkeypatch.setattr(cluster_module, "connected", lambda _: nullcontext(Gone()))
    dataset = index([tiny_pcap.write(tmp_path / "a.pcap", *tiny_pcap.graceful())])
    capsys.readouterr()
    assert main(["report", str(dataset), "--scheduler", "tcp://host:8786"]) == 1
    assert capsys.readouterr().err == "handshake: the cluster went away: connectionPool closing\n"


@pytest.mark.parametrize(
    ("shards", "threads", "tasks"),
    [(16, 2, 8), (16, 3, 12), (16, 4, 16), (16, 100, 16), (4, 2, 4), (64, 1, 4), (1, 1, 1), (16, 0, 16)],
)
def test_shards_that_are_more_than_the_workers_want_are_tracked_together(shards: int, threads: int, tasks: int) -> None:
    """Four tasks a thread; each shard by itself where there are no more, or nobody is there yet."""
    together = cluster_module._together(shards, threads)
    assert [shard for some in together for shard in some] == [*range(shards)]
    assert len(together) == tasks
    assert max(map(len, together)) - min(map(len, together)) <= 1


def test_a_scheduler_that_goes_away_is_an_error_of_one_line(
    rotated: list[Path], tmp_path: Path, index: Index, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = index(rotated)
    capsys.readouterr()
    said: list[int] = []
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as made:
        words = ["report", str(dataset), "--scheduler", made.scheduler_address]
        with distributed.Client(made, set_as_default=False) as client:
            client.run(held_at_work(tmp_path / "held", 1))
            at_work = threading.Thread(target=lambda: said.append(main(words)))
            at_work.start()
            wait_for(tmp_path / "held")
    at_work.join(timeout=PATIENCE_S)
    assert said == [1]
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("handshake:")] == [
        "handshake: the cluster went away: the connection to its scheduler is lost"
    ]


def rows_in(path: Path) -> Any:
    """All rows of a Parquet file or of a directory of them, in order of flow number."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    return table.sort_by("flow") if "flow" in table.column_names else table


def one_table(captures: Sequence[Path], out: Path, *words: str) -> Any:
    assert main(["flows", *map(str, captures), "--format", "parquet", "-o", str(out), *words]) == 0
    return rows_in(out)


@pytest.mark.parametrize(
    "narrow", [(), ("--where", 'handshake == "half_open"'), ("--port", "1")], ids=["all", "some", "none"]
)
def test_workers_write_the_flow_table_themselves(
    narrow: tuple[str, ...], cluster: Any, taps: list[Path], tmp_path: Path, index: Index
) -> None:
    dataset = index(taps)
    there = one_table([dataset], tmp_path / "table", "--scheduler", cluster.scheduler_address, *narrow)
    assert there.equals(one_table(taps, tmp_path / "one.parquet", *narrow))
    files = len(list((tmp_path / "table").iterdir()))
    assert (
        files == cluster_module.TASKS_A_THREAD * WORKERS
        if not narrow
        else files == 1
        if "--port" in narrow
        else files > 1
    )


def test_facts_stay_with_the_workers(
    cluster: Any, rotated: list[Path], tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analyzer.dataset.cluster import Shard

    came = []
    make = Shard.__new__

    def noted(kind: type, *fields: Any) -> Any:
        came.append(fields)
        return make(kind, *fields)

    monkeypatch.setattr(Shard, "__new__", noted)
    dataset = index(rotated)
    one_table([dataset], tmp_path / "table", "--scheduler", cluster.scheduler_address)
    assert not came
    one_table([dataset], tmp_path / "none", "--scheduler", cluster.scheduler_address, "--port", "1")
    assert not came
    assert main(["report", str(dataset), "--scheduler", cluster.scheduler_address, "-o", str(tmp_path / "r")]) == 0
    assert not came
    assert main(["states", str(dataset), "--scheduler", cluster.scheduler_address, "-o", str(tmp_path / "s")]) == 0
    assert not came
    whole = ["states", "--sockets", str(dataset), "--scheduler", cluster.scheduler_address, "-o", str(tmp_path / "t")]
    assert main(whole) == 0
    assert came


def test_what_a_listener_shows_counts_in_all_shards(cluster: Any, tmp_path: Path, index: Index) -> None:
    """A SYN+ACK just sent keeps no state where another of the same listener, in another shard, kept none."""
    cookie = [
        (0.0, tiny_pcap.segment("S", 100)),
        (0.01, tiny_pcap.segment("S.", 500, 101, answer=True)),
        (2.0, tiny_pcap.segment(".", 101, 501)),
    ]
    asked = [(9.0, tiny_pcap.segment("S", 9, port=port)) for port in range(50_000, 50_100)]
    answered = [(9.1, tiny_pcap.segment("S.", 7, 10, answer=True, port=port)) for port in range(50_000, 50_100)]
    capture = tmp_path / "cookie.pcap"
    tiny_pcap.write(capture, *cookie, *asked, *answered)
    there = one_table([index([capture])], tmp_path / "table", "--scheduler", cluster.scheduler_address)
    assert there.equals(one_table([capture], tmp_path / "one.parquet"))
    assert there.column("responder_state").to_pylist().count("LISTEN") == 100


def test_a_worker_killed_at_work_changes_nothing_in_the_table(
    mortal: Any, rotated: list[Path], tmp_path: Path, index: Index
) -> None:
    dataset = index(rotated)
    said: list[Any] = []
    words = ("--scheduler", mortal.scheduler_address)
    with distributed.Client(mortal, set_as_default=False) as client:
        client.run(held_at_work(tmp_path / "held", 3))
        at_work = threading.Thread(target=lambda: said.append(one_table([dataset], tmp_path / "table", *words)))
        at_work.start()
        os.kill(wait_for(tmp_path / "held"), signal.SIGKILL)
        at_work.join(timeout=3 * PATIENCE_S)
    (there,) = said
    assert there.equals(one_table(rotated, tmp_path / "one.parquet"))


def test_a_table_is_not_mixed_with_another(
    cluster: Any, rotated: list[Path], tmp_path: Path, index: Index, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = index(rotated)
    words = ["flows", str(dataset), "--format", "parquet", "--scheduler", cluster.scheduler_address]
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "other").write_text("something")
    capsys.readouterr()
    assert main([*words, "-o", str(tmp_path / "table")]) == 1
    assert "there already" in capsys.readouterr().err
    assert main(words) == 2
    assert "name it with -o" in capsys.readouterr().err


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
    monkeypatch.setattr(cluster_module, "PATIENCE_S", 2)
    dataset = index(rotated[:1])
    capsys.readouterr()
    assert main([word.format(capture=rotated[0], dataset=dataset) for word in words]) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_what_a_task_raises_is_said_once_and_as_what_it_is(cluster: Any, tmp_path: Path) -> None:
    tried = tmp_path / "tried"

    def full() -> None:
        with tried.open("a") as file:
            file.write("x")
        raise OSError(28, "No space left on device")

    with cluster_module.connected(cluster.scheduler_address) as client:
        task = cluster_module.submit(client, full)
        with pytest.raises(ClusterError, match="a worker could not do its part: no space left on device"):
            cluster_module.gathered(client, [task])
    assert tried.read_text() == "x"
