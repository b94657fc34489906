"""The decoder's short way for ordinary frames says what its long way says, which `by_vlan` makes it take always."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from analyzer.capture.frames import FrameBatch
from analyzer.segments import COLUMN_TYPES, SHARDS, SegmentBatch
from analyzer.tcp.sharding import shard_of

PSEUDO = struct.Struct(">4s4sxBH")
COUNTERS = ("segments", "bad_checksums", "partial_checksums", "unverified", "cut_options", "malformed_options")


def checksum(data: bytes) -> int:
    """RFC 1071: the sum of 16-bit words in ones' complement, not yet inverted."""
    total = sum(struct.unpack(f">{len(data) // 2 + len(data) % 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def frame(dice: random.Random) -> tuple[bytes, int]:
    """An Ethernet frame with a segment, nearly as ordinary systems send it, and its length on the wire."""
    options = dice.choice((b"", b"", b"\1\1\x08\x0a" + dice.randbytes(8), b"\1\1\x08\x0a" + dice.randbytes(8)))
    if dice.random() < 0.2:
        options = dice.choice((b"\2\4\5\xb4", b"\1" * 12, b"\1\1\5\x0a" + dice.randbytes(8), b"\0" * 4))
    payload = dice.randbytes(dice.choice((0, 0, 1, 6, 100, 1448)))
    source, target = dice.randbytes(4), dice.randbytes(4)
    offset = 20 + len(options)
    tcp = dice.randbytes(12) + bytes((offset << 2 | dice.randrange(16), dice.randrange(256))) + dice.randbytes(2)
    tcp += b"\0\0" + dice.randbytes(2) + options + payload
    pseudo = PSEUDO.pack(source, target, 6, len(tcp))
    kind = dice.random()
    if kind < 0.7:
        said = ~checksum(pseudo + tcp) & 0xFFFF
    elif kind < 0.85:
        said = checksum(pseudo)
    else:
        said = dice.randrange(1 << 16)
    tcp = tcp[:16] + struct.pack(">H", said) + tcp[18:]
    fragment = dice.choice((0, 0x4000, 0x4000, 0x8000))
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), dice.randrange(1 << 16), fragment, 64, 6, 0)
    whole = bytearray(dice.randbytes(12) + b"\x08\x00" + ip + source + target + tcp + bytes(dice.choice((0, 0, 6))))
    wire = dice.choice((len(whole), len(whole), 0, len(whole) - len(payload), 54))
    if dice.random() < 0.3:  # a header like it, and yet not
        whole[dice.randrange(12, min(len(whole), 70))] = dice.randrange(256)
    if dice.random() < 0.4:
        whole = whole[: dice.choice((96, 54, 66, 53, dice.randrange(len(whole) + 1)))]
    return bytes(whole), wire


def decoded(decoder_class: Any, frames: list[tuple[bytes, int]], **how: Any) -> tuple[list[Any], list[Any], int]:
    decoder, out = decoder_class(**how), SegmentBatch(len(frames))
    batch = FrameBatch(b"".join(data for data, _ in frames), 1, len(frames))
    at = 0
    for index, (data, wire) in enumerate(frames):
        batch.offset[index], batch.caplen[index], batch.wirelen[index] = at, len(data), wire
        batch.ts_ns[index], batch.linktype[index] = index, 1
        at += len(data)
    batch.count = len(frames)
    assert decoder.decode(batch, 0, out) == len(frames)
    columns = [list(getattr(out, name)[: out.count]) for name in COLUMN_TYPES if name != "scope"]
    return columns, [decoder.counts, *(getattr(decoder, name) for name in COUNTERS)], decoder.left_out_ns


@pytest.fixture(scope="module")
def frames() -> list[tuple[bytes, int]]:
    dice = random.Random(20_261_126)
    return [frame(dice) for _ in range(20_000)]


@pytest.mark.parametrize("verify", [True, False])
def test_both_ways_say_the_same_of_every_frame(
    verify: bool, frames: list[tuple[bytes, int]], decoder_class: type
) -> None:
    short = decoded(decoder_class, frames, verify_checksums=verify)
    assert short == decoded(decoder_class, frames, verify_checksums=verify, by_vlan=True)
    assert len(short[0][0]) > 10_000


@pytest.mark.parametrize("shards", [range(22), range(22, 43), range(43, SHARDS)], ids=str)
def test_both_ways_leave_out_the_same_shards(
    shards: range, frames: list[tuple[bytes, int]], decoder_class: type
) -> None:
    columns, *rest = decoded(decoder_class, frames, shards=shards)
    assert [columns, *rest] == [*decoded(decoder_class, frames, shards=shards, by_vlan=True)]
    names = [name for name in COLUMN_TYPES if name != "scope"]
    ends = [columns[names.index(name)] for name in ("src_hi", "src_lo", "sport", "dst_hi", "dst_lo", "dport")]
    assert {shard_of(*tuple_) for tuple_ in zip(*ends, strict=True)} == set(shards)
