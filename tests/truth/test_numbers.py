"""Flow numbers, first packets and completeness as Wireshark counts them, cause by cause: tshark is asked each time.

All cases are one capture, each on addresses of its own, so that tshark runs once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_pcap
from tiny_pcap import segment
from truth import analysis, peers

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        not peers.tshark_version().startswith(peers.PINNED),
        reason=f"needs tshark {peers.PINNED}x: later ones count otherwise",
    ),
]

Frames = Iterator[bytes]


def quote(frame: bytes, size: int = 28) -> bytes:
    """An ICMP error (host unreachable) about `frame`, with `size` bytes of its TCP segment."""
    quoted = frame[14 : 34 + size]
    icmp = struct.pack("!BBHI", 3, 1, 0, 0) + quoted
    addresses = bytes((203, 0, 113, 9)) + quoted[12:16]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0) + addresses
    return bytes(12) + b"\x08\x00" + ip + icmp


def shortened(frame: bytes) -> bytes:
    """The frame, ending with its TCP header whatever its IP length says."""
    return frame[:54]


def handshake(port: int, isn: int = 0, peer_isn: int = 0) -> list[bytes]:
    return [
        segment("S", isn, port=port),
        segment("S.", peer_isn, isn + 1, answer=True, port=port),
        segment(".", isn + 1, peer_isn + 1, port=port),
    ]


def a_quoted_stream_never_seen(port: int) -> Frames:
    yield quote(segment("S", 7, port=port + 1))
    yield from handshake(port)


def a_quoted_stream_seen_later(port: int) -> Frames:
    """It keeps the number that the error gave it; its SYN is not what opened it."""
    yield quote(segment("S", 7, port=port + 1))
    yield from handshake(port)
    yield from handshake(port + 1, 7)


def a_quotation_too_short_for_a_stream(port: int) -> Frames:
    yield quote(segment("S", 7, port=port + 1), 8)
    yield from handshake(port)


def an_error_about_a_lone_segment(port: int) -> Frames:
    lone = segment("P.", 5, 9, payload=b"x", port=port)
    yield lone
    yield quote(lone)


def a_lone_segment(port: int) -> Frames:
    yield segment("F.", 5, 9, port=port)


def two_segments_without_a_syn(port: int) -> Frames:
    yield segment("P.", 5, 9, payload=b"x", port=port)
    yield segment(".", 9, 6, answer=True, port=port)


def data_in_the_first_syn(port: int) -> Frames:
    yield segment("S", 5, payload=b"x", port=port)


def data_in_a_repeated_syn(port: int) -> Frames:
    yield segment("S", 5, port=port)
    yield segment("S", 5, payload=b"x", port=port)


def data_in_the_syn_of_a_reused_port(port: int) -> Frames:
    yield from handshake(port)
    yield segment("S", 900_000, payload=b"x", port=port)
    yield segment("S.", 800_000, 900_002, answer=True, port=port)


def a_frame_shorter_than_it_says(port: int) -> Frames:
    yield from handshake(port)
    yield shortened(segment("P.", 1, 1, payload=b"x" * 40, port=port))
    yield segment(".", 1, 41, answer=True, port=port)


def a_syn_after_an_acknowledgment_of_something_else(port: int) -> Frames:
    """Only one direction was captured of the connection before."""
    yield segment(".", 100, 5_000_000, answer=True, port=port)
    yield segment("P.", 100, 5_000_000, payload=b"x", answer=True, port=port)
    yield from handshake(port, 77)


def a_syn_captured_after_what_it_drew(port: int) -> Frames:
    frames = handshake(port)
    yield from (frames[1], frames[2], frames[0])


def a_syn_with_another_number(port: int) -> Frames:
    yield from handshake(port)
    yield from handshake(port, 900_000, 800_000)


def an_old_end_among_the_packets_of_the_new(port: int) -> Frames:
    """A challenge ACK, the RST that it draws, and old data that come late: a connection its originator lost."""
    old, new = handshake(port), handshake(port, 900_000, 800_000)
    yield from old
    yield segment("P.", 1, 1, payload=b"x" * 30, port=port)
    yield new[0]
    yield segment(".", 1, 31, answer=True, port=port)
    yield segment("R", 31, port=port)
    yield new[0]
    yield new[1]
    yield segment("P.", 1, 1, payload=b"x" * 30, port=port)
    yield new[2]


CASES: dict[str, Callable[[int], Frames]] = {
    case.__name__: case
    for case in (
        a_quoted_stream_never_seen,
        a_quoted_stream_seen_later,
        a_quotation_too_short_for_a_stream,
        an_error_about_a_lone_segment,
        a_lone_segment,
        two_segments_without_a_syn,
        data_in_the_first_syn,
        data_in_a_repeated_syn,
        data_in_the_syn_of_a_reused_port,
        a_frame_shorter_than_it_says,
        a_syn_after_an_acknowledgment_of_something_else,
        a_syn_captured_after_what_it_drew,
        a_syn_with_another_number,
        an_old_end_among_the_packets_of_the_new,
    )
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """case → what tshark and we say of its packets: stream → (first packet, completeness).

    The filter of every flow has been tried: it selects as many packets as the flow has, with the same sum of numbers.
    """
    frames: list[bytes] = []
    ranges: dict[str, tuple[int, int]] = {}
    for number, (name, case) in enumerate(CASES.items()):
        made = list(case(30_000 + 10 * number))
        ranges[name] = len(frames) + 1, len(frames) + len(made)
        frames += made
    path: Path = tmp_path_factory.mktemp("numbers") / "cases.pcap"
    path.write_bytes(tiny_pcap.pcap(*((0.01 * at, frame) for at, frame in enumerate(frames))))
    rows = analysis.records(path)
    said = peers.tshark(path, [row["wireshark_filter"] for row in rows])
    theirs = said.streams
    ours = {row["flow"]: (row["first_packet"], row["completeness"]) for row in rows}
    packets = analysis.packets(path)
    for row in rows:
        mine = packets[row["first_packet"]]
        assert said.selected[row["wireshark_filter"]] == (len(mine), sum(mine)), row["wireshark_filter"]
    return {
        name: tuple(
            {stream: what for stream, what in said.items() if first <= what[0] <= last} for said in (theirs, ours)
        )
        for name, (first, last) in ranges.items()
    }


@pytest.mark.parametrize("case", CASES)
def test_numbers(case: str, answers: dict[str, tuple[Any, Any]]) -> None:
    theirs, ours = answers[case]
    assert theirs
    assert ours == theirs
