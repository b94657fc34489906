"""pcap files made by hand, byte by byte; expected values are the numbers they were made from."""

from __future__ import annotations

import io
import struct

import pytest

from analyzer.capture import open_capture
from analyzer.errors import CaptureError, NotACaptureError

SECOND = 1_700_000_000
FRAME = bytes(range(60))
LITTLE, BIG = "<", ">"


def pcap(*records, magic=0xA1B2C3D4, order=LITTLE, version=(2, 4), snaplen=65535, linktype=1, extra=b"", tail=b""):
    """`records` are (seconds, fraction, caplen, wirelen, bytes); `tail` goes after each record header."""
    out = [struct.pack(order + "IHHiIII", magic, *version, 0, 0, snaplen, linktype), extra]
    for seconds, fraction, caplen, wirelen, data in records:
        out += [struct.pack(order + "IIII", seconds, fraction, caplen, wirelen), tail, data]
    return b"".join(out)


def record(fraction=0, data=FRAME, wirelen=None, seconds=SECOND):
    return (seconds, fraction, len(data), len(data) if wirelen is None else wirelen, data)


def read(data):
    """(capture, its frames as (packet, ts_ns, bytes, wirelen, linktype))"""
    capture = open_capture([io.BytesIO(data)])
    return capture, frames(capture)


def frames(capture):
    return [
        (
            batch.first_packet + i,
            batch.ts_ns[i],
            batch.data[batch.offset[i] : batch.offset[i] + batch.caplen[i]],
            batch.wirelen[i],
            batch.linktype[i],
        )
        for batch in capture
        for i in range(batch.count)
    ]


@pytest.mark.parametrize("order", [LITTLE, BIG])
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_both_resolutions_in_both_byte_orders(order, magic, unit):
    _, got = read(pcap(record(123_456, wirelen=1500), magic=magic, order=order))
    assert got == [(1, SECOND * 10**9 + 123_456 * unit, FRAME, 1500, 1)]


@pytest.mark.parametrize("order", [LITTLE, BIG])
def test_modified_pcap_has_24_bytes_before_each_frame(order):
    _, got = read(pcap(record(5), record(6), magic=0xA1B2CD34, order=order, tail=bytes(8)))
    assert [(number, stamp, data) for number, stamp, data, *_ in got] == [
        (1, SECOND * 10**9 + 5000, FRAME),
        (2, SECOND * 10**9 + 6000, FRAME),
    ]


@pytest.mark.parametrize("magic", [0x1C0001AC, 0x1C0001AB])
def test_ixia_files_state_their_length_after_the_header(magic):
    _, got = read(pcap(record(5), magic=magic, extra=struct.pack("<I", 76)))
    assert [(stamp, data) for _, stamp, data, *_ in got] == [(SECOND * 10**9 + 5000, FRAME)]


def test_frame_check_sequence_bits_are_no_part_of_the_linktype():
    _, got = read(pcap(record(), linktype=0x1400_0071))
    assert got[0][4] == 113


def test_a_file_header_alone_is_an_empty_capture():
    capture, got = read(pcap())
    assert got == []
    assert (capture.health.packets, capture.health.first_ns, capture.health.notes) == (0, None, [])


def test_last_second_of_the_unsigned_epoch():
    _, got = read(pcap(record(999_999, seconds=0xFFFFFFFF)))
    assert got[0][1] == 4_294_967_295_999_999_000


def test_microseconds_beyond_a_second_carry_over():
    _, got = read(pcap(record(1_000_001)))
    assert got[0][1] == (SECOND + 1) * 10**9 + 1000


def test_captured_more_than_the_wire_length_is_kept_as_it_is():
    capture, got = read(pcap(record(wirelen=40), record()))
    assert [(data, wirelen) for _, _, data, wirelen, _ in got] == [(FRAME, 40), (FRAME, 60)]
    assert capture.health.notes == []


def test_version_2_1_has_the_two_lengths_the_other_way_round():
    _, got = read(pcap((SECOND, 0, 1500, 60, FRAME), version=(2, 1)))
    assert got[0][2:4] == (FRAME, 1500)


def test_version_2_3_has_the_lengths_in_either_order():
    _, got = read(pcap((SECOND, 0, 1500, 60, FRAME), (SECOND, 0, 60, 1500, FRAME), version=(2, 3)))
    assert [entry[2:4] for entry in got] == [(FRAME, 1500)] * 2


@pytest.mark.parametrize("cut", [1, 59, 60, 61, 75])
def test_a_file_cut_mid_record_is_read_to_its_last_whole_record(cut):
    capture, got = read(pcap(record(1), record(2), record(3))[:-cut])
    assert [number for number, *_ in got] == [1, 2]
    assert capture.health.truncated
    assert capture.health.notes == [f"the open file {capture.health.files[0].truncated}"]
    assert "in the middle of packet 3 (byte 176)" in capture.health.notes[0]


