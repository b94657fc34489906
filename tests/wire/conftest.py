"""What the tests of decoding share: one frame in, its row and the decoder out, compiled and uncompiled."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

import analyzer.wire.decode as installed
from analyzer.capture.frames import FrameBatch
from analyzer.segments import SegmentBatch


def _uncompiled() -> ModuleType:
    """`analyzer.wire.decode` from its source, where what is installed is the compiled module."""
    path = Path(installed.__file__).parent / "decode.py"
    spec = importlib.util.spec_from_file_location("analyzer.wire.decode_uncompiled", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


IMPLEMENTATIONS: dict[str, ModuleType] = {"uncompiled": installed}
if not installed.__file__.endswith(".py"):
    IMPLEMENTATIONS = {"compiled": installed, "uncompiled": _uncompiled()}


class Decoded:
    """The rows that some frames gave, and the decoder that made them."""

    def __init__(self, decoder: installed.Decoder, rows: SegmentBatch) -> None:
        self.decoder = decoder
        self.batch = rows
        self.rows = [rows.row(index) for index in range(rows.count)]

    @property
    def row(self) -> dict[str, int]:
        """The only row; why there is none, if so."""
        assert len(self.rows) == 1, self.decoder.counts
        return self.rows[0]


Decode = Callable[..., Decoded]


def batch_of(
    frames: Sequence[bytes], linktype: int = 1, wirelens: Sequence[int] | None = None, step_ns: int = 1000
) -> FrameBatch:
    """A batch with a stray byte around every frame, so that reading past one end does not go unnoticed."""
    batch = FrameBatch(b"\xaa" + b"".join(frame + b"\xaa" for frame in frames), 1, len(frames))
    at = 1
    for index, frame in enumerate(frames):
        batch.offset[index] = at
        batch.caplen[index] = len(frame)
        batch.wirelen[index] = wirelens[index] if wirelens else len(frame)
        batch.ts_ns[index] = index * step_ns
        batch.linktype[index] = linktype
        at += len(frame) + 1
    batch.count = len(frames)
    return batch


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def decode(request: pytest.FixtureRequest) -> Decode:
    """decode(frame or frames, linktype, wirelens=…, step_ns=…, **options of Decoder) → Decoded."""

    def run(
        frames: bytes | Sequence[bytes],
        linktype: int = 1,
        *,
        wirelens: Sequence[int] | None = None,
        step_ns: int = 1000,
        **options: bool,
    ) -> Decoded:
        several = [frames] if isinstance(frames, bytes) else frames
        batch = batch_of(several, linktype, wirelens, step_ns)
        decoder = IMPLEMENTATIONS[request.param].Decoder(**options)
        rows = SegmentBatch(max(len(several), 1))
        assert decoder.decode(batch, 0, rows) == len(several)
        assert rows.count + sum(decoder.counts.values()) == len(several)
        assert decoder.segments + decoder.icmp_errors == rows.count
        return Decoded(decoder, rows)

    return run


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def decoder_class(request: pytest.FixtureRequest) -> type:
    """`Decoder`, compiled and uncompiled."""
    return IMPLEMENTATIONS[request.param].Decoder


@pytest.fixture
def implementations() -> dict[str, ModuleType]:
    """Name → module, of one or both."""
    return IMPLEMENTATIONS
