"""Compressed captures as streams of bytes: gzip, zstd, xz, lz4 and bzip2, told apart by their first bytes.

Owns decompression. Knows nothing about captures. What comes out needs no bound in all, because it is never
held: each `read` gives at most `OUTPUT_BYTES` (where gzip data is damaged, what a step of input held before that).
Damage and cuts never raise: what came before is kept, and `damage` says what happened.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from analyzer.errors import MissingReaderError

INPUT_BYTES = 1 << 16
OUTPUT_BYTES = 1 << 18  # what one step may give: bounds a decompression bomb to this much memory
ZSTD_INPUT_BYTES = 1 << 14  # about a block: the library gives nothing of a step in which it meets damage
ZSTD_MEMORY = 128 << 20  # what the library allows unasked, and `zstd -d` too: `--long=27`, but no more
XZ_MEMORY = 256 << 20  # `xz -9` needs 65 MiB to decompress; a header may ask for 4 GiB
MAX_LAYERS = 2  # a compressed file compressed again happens; deeper nesting only in attacks


class ByteSource(Protocol):
    """Bytes in order."""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes or what is at hand; empty only at the end."""
        ...


class Decoder(Protocol):
    """One member of a compressed file, as the standard library's decompressors work."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class DamagedError(Exception):
    """The compressed bytes cannot be undone, and why; `good` is what could still be had."""

    def __init__(self, good: bytes, why: str = "is damaged") -> None:
        super().__init__()
        self.good = good
        self.why = why


class _Gzip:
    """One gzip member. A copy kept from before each step gives back what the library drops when it meets damage."""

    def __init__(self) -> None:
        library: Any
        try:
            from zlib_ng import zlib_ng as library
        except ModuleNotFoundError:  # does the same in nearly twice the time
            import zlib as library
        self._error = library.error
        self._inflate = library.decompressobj(wbits=31)
        self._left = b""
        self._limited = False

    @property
    def eof(self) -> bool:
        return bool(self._inflate.eof)

    @property
    def needs_input(self) -> bool:
        return not self._limited

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inflate.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        data = self._left + data
        spare = self._inflate.copy()
        try:
            out = self._inflate.decompress(data, max_length)
        except self._error:
            raise DamagedError(self._until_damage(spare, data)) from None
        self._left = self._inflate.unconsumed_tail
        self._limited = bool(self._left) or len(out) == max_length
        return bytes(out)

    def _until_damage(self, inflate: Any, data: bytes) -> bytes:
        """What `inflate` gives for `data`, byte by byte, up to the byte it chokes on."""
        good = []
        try:
            for at in range(len(data)):
                good.append(inflate.decompress(data[at : at + 1]))
        except self._error:
            pass  # the caller already knows: this is the byte that was looked for
        return b"".join(good)


class _Library:
    """A decompressor with the standard library's interface, its own error turned into `DamagedError`.

    `memory`: how much it allows what was compressed to ask of it.
    """

    def __init__(self, decoder: Any, errors: type[Exception], memory: int = 0) -> None:
        self._decoder = decoder
        self._errors = errors
        self._memory = memory

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._decoder.needs_input)

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data or b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return bytes(self._decoder.decompress(data, max_length))
        except self._errors as error:
            said = str(error).lower()
            if "not enough memory" in said:
                raise MemoryError from None
            if "too much memory" in said or "memory usage limit" in said:
                raise DamagedError(b"", f"takes more than {self._memory >> 20} MiB of memory to undo") from None
            raise DamagedError(b"") from None


def _zstd() -> Decoder:
    try:
        if sys.version_info >= (3, 14):
            from compression.zstd import ZstdDecompressor, ZstdError
        else:
            from backports.zstd import ZstdDecompressor, ZstdError
    except ModuleNotFoundError:
        raise MissingReaderError("zstd data is read by the backports.zstd package; pip install it") from None
    return _Library(ZstdDecompressor(), ZstdError, ZSTD_MEMORY)


def _xz() -> Decoder:
    import lzma

    return _Library(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY), lzma.LZMAError, XZ_MEMORY)


def _bzip2() -> Decoder:
    import bz2

    return _Library(bz2.BZ2Decompressor(), OSError)


def _lz4() -> Decoder:
    try:
        import lz4.frame
    except ModuleNotFoundError:
        raise MissingReaderError("lz4 data is read by the lz4 package; pip install lz4") from None
    return _Library(lz4.frame.LZ4FrameDecompressor(), RuntimeError)


#: RFC 8878, section 3.1.2: a frame of zstd that holds nothing to undo; pzstd begins with one
_SKIPPABLE = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))

#: name → (first bytes that a member may have, what decodes one, how much input a step takes)
_KINDS: dict[str, tuple[tuple[bytes, ...], Callable[[], Decoder], int]] = {
    "gzip": ((b"\x1f\x8b\x08",), _Gzip, INPUT_BYTES),
    "zstd": ((b"\x28\xb5\x2f\xfd", *_SKIPPABLE), _zstd, ZSTD_INPUT_BYTES),
    "xz": ((b"\xfd7zXZ\0",), _xz, INPUT_BYTES),
    "lz4": ((b"\x04\x22\x4d\x18",), _lz4, INPUT_BYTES),
    "bzip2": ((b"BZh",), _bzip2, INPUT_BYTES),
}
LONGEST_MAGIC = max(len(magic) for magics, _, _ in _KINDS.values() for magic in magics)


def compression_of(head: bytes) -> str | None:
    """The name of the compression that a file starting with `head` has, or None."""
    for name, (magics, _, _) in _KINDS.items():
        if head.startswith(magics):
            return name
    return None


class Decompressed:
    """The bytes that `source` holds compressed, member after member.

    `damage` is None, or why the rest cannot be had; `trailing` whether other bytes follow the last member.
    """

    def __init__(self, source: ByteSource, kind: str) -> None:
        self._source = source
        self.kind = kind
        self.damage: str | None = None
        self.trailing = False
        self._magics, self._make, self._step = _KINDS[kind]
        self._decoder: Decoder | None = None
        self._input = b""
        self._at = 0  # of it is taken
        self._source_ended = False
        self._members = 0
        self._ended = False

    def read(self, size: int) -> bytes:
        """The next bytes, about `size` of them or what a step gives; empty only at the end."""
        while not self._ended:
            if self._decoder is None and not self._next_member():
                break
            out = self._one_step(min(size, OUTPUT_BYTES))
            if out:
                return out
        return b""

    def _fill(self, least: int) -> None:
        while len(self._input) - self._at < least and not self._source_ended:
            more = self._source.read(INPUT_BYTES)
            self._input = self._input[self._at :] + more
            self._at = 0
            self._source_ended = not more

    def _next_member(self) -> bool:
        """Start the next member; False at the end of them."""
        self._fill(LONGEST_MAGIC)
        if self._members:
            # tapes and xz pad with zeros between and after members
            while self._input.startswith(b"\0", self._at):
                self._input, self._at = self._input[self._at :].lstrip(b"\0"), 0
                self._fill(LONGEST_MAGIC)
        if not self._input.startswith(self._magics, self._at):
            self._ended = True
            self.trailing = len(self._input) > self._at
            return False
        self._decoder = self._make()
        self._members += 1
        return True

    def _one_step(self, limit: int) -> bytes:
        decoder = self._decoder
        assert decoder is not None
        data = b""
        if decoder.needs_input:
            self._fill(1)
            data = self._input[self._at : self._at + self._step]
            self._at += len(data)
        at_end = decoder.needs_input and not data  # but a decoder may still hold something back
        try:
            out = decoder.decompress(data, limit)
        except DamagedError as damaged:
            self.damage = f"the {self.kind} data {damaged.why}"
            self._ended = True
            return damaged.good
        if decoder.eof:
            self._at -= len(decoder.unused_data)
            self._decoder = None
        elif at_end and not out:
            self.damage = f"the {self.kind} data is cut off"
            self._ended = True
        return out
