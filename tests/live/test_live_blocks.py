"""The ring's framer, compiled and not, on blocks written as the kernel's header says."""

from __future__ import annotations

import io
import struct
from types import ModuleType

import dpkt
import pytest
import tiny_pcap
from live.ring_blocks import BLOCK, HOST, OUTGOING, TPID_VALID, VLAN_VALID, Frame, block

NS = tiny_pcap.START_NS
SYN = tiny_pcap.segment("S", 100)


@pytest.fixture(scope="module")
def blocks(implementation) -> ModuleType:
    return implementation.load("analyzer.capture.blocks")


def frames(batch) -> list[tuple[int, bytes, int]]:
    spans = zip(batch.offset[: batch.count], batch.caplen, batch.ts_ns, batch.wirelen, strict=False)
    return [(ns, batch.data[at : at + size], wire) for at, size, ns, wire in spans]


def read_by_dpkt(data: bytes, linktype: int = 1) -> list[bytes]:
    head = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    head += struct.pack("<IIHHII", 1, 20, linktype, 0, 65535, 20)
    return [bytes(frame) for _, frame in dpkt.pcapng.Reader(io.BytesIO(head + data))]


def test_frames_come_out_as_they_are_with_their_times(blocks):
    framer = blocks.BlockFramer(1, BLOCK)
    batch = framer.take(block(Frame(NS, SYN), Frame(NS + 7, SYN + b"xyz", wire=9000)), 0)
    assert frames(batch) == [(NS, SYN, len(SYN)), (NS + 7, SYN + b"xyz", 9000)]
    assert framer.packets == 2


def test_the_data_are_pcapng_blocks_that_others_read(blocks):
    batch = blocks.BlockFramer(1, BLOCK).take(block(*(Frame(NS, SYN + bytes(odd)) for odd in range(5))), 0)
    assert read_by_dpkt(batch.data) == [SYN + bytes(odd) for odd in range(5)]


def test_a_block_in_the_middle_of_the_ring_is_found(blocks):
    ring = bytearray(BLOCK) + block(Frame(NS, SYN)) + bytearray(BLOCK)
    assert frames(blocks.BlockFramer(1, BLOCK).take(ring, BLOCK)) == [(NS, SYN, len(SYN))]


@pytest.mark.parametrize(
    ("status", "tpid", "expected"), [(VLAN_VALID, 0, 0x8100), (VLAN_VALID | TPID_VALID, 0x88A8, 0x88A8)]
)
def test_a_tag_that_the_kernel_stripped_is_put_back(blocks, status, tpid, expected):
    batch = blocks.BlockFramer(1, BLOCK).take(block(Frame(NS, SYN, status=status, tci=0x2064, tpid=tpid)), 0)
    tagged = SYN[:12] + struct.pack(">HH", expected, 0x2064) + SYN[12:]
    assert frames(batch) == [(NS, tagged, len(tagged))]


def test_a_length_that_leaves_no_room_for_the_tag_stays_in_its_bits(blocks):
    frame = Frame(NS, SYN, wire=0xFFFFFFFF, status=VLAN_VALID, tci=1)
    batch = blocks.BlockFramer(1, BLOCK).take(block(frame), 0)
    assert [wire for _, _, wire in frames(batch)] == [0xFFFFFFFF]


def test_cooked_packets_get_an_sll2_header(blocks):
    packet = SYN[14:]
    batch = blocks.BlockFramer(276, BLOCK, cooked=True).take(block(Frame(NS, packet, ifindex=0x01020304)), 0)
    head = dpkt.sll2.SLL2(frames(batch)[0][1])
    assert (head.ethtype, head.intindex, head.hrd, head.type, head.hlen) == (0x0800, 0x01020304, 1, HOST, 6)
    assert frames(batch)[0][1][20:] == packet


def test_what_a_loopback_interface_sends_is_left_out_because_it_comes_again(blocks):
    sent = Frame(NS, SYN, pkttype=OUTGOING, ifindex=1)
    kept = [Frame(NS + 1, SYN, ifindex=1), Frame(NS + 2, SYN, pkttype=OUTGOING, ifindex=2)]
    batch = blocks.BlockFramer(1, BLOCK, loopback=1).take(block(sent, kept[0], sent, kept[1]), 0)
    assert [ns for ns, _, _ in frames(batch)] == [NS + 1, NS + 2]


def test_a_block_that_contradicts_itself_is_left_at_its_last_good_frame(blocks):
    damaged = block(Frame(NS, SYN), Frame(NS + 1, SYN))
    second = 48 + struct.unpack_from("=I", damaged, 48)[0]
    struct.pack_into("=I", damaged, second + 12, 1 << 30)
    framer = blocks.BlockFramer(1, BLOCK)
    assert frames(framer.take(damaged, 0)) == [(NS, SYN, len(SYN))]
    assert framer.malformed == 1


@pytest.mark.parametrize("step", [3600 * 10**9, -3600 * 10**9])
def test_time_goes_on_where_the_clock_was_set(blocks, step):
    """The frames of one block bear the time before and the time after; the file keeps both."""
    framer = blocks.BlockFramer(1, BLOCK)
    framer.take(block(Frame(NS, SYN)), 0)
    framer.step(step)
    batch = framer.take(block(Frame(NS + 10, SYN), Frame(NS + 20 + step, SYN), Frame(NS + 30 + step, SYN)), 0)
    assert list(batch.ts_ns[: batch.count]) == [NS + 10, NS + 20, NS + 30]
    high, low = struct.unpack_from("<II", batch.data, len(batch.data) // 3 * 2 + 12)
    assert high << 32 | low == NS + 30 + step


def test_a_batch_cut_short_takes_its_data_with_it(blocks):
    batch = blocks.BlockFramer(1, BLOCK).take(block(*(Frame(NS, SYN + bytes(odd)) for odd in range(4))), 0)
    cut = blocks.cut(batch, 3)
    assert read_by_dpkt(cut.data) == [SYN, SYN + bytes(1), SYN + bytes(2)]
