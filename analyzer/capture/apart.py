"""Decompression in a process of its own: a second processor undoes a capture's compression while this one tracks.

Owns that process: how it starts, what it sends, how it ends. What is read is what `compression` gives here, to the last
byte, damage included.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from struct import Struct
from typing import BinaryIO

from analyzer.capture.compression import ByteSource, Decompressed
from analyzer.capture.sources import RawFile
from analyzer.errors import AnalyzerError, CaptureError
from analyzer.processes import piped, stop

#: length of what follows, 0 for the end; stored bytes read by then
_HEADER = Struct("<IQ")
#: asked for at a time
_STEP_BYTES = 1 << 18
#: what the pipe holds, where the system lets it: enough to go on while the other side is busy with a batch
_PIPE_BYTES = 1 << 20


class Apart:
    """The bytes of `source`, made by another process, which reads `stored` from here on and undoes `layers`.

    What `layers` and `stored` know of damage and progress is kept true here. Raises OSError where none can be forked.
    """

    def __init__(self, source: ByteSource, stored: RawFile, layers: Sequence[Decompressed]) -> None:
        self._stored = stored
        self._layers = layers
        self._left = b""
        self._ended = False

        def work(writing: int) -> None:
            _enlarge(writing)
            _work(source, stored, layers, writing)

        self._process, reading = piped(work)
        self._pipe: BinaryIO = os.fdopen(reading, "rb", buffering=_PIPE_BYTES)

    def read(self, size: int) -> bytes:
        """The next bytes, `size` of them at most; empty only at the end. Raises CaptureError as the source does."""
        if not self._left and not self._ended:
            self._left = self._next()
        if len(self._left) <= size:
            taken, self._left = self._left, b""
        else:
            taken, self._left = self._left[:size], self._left[size:]
        return taken

    def _next(self) -> bytes:
        header = self._pipe.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise CaptureError("the process that decompresses ended early; --jobs 1 goes without it")
        length, self._stored.taken = _HEADER.unpack(header)
        if length:
            return self._pipe.read(length)
        self._ended = True
        told = json.loads(self._pipe.read())
        if "error" in told:
            raise CaptureError(told["error"])
        for layer, (damage, trailing) in zip(self._layers, told["layers"], strict=True):
            layer.damage, layer.trailing = damage, trailing
        return b""

    def close(self) -> None:
        """Stop the process where it is still at work, and wait for it."""
        if not self._pipe.closed:
            self._pipe.close()
            stop(self._process)


def _enlarge(pipe: int) -> None:
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):  # no Linux, or less is allowed
        pass


def _work(source: ByteSource, stored: RawFile, layers: Sequence[Decompressed], pipe: int) -> None:
    """What the process does."""
    with os.fdopen(pipe, "wb", buffering=0) as out:
        told: dict[str, object]
        try:
            while data := source.read(_STEP_BYTES):
                _send(out, _HEADER.pack(len(data), stored.taken) + data)
        except AnalyzerError as error:
            told = {"error": str(error)}
        else:
            told = {"layers": [(layer.damage, layer.trailing) for layer in layers]}
        _send(out, _HEADER.pack(0, stored.taken) + json.dumps(told).encode())


def _send(out: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]
