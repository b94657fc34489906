"""Takes the machine out of a pcapng file: which processor and which kernel build wrote it is nobody's business.

Owns: the options of section and interface blocks. Must not know: packets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

SECTION, INTERFACE = 0x0A0D0D0A, 1
# Block type -> (length of its fixed part, option codes to leave out), pcapng draft, sections 4.1 and 4.2.
TELLTALES = {
    SECTION: (16, {2, 3}),  # shb_hardware, shb_os
    INTERFACE: (8, {12, 15}),  # if_os, if_hardware
}


def anonymize(pcapng: Path) -> None:
    """Rewrite a little-endian pcapng file without those options; everything else stays as it is."""
    pcapng.write_bytes(b"".join(_block(kind, body) for kind, body in _blocks(pcapng.read_bytes())))


def _blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        yield kind, data[at + 8 : at + length - 4]
        at += length


def _block(kind: int, body: bytes) -> bytes:
    if kind in TELLTALES:
        fixed, unwanted = TELLTALES[kind]
        body = body[:fixed] + b"".join(whole for code, whole in _options(body[fixed:]) if code not in unwanted)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        code, length = struct.unpack_from("<HH", data, at)
        padded = 4 + (length + 3) // 4 * 4
        yield code, data[at : at + padded]
        at += padded
