"""Compressed files are decompressed ahead in a thread: the same frames, the same damage, and nothing left behind."""

from __future__ import annotations

import random
import struct
import sys
import threading
from pathlib import Path

import pytest
from test_capture_sources import COMPRESS, tags

from analyzer.capture import ahead, open_capture
from analyzer.errors import CaptureError

FRAMES = 40_000


@pytest.fixture(scope="module")
def plain() -> bytes:
    """A pcap of some megabytes that hardly compresses."""
    noise = random.Random(7)
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for number in range(FRAMES):
        frame = struct.pack("<BH", number >> 16, number & 0xFFFF) + noise.randbytes(77)
        out.append(struct.pack("<IIII", number, 0, len(frame), len(frame)) + frame)
    return b"".join(out)


WANTED = [(number >> 16, number & 0xFFFF) for number in range(FRAMES)]


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "handshake-ahead"]


@pytest.fixture(autouse=True)
def nothing_left():
    before = sys.getswitchinterval()
    yield
    assert threads() == []
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize("kind", COMPRESS)
def test_the_same_frames_come_out(plain: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(COMPRESS[kind](plain))
    capture = open_capture([tmp_path / "packed"])
    seen = []
    got = []
    for batch in capture:
        seen += threads()
        got += [struct.unpack_from("<BH", batch.data, batch.offset[i]) for i in range(batch.count)]
    assert got == WANTED
    assert seen, "it was not read ahead"


@pytest.mark.parametrize("kind", COMPRESS)
def test_what_comes_before_damage_is_kept(plain: bytes, kind: str, tmp_path: Path) -> None:
    packed = bytearray(COMPRESS[kind](plain))
    (tmp_path / "packed").write_bytes(packed[: len(packed) * 3 // 4])
    capture = open_capture([tmp_path / "packed"])
    got = tags(capture)
    assert got == WANTED[: len(got)]
    assert len(got) > FRAMES // 2
    assert f"the {kind} data is cut off" in capture.health.notes[0]


def test_closing_early_ends_the_thread(plain: bytes, tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(COMPRESS["gzip"](plain))
    with open_capture([tmp_path / "packed"]) as capture:
        batches = iter(capture)
        while not threads():
            next(batches)


def test_several_files_at_once_restore_what_the_first_changed(plain: bytes, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(COMPRESS["gzip"](plain))
    assert len([0 for batch in open_capture([tmp_path]) for _ in range(batch.count)]) == 3 * FRAMES


def test_an_error_of_the_disk_is_raised_to_the_reader(plain: bytes, tmp_path: Path, monkeypatch) -> None:
    from analyzer.capture.sources import RawFile

    read = RawFile.read

    def failing(file: RawFile, size: int) -> bytes:
        if file.taken > 2 * ahead.FIRST_BYTES:
            raise CaptureError("the disk is gone")
        return read(file, size)

    monkeypatch.setattr(RawFile, "read", failing)
    (tmp_path / "packed").write_bytes(COMPRESS["gzip"](plain))
    with pytest.raises(CaptureError, match="the disk is gone"):
        tags(open_capture([tmp_path / "packed"]))
