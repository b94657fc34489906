"""pcapng files made by hand, block by block; expected values are the numbers they were made from."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import pytest

from analyzer.capture import open_capture

SECOND = 1_700_000_000
MICROS = SECOND * 10**6
FRAME = bytes(range(60))
LITTLE, BIG = "<", ">"
IF_TSRESOL, IF_TSOFFSET, IF_NAME = 9, 14, 2


def padded(data):
    return data + bytes(-len(data) % 4)


def block(kind, body, order=LITTLE, length=None):
    length = struct.pack(order + "I", len(padded(body)) + 12 if length is None else length)
    return struct.pack(order + "I", kind) + length + padded(body) + length


def option(code, value, order=LITTLE):
    return struct.pack(order + "HH", code, len(value)) + padded(value)


def section(order=LITTLE, major=1):
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, major, 0, -1), order)


def interface(linktype=1, snaplen=0, options=b"", order=LITTLE):
    return block(1, struct.pack(order + "HHI", linktype, 0, snaplen) + options, order)


def enhanced(ticks=MICROS, data=FRAME, wirelen=None, number=0, order=LITTLE, caplen=None, options=b""):
    caplen = len(data) if caplen is None else caplen
    wirelen = len(data) if wirelen is None else wirelen
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, caplen, wirelen)
    return block(6, head + padded(data) + options, order)


def simple(data, wirelen):
    return block(3, struct.pack("<I", wirelen) + data)


def obsolete(ticks, data, number=0):
    return block(2, struct.pack("<HHIIII", number, 7, ticks >> 32, ticks & 0xFFFFFFFF, len(data), 1500) + data)


def statistics(number, *options, order=LITTLE):
    body = struct.pack(order + "III", number, 0, 0)
    return block(5, body + b"".join(option(code, struct.pack(order + "Q", n), order) for code, n in options), order)


def read(data):
    capture = open_capture([io.BytesIO(data)])
    return capture, [
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


def stamps(data):
    return [entry[1] for entry in read(data)[1]]


@pytest.mark.parametrize("order", [LITTLE, BIG])
def test_enhanced_packets_in_both_byte_orders(order):
    _, got = read(section(order) + interface(113, order=order) + enhanced(MICROS + 7, wirelen=1500, order=order))
    assert got == [(1, SECOND * 10**9 + 7000, FRAME, 1500, 113)]


def test_each_section_has_its_own_byte_order_and_interfaces():
    data = (
        section()
        + interface(1)
        + interface(101)
        + enhanced(number=1)
        + section(BIG)
        + interface(276, order=BIG)
        + enhanced(MICROS + 1, order=BIG)
    )
    capture, got = read(data)
    assert [(number, linktype) for number, *_, linktype in got] == [(1, 101), (2, 276)]
    assert capture.health.files[0].linktypes == (1, 101, 276)


RESOLUTIONS = {
    "seconds": (0, 1),
    "milliseconds": (3, 10**3),
    "microseconds": (6, 10**6),
    "nanoseconds": (9, 10**9),
    "picoseconds": (12, 10**12),
    "2^-10": (0x8A, 2**10),
    "2^-32": (0xA0, 2**32),
    "2^-63": (0xBF, 2**63),
}


@pytest.mark.parametrize("name", RESOLUTIONS)
def test_time_is_exact_in_every_resolution(name):
    code, units = RESOLUTIONS[name]
    ticks = min(SECOND * units + units // 3, 2**64 - 1)
    data = section() + interface(options=option(IF_TSRESOL, bytes([code]))) + enhanced(ticks)
    assert stamps(data) == [int(Fraction(ticks, units) * 10**9 // 1)]


@pytest.mark.parametrize("offset", [SECOND, -5, 0])
def test_if_tsoffset_moves_time_by_seconds(offset):
    options = option(IF_TSOFFSET, struct.pack("<q", offset))
    assert stamps(section() + interface(options=options) + enhanced(9_500_000)) == [(offset + 9) * 10**9 + 500_000_000]


def test_interfaces_keep_their_own_resolution():
    data = section() + interface() + interface(options=option(IF_TSRESOL, b"\x09"))
    data += enhanced(MICROS, number=0) + enhanced(SECOND * 10**9 + 1, number=1)
    assert stamps(data) == [SECOND * 10**9, SECOND * 10**9 + 1]


def test_time_beyond_64_bits_is_held_at_the_end_and_noted():
    capture, got = read(section() + interface() + enhanced(2**64 - 1))
    assert got[0][1] == 2**63 - 1
    assert "outside the years" in capture.health.notes[0]


def test_simple_packets_are_cut_at_the_snap_length_and_have_no_time_of_their_own():
    data = section() + interface(snaplen=30) + enhanced() + simple(FRAME[:30], 60) + simple(FRAME[:20], 20)
    capture, got = read(data)
    assert [entry[1:4] for entry in got[1:]] == [
        (SECOND * 10**9, FRAME[:30], 60),
        (SECOND * 10**9, FRAME[:20], 20),
    ]
    assert capture.health.files[0].untimed == 2
    assert capture.health.last_ns == SECOND * 10**9


def test_nothing_but_simple_packets_has_no_first_time():
    capture, got = read(section() + interface() + simple(FRAME, 60))
    assert (got[0][1], capture.health.first_ns) == (0, None)


def test_obsolete_packet_blocks_are_read():
    _, got = read(section() + interface() + obsolete(MICROS + 3, FRAME))
    assert got == [(1, SECOND * 10**9 + 3000, FRAME, 1500, 1)]


def test_interface_statistics_count_what_was_dropped():
    data = section() + interface(options=option(IF_NAME, b"eth0")) + interface()
    data += statistics(0, (4, 100), (5, 3)) + statistics(0, (4, 1000), (5, 30), (7, 4)) + statistics(1, (5, 2))
    capture, _ = read(data)
    health = capture.health
    assert (health.received, health.dropped_by_interface, health.dropped_by_kernel) == (1000, 32, 4)
    assert health.files[0].interfaces[0].name == "eth0"


def test_counters_nobody_states_are_unknown():
    capture, _ = read(section() + interface() + enhanced())
    assert (capture.health.received, capture.health.dropped_by_kernel) == (None, None)


@pytest.mark.parametrize("kind", [4, 10, 0xBAD, 0x40000BAD, 99])
def test_other_blocks_are_passed_over(kind):
    data = section() + interface() + block(kind, b"name") + block(kind, b"") + enhanced()
    capture, got = read(data)
    assert (len(got), capture.health.notes) == (1, [])


def test_a_length_without_the_padding_is_read_as_wireshark_does():
    head = struct.pack("<IIIII", 0, MICROS >> 32, MICROS & 0xFFFFFFFF, 57, 57)
    data = section() + interface() + block(6, head + FRAME[:57], length=12 + 20 + 57) + enhanced(MICROS + 1)
    assert [len(entry[2]) for entry in read(data)[1]] == [57, 60]


def test_packet_options_are_no_part_of_the_frame():
    _, got = read(section() + interface() + enhanced(data=FRAME[:57], options=option(1, b"a comment") + option(0, b"")))
    assert got[0][2] == FRAME[:57]


def test_options_that_run_over_their_block_are_left_out():
    data = section() + interface(options=struct.pack("<HH", IF_TSRESOL, 0xFFFF) + b"\x09\0\0\0") + enhanced()
    assert stamps(data) == [SECOND * 10**9]


DAMAGE = {
    "4 GB": (struct.pack("<II", 99, 0xFFFFFFF0) + bytes(64), "a length of 4,294,967,280"),
    "too short": (struct.pack("<II", 99, 8) + bytes(64), "a length of 8"),
    "zero": (bytes(64), "a length of 0"),
    "lengths differ": (enhanced()[:-4] + struct.pack("<I", 4), "two lengths differ"),
    "frame over its block": (enhanced(caplen=61), "packet of 61 bytes"),
    "frame of 4 GB": (enhanced(caplen=0xFFFFFFFF), "packet of 4,294,967,295 bytes"),
    "packet block too short": (block(6, bytes(16)), "shorter than its header"),
    "simple block too short": (block(3, b""), "simple packet block"),
    "no such interface": (enhanced(number=1), "interface 1 of 1"),
    "interface too short": (block(1, bytes(4)), "interface description"),
    "section without a magic": (block(0x0A0D0D0A, bytes(16)), "byte-order magic"),
    "section too short": (block(0x0A0D0D0A, struct.pack("<I", 0x1A2B3C4D)), "section header"),
    "version 2": (section(major=2), "version 2"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_ends_the_file_there_and_is_named(name):
    damage, words = DAMAGE[name]
    start = section() + interface() + enhanced()
    capture, got = read(start + damage + enhanced())
    assert len(got) == 1
    (note,) = capture.health.notes
    assert words in note
    assert "past packet 1" in note
    assert f"byte {len(start)}" in note


@pytest.mark.parametrize("cut", [1, 4, 50, 91])
def test_a_file_cut_mid_block_is_read_to_its_last_whole_block(cut):
    capture, got = read((section() + interface() + enhanced() + enhanced())[:-cut])
    assert len(got) == 1
    assert "in the middle of a block after packet 1 (byte 140)" in capture.health.notes[0]


def test_a_section_header_alone_is_an_empty_capture():
    capture, got = read(section())
    assert (got, capture.health.notes) == ([], [])


def test_interfaces_by_the_thousand():
    data = section() + b"".join(interface(linktype=i) for i in range(3000)) + enhanced(number=2999)
    assert read(data)[1][0][4] == 2999


def test_interfaces_without_end_are_bounded():
    capture, got = read(section() + (section() + interface()) * 65_536 + interface() + enhanced())
    assert got == []
    assert "more than 65,536 interfaces" in capture.health.notes[0]


def test_of_an_interface_name_only_so_much_is_kept():
    """Else 65,536 interfaces with names of 64 KiB each would be 4 GB of a report."""
    capture, _ = read(section() + interface(options=option(IF_NAME, b"n" * 65_535)))
    assert capture.health.files[0].interfaces[0].name == "n" * 255


def test_an_option_list_without_end_is_read_so_far():
    many = option(1, b"") * 2000
    capture, got = read(section() + interface(options=many + option(IF_NAME, b"far")) + enhanced())
    assert (capture.health.files[0].interfaces[0].name, len(got)) == ("", 1)


def test_empty_blocks_at_the_end_do_not_stall():
    capture, _ = read(section() + interface() + block(99, b"") * 3)
    assert capture.health.notes == []


def test_any_single_damaged_byte_neither_raises_nor_reads_outside():
    data = section() + interface(options=option(IF_TSRESOL, b"\x09")) + enhanced() + simple(FRAME, 60)
    data += obsolete(MICROS, FRAME) + statistics(0, (4, 1)) + enhanced()
    for at in range(12, len(data)):
        for value in (0x00, 0x7F, 0xFF):
            _, got = read(data[:at] + bytes([value]) + data[at + 1 :])
            assert sum(len(entry[2]) for entry in got) <= len(data)
