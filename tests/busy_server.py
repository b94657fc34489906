"""A capture of a busy server with a known number of sockets in each state: what its `netstat` would count.

Owns the bytes. The numbers are those of a server in the field; that a socket stands in a state follows from the
segments alone (RFC 9293 section 3.3.2), all of them within the last seconds before the end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

SERVER = "198.51.100.20"
COUNTS = {
    "TIME_WAIT": 1443,
    "CLOSE_WAIT": 1122,
    "SYN_SENT": 3,
    "FIN_WAIT1": 2074,
    "FIN_WAIT2": 195,
    "ESTABLISHED": 89782,
    "SYN_RECV": 7314,
    "LISTEN": 9,
    "CLOSING": 9,
    "LAST_ACK": 2372,
}
START = 1_700_000_000
F, S, A = 1, 2, 16

_SERVER = bytes((198, 51, 100, 20))
_RECORD = struct.Struct("<IIII12s2sBBHHHBBH4s4sHHIIBBHHH")


def write(path: Path) -> str:
    """Write the capture; its path as text."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
        file.write(b"".join(_records()))
    return str(path)


def _records() -> Iterator[bytes]:
    """Every connection's segments, a few microseconds apart: the last connection ends 0.4 s after the first began."""
    when = 0
    number = 0
    for state, count in COUNTS.items():
        for _ in range(count if state != "LISTEN" else 0):
            for by_server, flags, seq, ack in _SCRIPTS[state]:
                when += 1_000
                yield _record(when, number, by_server, flags, seq, ack, outgoing=state == "SYN_SENT")
            number += 1


_C, _R = False, True  # sent by the client, by the server
_OPEN = ((_C, S, 100, 0), (_R, S | A, 500, 101), (_C, A, 101, 501))
_CLIENT_CLOSES = (*_OPEN, (_C, F | A, 101, 501), (_R, A, 501, 102))
_SCRIPTS = {
    "SYN_SENT": ((_R, S, 100, 0),),
    "SYN_RECV": _OPEN[:2],
    "ESTABLISHED": _OPEN,
    "CLOSE_WAIT": _CLIENT_CLOSES,
    "LAST_ACK": (*_CLIENT_CLOSES, (_R, F | A, 501, 102)),
    "FIN_WAIT1": (*_OPEN, (_R, F | A, 501, 101)),
    "FIN_WAIT2": (*_OPEN, (_R, F | A, 501, 101), (_C, A, 101, 502)),
    "CLOSING": (*_OPEN, (_R, F | A, 501, 101), (_C, F | A, 101, 501), (_R, A, 502, 102)),
    "TIME_WAIT": (*_OPEN, (_R, F | A, 501, 101), (_C, A, 101, 502), (_C, F | A, 101, 502), (_R, A, 502, 102)),
}


def _record(when: int, number: int, by_server: bool, flags: int, seq: int, ack: int, *, outgoing: bool) -> bytes:
    """One frame; client and server port follow from the connection's number (nine services)."""
    client = bytes((10, 0, number // 20_000, 1))
    port, service = 10_000 + number % 20_000, 8_001 + number % 9
    if outgoing:
        port, service = 3306, 40_000 + number % 20_000
    source, target = (_SERVER, client) if by_server else (client, _SERVER)
    ports = (service, port) if by_server else (port, service)
    second, rest = divmod(when, 10**9)
    return _RECORD.pack(
        *(START + second, rest, 54, 54, bytes(12), b"\x08\0", 0x45, 0, _big(40), 0, 0x40, 64, 6, 0, source, target),
        *map(_big, ports),
        *map(_big32, (seq + number, ack + number if ack else 0)),
        *(5 << 4, flags, _big(1000), 0, 0),
    )


def _big(value: int) -> int:
    return (value >> 8 | value << 8) & 0xFFFF


def _big32(value: int) -> int:
    return int.from_bytes(value.to_bytes(4, "big"), "little")