def test_a_file_that_ends_between_records_is_whole():
    capture, _ = read(pcap(record(1), record(2)))
    assert not capture.health.truncated


@pytest.mark.parametrize("caplen", [262_145, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF])
def test_an_absurd_record_length_ends_the_file_there(caplen):
    capture, got = read(pcap(record(1), (SECOND, 2, caplen, 60, FRAME), record(3)))
    assert len(got) == 1
    assert f"past packet 1: a record claims {caplen:,} captured bytes at byte 100" in capture.health.notes[0]


def test_frames_as_long_as_the_declared_snap_length_are_read():
    data = bytes(300_000)
    _, got = read(pcap(record(1, data), record(2), snaplen=400_000))
    assert [len(entry[2]) for entry in got] == [300_000, 60]


def test_empty_frames_are_frames():
    _, got = read(pcap(*[record(i, b"") for i in range(20_000)]))
    assert [number for number, *_ in got] == list(range(1, 20_001))


def test_frames_across_chunk_borders_are_whole():
    sizes = [(i * 7919) % 1500 for i in range(3000)]
    contents = [bytes([i & 255]) * size for i, size in enumerate(sizes)]
    _, got = read(pcap(*[record(i, data) for i, data in enumerate(contents)]))
    assert [entry[2] for entry in got] == contents


def test_health_counts_frames_earlier_than_the_one_before():
    capture, _ = read(pcap(record(5), record(3), record(4), record(9), record(8)))
    assert capture.health.disordered == 2
    assert (capture.health.first_ns, capture.health.last_ns) == (SECOND * 10**9 + 3000, SECOND * 10**9 + 9000)


def test_health_of_a_file():
    data = pcap(record(5), record(7), snaplen=96, linktype=113, order=BIG)
    capture, _ = read(data)
    (file,) = capture.health.files
    assert (file.format, file.variant, file.compression) == ("pcap", "microseconds, big-endian", "")
    assert (file.bytes, file.packets, file.snaplen, file.linktypes) == (len(data), 2, 96, (113,))


def test_leading_junk_makes_it_no_capture():
    with pytest.raises(NotACaptureError):
        open_capture([io.BytesIO(b"\0\0" + pcap(record()))])


FOREIGN = {
    "empty": (b"", "empty"),
    "snoop": (b"snoop\0\0\0\0\0\0\x02\0\0\0\x04" + bytes(40), "snoop"),
    "erf": (
        bytes(4) + struct.pack("<I", SECOND) + b"\x02\x04" + struct.pack(">HHH", 80, 0, 60) + bytes(64),
        "ERF",
    ),
    "netmon": (b"GMBU\0\x02" + bytes(100), "Network Monitor"),
    "text": (b"12:00:01.000000 IP 10.0.0.1.80 > 10.0.0.2.1234: Flags [S]\n", "text"),
    "utf-8 text cut in a character": (b"x" * 63 + "é".encode(), "text"),
    "html": (b"\n<!DOCTYPE html><html>", "HTML"),
    "json": (b'{"a": 1}', "JSON"),
    "zip": (b"PK\x03\x04" + bytes(50), "zip"),
    "elf": (b"\x7fELF\x02\x01\x01" + bytes(60), "ELF"),
    "zeros": (bytes(100), "zero"),
    "cut header": (pcap()[:23], "cut off inside its 24-byte header"),
    "cut section": (b"\n\r\r\n\x1c\0\0\0", "pcapng file cut off"),
    "noise": (bytes([7, 200, 3, 250] * 20), "07 c8 03 fa"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_capture_is_named_in_one_line(name, tmp_path):
    data, words = FOREIGN[name]
    path = tmp_path / "thing"
    path.write_bytes(data)
    with pytest.raises(NotACaptureError) as caught:
        open_capture([path])
    message = str(caught.value)
    assert str(path) in message
    assert words in message
    assert "pcap and pcapng" in message
    assert "\n" not in message


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(CaptureError, match=r"gone\.pcap: no such file or directory"):
        open_capture([tmp_path / "gone.pcap"])


def test_any_single_damaged_byte_neither_raises_nor_reads_outside():
    data = pcap(*[record(i, FRAME[: 10 + i]) for i in range(8)])
    for at in range(24, len(data)):
        for value in (0x00, 0x7F, 0xFF):
            _, got = read(data[:at] + bytes([value]) + data[at + 1 :])
            assert sum(len(entry[2]) for entry in got) <= len(data)
