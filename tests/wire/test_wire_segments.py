"""What a row says of IP and TCP: lengths, options, fragments, checksums, ICMP errors. Packets are scapy's."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from analyzer.segments import (
    BAD_CHECKSUM,
    CHECKSUM_UNKNOWN,
    CUT,
    FRAGMENT,
    HAS_IP_ID,
    HAS_TIMESTAMP,
    ICMP_ERROR,
    IPV6,
    OFFLOADED,
    OPT_FAST_OPEN,
    OPT_MPTCP,
    OPT_MSS,
    OPT_SACK_PERMITTED,
    OPT_TIMESTAMPS,
    OPT_WSCALE,
    PARTIAL_CHECKSUM,
    SEGMENT,
    SHORT_FRAME,
    SegmentBatch,
)

scapy = pytest.importorskip("scapy.all")

RAW = 101
CHECKSUM_MARKS = BAD_CHECKSUM | CHECKSUM_UNKNOWN


def ether(**fields: Any) -> Any:
    """With both addresses given, so that scapy asks no network for them."""
    return scapy.Ether(src="00:1b:21:00:00:02", dst="00:1b:21:00:00:01", **fields)


def v4(**fields: Any) -> Any:
    return scapy.IP(src="192.0.2.1", dst="198.51.100.2", **fields)


def v6(**fields: Any) -> Any:
    return scapy.IPv6(src="2001:db8::1", dst="2001:db8::2", **fields)


def tcp(**fields: Any) -> Any:
    return scapy.TCP(sport=40000, dport=9502, seq=1000, ack=2000, **fields)


def with_options(options: bytes) -> bytes:
    """A SYN whose option list is these bytes, filled with zeros to whole words; its checksum is right."""
    filled = options + bytes(-len(options) % 4)
    header = bytes(tcp(flags="S", dataofs=5 + len(filled) // 4, chksum=0)) + filled
    checksum = scapy.in4_chksum(6, v4(), header)
    return bytes(v4(proto=6) / scapy.Raw(header[:16] + struct.pack("!H", checksum) + header[18:]))


# TCP header


@pytest.mark.parametrize("flags", ["F", "S", "R", "P", "A", "U", "E", "C", "N", "SA", "FSRPAUECN"])
def test_all_nine_flags_are_read(flags: str, decode: Any) -> None:
    segment = tcp(flags=flags)
    assert decode(bytes(v4() / segment), RAW).row["flags"] == int(segment.flags)


def test_options_of_a_syn_are_read(decode: Any) -> None:
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (0xFFFFFFFE, 7)), ("NOP", None), ("WScale", 14)]
    row = decode(bytes(v4() / tcp(flags="S", options=options)), RAW).row
    assert row["options"] == OPT_MSS | OPT_SACK_PERMITTED | OPT_TIMESTAMPS | OPT_WSCALE
    assert (row["mss"], row["wscale"], row["tsval"], row["tsecr"]) == (1460, 14, 0xFFFFFFFE, 7)
    assert row["mark"] & HAS_TIMESTAMP


def test_timestamps_of_an_ordinary_segment_are_read(decode: Any) -> None:
    options = [("NOP", None), ("NOP", None), ("Timestamp", (3, 4))]
    row = decode(bytes(v4() / tcp(flags="A", options=options) / b"data"), RAW).row
    assert (row["options"], row["tsval"], row["tsecr"], row["payload"]) == (OPT_TIMESTAMPS, 3, 4, 4)


def test_nothing_of_one_frame_is_left_in_the_next_row(decode: Any) -> None:
    options = [("MSS", 1460), ("Timestamp", (3, 4)), ("WScale", 7), ("EOL", None)]
    full = bytes(v4() / tcp(flags="S", options=options))
    plain = bytes(v6() / tcp(flags="A"))
    row = decode([full, plain], RAW).rows[1]
    assert [row[name] for name in ("options", "mss", "wscale", "tsval", "tsecr", "ip_id")] == [0] * 6
    assert row["mark"] == IPV6


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (bytes.fromhex("2202"), OPT_FAST_OPEN),
        (bytes.fromhex("220a0102030405060708"), OPT_FAST_OPEN),
        (bytes.fromhex("fe04f989"), OPT_FAST_OPEN),
        (bytes.fromhex("fe04f98a"), 0),
        (bytes.fromhex("1e0c0081") + bytes(8), OPT_MPTCP),
        (bytes.fromhex("1e0c1001") + bytes(8), OPT_MPTCP),
        (bytes.fromhex("1e0820010000000a"), 0),
        (bytes.fromhex("0101030307"), OPT_WSCALE),
        (bytes.fromhex("00") + bytes.fromhex("030307"), 0),
    ],
    ids=["cookie request", "cookie", "experiment", "other experiment", "MP_CAPABLE", "MP_JOIN", "DSS", "NOPs", "end"],
)
def test_an_option_is_recognized_by_its_kind(options: bytes, expected: int, decode: Any) -> None:
    decoded = decode(with_options(options), RAW)
    assert decoded.row["options"] == expected
    assert decoded.decoder.malformed_options == 0


@pytest.mark.parametrize(
    "options",
    ["02ff05b4", "0200", "02", "0303", "020305b4", "0a0b" + "00" * 6, "0102", "080a00000001"],
    ids=["too long", "length 0", "no length", "cut", "wrong length", "past the end", "lone kind", "half a timestamp"],
)
def test_a_malformed_option_list_is_counted_and_the_row_kept(options: str, decode: Any) -> None:
    filled = bytes.fromhex(options).rjust(-(-len(options) // 8) * 4, b"\x01")
    decoded = decode(with_options(filled), RAW)
    assert decoded.row["sport"] == 40000
    assert decoded.decoder.malformed_options == 1


# Lengths


def test_padding_is_no_payload(decode: Any) -> None:
    frame = bytes(ether() / v4() / tcp())
    assert decode(frame.ljust(60, b"\x00")).row["payload"] == 0


def test_the_payload_is_what_the_ip_header_says_not_what_was_captured(decode: Any) -> None:
    frame = bytes(ether() / v4() / tcp() / bytes(1000))
    row = decode(frame[:96], wirelens=[len(frame)]).row
    assert row["payload"] == 1000
    assert row["mark"] & CHECKSUM_MARKS == CHECKSUM_UNKNOWN


def test_ip_length_0_takes_the_length_from_the_frame(decode: Any) -> None:
    frame = bytes(ether() / v4(len=0) / tcp() / bytes(100))
    row = decode(frame, wirelens=[14 + 40 + 70_000]).row
    assert row["payload"] == 70_000
    assert row["mark"] & OFFLOADED


def test_a_jumbo_payload_takes_its_length_from_the_option(decode: Any) -> None:
    segment = bytes(tcp()) + bytes(50)
    header = bytes([6, 0, 0xC2, 4]) + struct.pack("!I", 8 + 20 + 80_000)
    row = decode(bytes(v6(nh=0, plen=0)) + header + segment, RAW, wirelens=[40 + 8 + 20 + 80_000]).row
    assert row["payload"] == 80_000
    assert row["mark"] & OFFLOADED


def test_ipv6_length_0_without_the_option_takes_the_length_from_the_frame(decode: Any) -> None:
    row = decode(bytes(v6(nh=6, plen=0)) + bytes(tcp()) + bytes(50), RAW, wirelens=[40 + 20 + 90_000]).row
    assert row["payload"] == 90_000
    assert row["mark"] & OFFLOADED


@pytest.mark.parametrize("captured", [14, 16, 20, 29])
def test_a_header_that_the_snap_length_cut_gives_what_is_there(captured: int, decode: Any) -> None:
    options = [("MSS", 1460), ("NOP", None), ("WScale", 7), ("SAckOK", b"")]
    packet = bytes(v4() / tcp(flags="S", window=512, options=options))
    row = decode(packet[: 20 + captured], RAW, wirelens=[len(packet)]).row
    assert (row["seq"], row["ack"], row["flags"], row["payload"]) == (1000, 2000, 2, 0)
    assert row["window"] == (512 if captured >= 16 else 0)
    assert row["options"] == (OPT_MSS | OPT_WSCALE if captured == 29 else 0)
    assert row["mark"] & CUT


@pytest.mark.parametrize("captured", [0, 4, 13])
def test_a_header_without_its_flags_is_counted(captured: int, decode: Any) -> None:
    packet = bytes(v4() / tcp())
    assert decode(packet[: 20 + captured], RAW, wirelens=[40]).decoder.counts == {"truncated_tcp": 1}


# IP headers


def test_ipv4_options_are_stepped_over(decode: Any) -> None:
    packet = v4(options=[scapy.IPOption_RR(routers=["0.0.0.0"] * 3)]) / tcp() / b"abc"
    row = decode(bytes(packet), RAW).row
    assert (row["sport"], row["payload"], row["mark"] & CHECKSUM_MARKS) == (40000, 3, 0)


def test_the_ip_identification_is_marked_also_when_it_is_0(decode: Any) -> None:
    row = decode(bytes(v4(id=0) / tcp()), RAW).row
    assert row["ip_id"] == 0
    assert row["mark"] & HAS_IP_ID


def test_ipv6_extension_headers_are_stepped_over(decode: Any) -> None:
    headers = scapy.IPv6ExtHdrHopByHop() / scapy.IPv6ExtHdrDestOpt() / scapy.IPv6ExtHdrRouting(segleft=0)
    row = decode(bytes(v6() / headers / tcp(flags="S") / b"abc"), RAW).row
    assert (row["sport"], row["payload"], row["mark"] & BAD_CHECKSUM) == (40000, 3, 0)


def test_an_atomic_fragment_is_a_whole_packet(decode: Any) -> None:
    row = decode(bytes(v6() / scapy.IPv6ExtHdrFragment(m=0, offset=0) / tcp() / b"abc"), RAW).row
    assert (row["payload"], row["mark"] & (FRAGMENT | CHECKSUM_MARKS)) == (3, 0)


# Fragments


def test_the_first_fragment_gives_the_row_and_the_others_are_counted(decode: Any) -> None:
    fragments = [bytes(part) for part in scapy.fragment(v4() / tcp() / bytes(3000), fragsize=1480)]
    decoded = decode(fragments, RAW)
    assert decoded.row["payload"] == 1460
    assert decoded.row["mark"] & (FRAGMENT | CHECKSUM_MARKS) == FRAGMENT | CHECKSUM_UNKNOWN
    assert decoded.decoder.counts == {"later_fragment": 2}


def test_the_first_ipv6_fragment_gives_the_row(decode: Any) -> None:
    packet = v6() / scapy.IPv6ExtHdrFragment(id=5) / tcp() / bytes(3000)
    decoded = decode([bytes(part) for part in scapy.fragment6(packet, 1280)], RAW)
    assert decoded.row["mark"] & FRAGMENT
    assert decoded.row["packet"] == 1
    assert decoded.decoder.counts == {"later_fragment": 2}


SYN_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (3, 4)), ("NOP", None), ("WScale", 7)]


@pytest.mark.parametrize(
    "order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)], ids=["in order", "reversed", "mixed"]
)
def test_a_header_split_over_fragments_is_put_together(order: tuple[int, ...], decode: Any) -> None:
    packet = v4(id=9) / tcp(flags="S", options=SYN_OPTIONS)
    parts = [bytes(part) for part in scapy.fragment(packet, fragsize=8)]
    assert len(parts) == 5
    decoded = decode([parts[index] for index in order], RAW)
    row = decoded.row
    assert (row["packet"], row["seq"], row["flags"], row["mss"], row["wscale"]) == (5, 1000, 2, 1460, 7)
    assert (row["payload"], row["mark"] & FRAGMENT) == (0, 0)
    assert decoded.decoder.counts == {"held_fragment": 4}


def test_a_split_header_gives_its_row_as_soon_as_it_is_whole(decode: Any) -> None:
    parts = [bytes(part) for part in scapy.fragment(v4(id=9) / tcp(flags="A") / bytes(100), fragsize=16)]
    decoded = decode(parts, RAW)
    assert decoded.row["packet"] == 2
    assert decoded.row["payload"] == 12
    assert decoded.row["mark"] & FRAGMENT


def test_a_split_header_in_ipv6_is_put_together(decode: Any) -> None:
    whole = bytes(v6() / tcp(flags="S", options=SYN_OPTIONS))
    segment = whole[40:]
    first = bytes(v6(nh=44, plen=24)) + struct.pack("!BBHI", 6, 0, 0 << 3 | 1, 77) + segment[:16]
    second = bytes(v6(nh=44, plen=8 + 24)) + struct.pack("!BBHI", 6, 0, 16, 77) + segment[16:]
    row = decode([first, second], RAW).row
    assert (row["packet"], row["seq"], row["mss"], row["payload"]) == (2, 1000, 1460, 0)


def test_fragments_of_two_packets_do_not_mix(decode: Any) -> None:
    one, two = ([bytes(part) for part in scapy.fragment(v4(id=number) / tcp(), fragsize=16)] for number in (1, 2))
    assert decode([one[0], two[1]], RAW).decoder.counts == {"held_fragment": 2}


def test_fragments_more_than_30_seconds_apart_are_not_put_together(decode: Any) -> None:
    parts = [bytes(part) for part in scapy.fragment(v4(id=1) / tcp(), fragsize=16)]
    assert decode(parts, RAW, step_ns=30_000_000_001).decoder.counts == {"held_fragment": 2}


def test_a_flood_of_first_fragments_is_bounded_and_the_oldest_leaves(decode: Any) -> None:
    pairs = [[bytes(part) for part in scapy.fragment(v4(id=number) / tcp(), fragsize=16)] for number in range(1, 1030)]
    firsts = [pair[0] for pair in pairs]
    decoded = decode([*firsts, pairs[0][1], pairs[-1][1]], RAW)
    assert decoded.row["packet"] == len(firsts) + 2
    assert decoded.row["ip_id"] == 1029


# Checksums


@pytest.mark.parametrize("network", [v4, v6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 1447, 1448, 65_000], ids=str)
def test_the_checksum_that_scapy_computes_fits(network: Any, size: int, decode: Any) -> None:
    payload = bytes(index * 7 & 255 for index in range(size))
    row = decode(bytes(network() / tcp(flags="PA") / payload), RAW).row
    assert row["mark"] & CHECKSUM_MARKS == 0


@pytest.mark.parametrize("network", [v4, v6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("size", [0, 1, 7, 1448], ids=str)
@pytest.mark.parametrize("place", [4, 13, -1], ids=["sequence number", "flags", "last byte"])
def test_one_wrong_byte_is_a_bad_checksum(network: Any, size: int, place: int, decode: Any) -> None:
    packet = bytearray(bytes(network() / tcp(flags="PA") / (b"\xa5" * size)))
    start = 20 if network is v4 else 40
    packet[place if place < 0 else start + place] ^= 0x10
    decoded = decode(bytes(packet), RAW)
    assert decoded.row["mark"] & (CHECKSUM_MARKS | PARTIAL_CHECKSUM) == BAD_CHECKSUM
    assert (decoded.decoder.bad_checksums, decoded.decoder.partial_checksums) == (1, 0)


def test_a_sum_of_the_pseudo_header_alone_is_a_bad_checksum(decode: Any) -> None:
    packet = v4() / tcp(flags="PA") / b"offloaded"
    partial = ~scapy.in4_chksum(6, scapy.IP(bytes(packet)), bytes(29)) & 0xFFFF
    decoded = decode(bytes(v4() / tcp(flags="PA", chksum=partial) / b"offloaded"), RAW)
    assert decoded.row["mark"] & (CHECKSUM_MARKS | PARTIAL_CHECKSUM) == BAD_CHECKSUM | PARTIAL_CHECKSUM
    assert (decoded.decoder.bad_checksums, decoded.decoder.partial_checksums) == (1, 1)


def test_checksums_are_left_alone_where_that_was_asked_for(decode: Any) -> None:
    row = decode(bytes(v4() / tcp(chksum=1)), RAW, verify_checksums=False).row
    assert row["mark"] & BAD_CHECKSUM == 0


def test_source_routing_under_way_leaves_the_checksum_unknown(decode: Any) -> None:
    packet = v6() / scapy.IPv6ExtHdrRouting(type=0, addresses=["2001:db8::9"], segleft=1) / tcp()
    assert decode(bytes(packet), RAW).row["mark"] & CHECKSUM_MARKS == CHECKSUM_UNKNOWN


# ICMP errors


@pytest.mark.parametrize(("kind", "code"), [(3, 1), (3, 3), (3, 4), (3, 13), (4, 0), (11, 0), (12, 0)])
def test_an_icmp_error_gives_a_row_of_the_segment_it_quotes(kind: int, code: int, decode: Any) -> None:
    quoted = v4(id=77, ttl=9) / tcp(flags="S")
    error = scapy.IP(src="203.0.113.9", dst="192.0.2.1") / scapy.ICMP(type=kind, code=code) / quoted
    decoded = decode(bytes(error)[: 20 + 8 + 20 + 8], RAW, wirelens=[56])
    row = decoded.row
    assert (row["kind"], row["options"]) == (ICMP_ERROR, kind << 8 | code)
    assert (row["src_lo"] & 0xFFFFFFFF, row["dst_lo"] & 0xFFFFFFFF) == (0xC0000201, 0xC6336402)
    assert (row["sport"], row["dport"], row["seq"], row["ip_id"], row["ttl"]) == (40000, 9502, 1000, 77, 9)
    assert (row["flags"], row["ack"], row["window"], row["payload"]) == (0, 0, 0, 0)
    assert decoded.batch.icmp_sender[0] == bytes(10) + b"\xff\xff" + bytes([203, 0, 113, 9])
    assert decoded.decoder.icmp_errors == 1


def test_a_longer_quotation_gives_flags_window_and_payload(decode: Any) -> None:
    quoted = v4() / tcp(flags="PA", window=99) / bytes(100)
    error = scapy.IP(src="203.0.113.9", dst="192.0.2.1") / scapy.ICMP(type=3, code=4) / bytes(quoted)[:60]
    row = decode(bytes(error), RAW).row
    assert (row["flags"], row["ack"], row["window"], row["payload"]) == (0x18, 2000, 99, 100)


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_an_icmpv6_error_gives_a_row_of_the_segment_it_quotes(kind: int, decode: Any) -> None:
    classes = (scapy.ICMPv6DestUnreach, scapy.ICMPv6PacketTooBig, scapy.ICMPv6TimeExceeded, scapy.ICMPv6ParamProblem)
    error = scapy.IPv6(src="2001:db8::99", dst="2001:db8::1") / classes[kind - 1]() / v6() / tcp(flags="S")
    decoded = decode(bytes(error), RAW)
    assert decoded.row["kind"] == ICMP_ERROR
    assert decoded.row["options"] == kind << 8
    assert decoded.row["mark"] & IPV6
    assert (decoded.row["seq"], decoded.row["flags"]) == (1000, 2)
    assert decoded.batch.icmp_sender[0] == bytes.fromhex("20010db8" + "00" * 11 + "99")


@pytest.mark.parametrize(
    "error",
    [
        scapy.ICMP(type=3, code=3) / v4() / scapy.UDP(),
        scapy.ICMP(type=5, code=1) / v4() / tcp(),
        scapy.ICMP(type=8) / v4() / tcp(),
        scapy.ICMP(type=3, code=3) / bytes(v4() / tcp())[:27],
        scapy.ICMP(type=11, code=1) / bytes(v4(frag=200, proto=6) / bytes(40)),
        scapy.ICMP(type=3, code=3),
    ],
    ids=["quotes UDP", "redirect", "echo", "too short", "later fragment", "quotes nothing"],
)
def test_icmp_that_quotes_no_segment_is_counted(error: Any, decode: Any) -> None:
    packet = scapy.IP(src="203.0.113.9", dst="192.0.2.1") / error
    assert decode(bytes(packet), RAW).decoder.counts == {"icmp": 1}


def test_a_segment_after_an_icmp_error_is_a_segment(decode: Any) -> None:
    error = scapy.IP(src="203.0.113.9", dst="192.0.2.1") / scapy.ICMP(type=3, code=1) / v4() / tcp(flags="S")
    rows = decode([bytes(error), bytes(v4() / tcp())], RAW).rows
    assert [row["kind"] for row in rows] == [ICMP_ERROR, SEGMENT]


# Batches and scopes


def test_a_full_batch_stops_before_the_frame_that_does_not_fit(decoder_class: type) -> None:
    from analyzer.capture.frames import FrameBatch

    packet, ping = bytes(v4() / tcp()), bytes(v4() / scapy.ICMP())
    frames = FrameBatch(packet + ping, 10, 5)
    for index, frame in enumerate([packet, ping, packet, packet, ping]):
        frames.offset[index] = 0 if frame is packet else len(packet)
        frames.caplen[index] = frames.wirelen[index] = len(frame)
        frames.linktype[index] = RAW
    frames.count = 5
    decoder, out = decoder_class(), SegmentBatch(2)
    assert decoder.decode(frames, 0, out) == 3
    assert list(out.packet) == [10, 12]
    out.clear()
    assert decoder.decode(frames, 3, out) == 5
    assert out.row(0)["packet"] == 13
    assert decoder.segments == 3
    assert decoder.counts == {"icmp": 2}


def tagged(*vlans: int) -> bytes:
    packet = ether()
    for vlan in vlans:
        packet = packet / scapy.Dot1Q(vlan=vlan, prio=vlan & 7)
    return bytes(packet / v4() / tcp())


def test_vlans_keep_scopes_apart_only_where_asked(decode: Any) -> None:
    frames = [tagged(), tagged(5), tagged(5, 6), tagged(6, 5), tagged(5), tagged()]
    assert [row["scope"] for row in decode(frames).rows] == [0] * 6
    decoded = decode(frames, by_vlan=True)
    assert [row["scope"] for row in decoded.rows] == [0, 1, 2, 3, 1, 0]
    assert decoded.decoder.scopes == ["", "vlan 5", "vlan 5.6", "vlan 6.5"]


def vxlan(number: int, source: str, destination: str) -> bytes:
    header = scapy.UDP(sport=50000, dport=4789) / scapy.VXLAN(vni=number, flags="Instance")
    return bytes(ether() / scapy.IP(src=source, dst=destination) / header / ether() / v4() / tcp())


def test_a_tunnel_is_one_scope_in_both_directions(decode: Any) -> None:
    there, back = vxlan(5, "10.0.0.2", "10.0.0.1"), vxlan(5, "10.0.0.1", "10.0.0.2")
    other, bare = vxlan(6, "10.0.0.1", "10.0.0.2"), tagged()
    decoded = decode([there, back, other, bare], by_tunnel=True)
    assert [row["scope"] for row in decoded.rows] == [1, 1, 2, 0]
    assert decoded.decoder.scopes[1:] == ["vxlan 5 10.0.0.1-10.0.0.2", "vxlan 6 10.0.0.1-10.0.0.2"]


def test_a_tunnel_without_a_segment_leaves_no_scope_behind(decode: Any) -> None:
    header = scapy.UDP(dport=4789) / scapy.VXLAN(vni=5, flags="Instance") / ether()
    empty = bytes(ether() / v4() / header / scapy.ARP())
    assert decode([empty, tagged()], by_tunnel=True).row["scope"] == 0


def test_the_counters_of_rows_are_kept(decode: Any) -> None:
    bad = bytes(v4() / tcp(chksum=1))
    cut = bytes(v4() / tcp(options=SYN_OPTIONS))[:40]
    tunnel = bytes(v4() / v4() / tcp())
    offloaded = bytes(v4(len=0) / tcp(chksum=1))
    decoder = decode([bad, cut, tunnel, offloaded], RAW, wirelens=[40, 60, 60, 40]).decoder
    assert (decoder.segments, decoder.bad_checksums, decoder.unverified) == (4, 2, 1)
    assert (decoder.cut_options, decoder.tunnelled, decoder.offloaded, decoder.fragments) == (1, 1, 1, 0)


@pytest.mark.parametrize(("captured", "on_the_wire", "short"), [(40, 40, True), (41, 41, False), (40, 80, False)])
def test_a_frame_shorter_than_its_ip_length_is_marked(
    captured: int, on_the_wire: int, short: bool, decode: Any
) -> None:
    """Cut by the snap length is something else: then the capture says how long the frame was."""
    packet = bytes(v4() / tcp() / scapy.Raw(bytes(40)))[:captured]
    row = decode(packet, RAW, wirelens=[on_the_wire]).row
    assert row["payload"] == 40
    assert bool(row["mark"] & SHORT_FRAME) == short


@pytest.mark.parametrize(("quoted", "cut"), [(8, True), (15, True), (16, False), (20, False)])
def test_a_quotation_that_ends_before_the_window_is_marked(quoted: int, cut: bool, decode: Any) -> None:
    inner = bytes(v4() / tcp())[: 20 + quoted]
    packet = bytes(scapy.IP(src="10.0.0.1", dst="192.0.2.1") / scapy.ICMP(type=11) / scapy.Raw(inner))
    row = decode(packet, RAW).row
    assert row["kind"] == ICMP_ERROR
    assert bool(row["mark"] & CUT) == cut
