"""Captures and data sets in object storage: a real S3 server (moto's) on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dataset.conftest import QUESTIONS

from analyzer.cli import main

moto_server = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")

Ask = Callable[..., str]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    # A name of its own: moto keeps what it has as long as the process lives.
    name = f"captures-{abs(hash(tmp_path))}"
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for variable, value in (
        ("NO_PROXY", host),
        ("no_proxy", host),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
    ):
        monkeypatch.setenv(variable, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_captures_and_data_set_in_a_bucket(
    bucket: str, rotated: list[Path], ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    system = s3fs.S3FileSystem()
    for capture in rotated:
        system.put_file(str(capture), f"{bucket}/in/{capture.name}")
    dataset = f"{bucket}/segments"
    assert main(["index", f"{bucket}/in/cut.pcap[0-3]", "-o", dataset]) == 0
    assert main(["index", f"{bucket}/in/", "-o", dataset]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "4 captures indexed" in said[0]
    assert "3 captures indexed" in said[1]
    assert "4 captures there already" in said[1]
    for question in QUESTIONS:
        here = ask(*question, *rotated)
        for capture in rotated:
            here = here.replace(str(capture), f"{bucket}/in/{capture.name}")
        assert ask(*question, dataset) == here


def test_local_captures_into_a_bucket_and_what_is_not_there(
    bucket: str, rotated: list[Path], ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = f"{bucket}/d"
    assert main(["index", *map(str, rotated), "-o", dataset]) == 0
    assert ask("report", "--json", dataset) == ask("report", "--json", *rotated)
    capsys.readouterr()
    assert main(["index", f"{bucket}/none.pcap", "-o", dataset]) == 1
    assert main(["report", f"{bucket}/nothing"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert f"{bucket}/none.pcap" in errors[0]
    assert f"{bucket}/nothing" in errors[1]


def test_workers_write_the_flow_table_into_a_bucket(bucket: str, rotated: list[Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("distributed")
    dataset, table, one = f"{bucket}/d", f"{bucket}/flows", tmp_path / "one.parquet"
    assert main(["index", *map(str, rotated), "-o", dataset]) == 0
    words = ["flows", dataset, "--scheduler", "local", "--format", "parquet", "-o", table]
    assert main(words) == 0
    there = parquet.read_table(table.removeprefix("s3://"), filesystem=s3fs.S3FileSystem()).sort_by("flow")
    assert main(["flows", *map(str, rotated), "--format", "parquet", "-o", str(one)]) == 0
    assert there.equals(parquet.read_table(one))
    assert main(words) == 1
