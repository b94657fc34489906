"""Every link layer, tag and tunnel that is read, around the same segment; the frames are scapy's, or bytes by hand.

tshark is asked whether the frames are what they are meant to be.
"""

from __future__ import annotations

import importlib
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analyzer.segments import BAD_CHECKSUM, CHECKSUM_UNKNOWN, IPV6, OUTGOING, TUNNELLED

scapy = pytest.importorskip("scapy.all")
erspan = importlib.import_module("scapy.contrib.erspan")
etherip = importlib.import_module("scapy.contrib.etherip")
geneve = importlib.import_module("scapy.contrib.geneve")
gtp = importlib.import_module("scapy.contrib.gtp")
macsec = importlib.import_module("scapy.contrib.macsec")
mpls = importlib.import_module("scapy.contrib.mpls")
nsh = importlib.import_module("scapy.contrib.nsh")
tzsp = importlib.import_module("scapy.contrib.tzsp")

PAYLOAD = b"seven b"
MACS = bytes.fromhex("001b21000001001b21000002")  # tshark tells pseudowires by known vendors
TO_DS, FROM_DS, PROTECTED = 1, 2, 0x40  # IEEE 802.11 section 9.2.4.1


def v4() -> Any:
    segment = scapy.TCP(sport=40000, dport=9502, seq=0xFFFFFFF0, ack=77, flags="PA", window=501)
    return scapy.IP(src="192.0.2.1", dst="198.51.100.2", ttl=63, id=4660) / segment / scapy.Raw(PAYLOAD)


def v6() -> Any:
    segment = scapy.TCP(sport=40000, dport=9502, seq=0xFFFFFFF0, ack=77, flags="PA", window=501)
    return scapy.IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=63) / segment / scapy.Raw(PAYLOAD)


def ether(**fields: Any) -> Any:
    return scapy.Ether(src="00:1b:21:00:00:02", dst="00:1b:21:00:00:01", **fields)


def outer(protocol: int | None = None) -> Any:
    fields = {} if protocol is None else {"proto": protocol}
    return ether() / scapy.IP(src="10.0.0.1", dst="10.0.0.2", **fields)


def udp(port: int, source: int = 51515) -> Any:
    return outer() / scapy.UDP(sport=source, dport=port, chksum=0)


def tagged(ethertype: int, *rest: Any) -> bytes:
    """An Ethernet frame of that type, and what follows."""
    return MACS + struct.pack("!H", ethertype) + b"".join(bytes(part) for part in rest)


def label(bottom: int, number: int = 16) -> bytes:
    return struct.pack("!I", number << 12 | bottom << 8 | 64)


def wifi(flags: int, *, qos: bool = False, more: int = 0) -> Any:
    header = scapy.Dot11(type=2, subtype=8 if qos else 0, FCfield=flags, addr1="00:1b:21:00:00:01")
    if qos:
        header = header / scapy.Dot11QoS(A_MSDU_Present=more)
    return header


def snap() -> Any:
    return scapy.LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / scapy.SNAP(OUI=0, code=0x0800)


def nflog(order: str) -> bytes:
    payload = bytes(v4())
    prefix = struct.pack(order + "HH", 5, 10) + b"\x00" + bytes(3)
    attributes = prefix + struct.pack(order + "HH", 4 + len(payload), 9) + payload
    return bytes([2, 0, 0, 5]) + attributes


def gre(**fields: Any) -> Any:
    return outer() / scapy.GRE(**fields)


#: name → (link type, frame, is it a tunnel)
Frame = tuple[int, Callable[[], Any], bool]
FRAMES: dict[str, Frame] = {
    "Ethernet": (1, lambda: ether() / v4(), False),
    "Ethernet, IPv6": (1, lambda: ether() / v6(), False),
    "Ethernet with padding": (1, lambda: bytes(ether() / v4()) + b"\xee" * 20, False),
    "802.1Q": (1, lambda: ether() / scapy.Dot1Q(vlan=7) / v4(), False),
    "802.1ad and 802.1Q": (1, lambda: ether() / scapy.Dot1AD(vlan=7) / scapy.Dot1Q(vlan=9) / v6(), False),
    "0x9100 and 0x9200": (1, lambda: tagged(0x9100, b"\x00\x07\x92\x00", b"\x00\x08\x08\x00", v4()), False),
    "one MPLS label": (1, lambda: ether() / mpls.MPLS(label=16, s=1) / v4(), False),
    "three MPLS labels, IPv6": (1, lambda: tagged(0x8847, label(0), label(0), label(1), v6()), False),
    "MPLS multicast": (1, lambda: tagged(0x8848, label(1), v4()), False),
    "pseudowire with control word": (1, lambda: tagged(0x8847, label(1), bytes(4), ether() / v4()), True),
    "pseudowire without control word": (1, lambda: tagged(0x8847, label(1), ether() / v4()), True),
    "LLC and SNAP": (1, lambda: scapy.Dot3(dst="00:1b:21:00:00:01") / snap() / v4(), False),
    "SNAP behind a VLAN tag": (1, lambda: ether() / scapy.Dot1Q(vlan=7, type=60) / snap() / v4(), False),
    "LLC's own IP": (1, lambda: tagged(60, b"\x06\x06\x03", v4()), False),
    "SLL": (113, lambda: scapy.CookedLinux() / v4(), False),
    "SLL with a VLAN tag": (113, lambda: scapy.CookedLinux() / scapy.Dot1Q(vlan=7) / v4(), False),
    "SLL2": (276, lambda: scapy.CookedLinuxV2() / v6(), False),
    "SLL of a monitor interface": (
        113,
        lambda: struct.pack("!HHH8sH", 0, 803, 0, bytes(8), 4) + bytes(scapy.RadioTap() / wifi(TO_DS) / snap() / v4()),
        False,
    ),
    "raw IP": (101, v4, False),
    "raw IP, IPv6": (101, v6, False),
    "raw IP by its BSD number": (12, v4, False),
    "raw IP by its OpenBSD number": (14, v4, False),
    "raw IPv4": (228, v4, False),
    "raw IPv6": (229, v6, False),
    "IP over InfiniBand": (242, lambda: bytes(40) + b"\x86\xdd\0\0" + bytes(v6()), False),
    "Junos, Ethernet": (178, lambda: b"MGC\x00" + bytes(ether() / v4()), False),
    "Junos, Ethernet with extensions": (178, lambda: b"MGC\x80\x00\x03\x01\x01\x06" + bytes(ether() / v6()), False),
    "FabricPath": (1, lambda: tagged(0x8903, b"\x40\x20", ether() / v4()), True),
    "loopback, little-endian": (0, lambda: struct.pack("<I", 2) + bytes(v4()), False),
    "loopback, big-endian": (0, lambda: struct.pack(">I", 2) + bytes(v4()), False),
    "loopback of macOS, IPv6": (0, lambda: struct.pack("<I", 30) + bytes(v6()), False),
    "loopback of FreeBSD, IPv6": (0, lambda: struct.pack("<I", 28) + bytes(v6()), False),
    "loopback of OpenBSD, IPv6": (108, lambda: struct.pack(">I", 24) + bytes(v6()), False),
    "PPP": (9, lambda: b"\x00\x21" + bytes(v4()), False),
    "PPP with address field": (9, lambda: b"\xff\x03\x00\x57" + bytes(v6()), False),
    "PPP with compressed protocol": (9, lambda: b"\x21" + bytes(v4()), False),
    "PPP in HDLC framing": (50, lambda: b"\xff\x03\x00\x21" + bytes(v4()), False),
    "Cisco HDLC under PPP's number": (50, lambda: b"\x0f\x00\x08\x00" + bytes(v4()), False),
    "Cisco HDLC under PPP's other number": (9, lambda: b"\x0f\x00\x08\x00" + bytes(v4()), False),
    "Cisco HDLC": (104, lambda: b"\x0f\x00\x86\xdd" + bytes(v6()), False),
    "PPPoE": (1, lambda: ether() / scapy.PPPoE(sessionid=5) / scapy.PPP(proto=0x21) / v4(), False),
    "PPPoE behind a VLAN tag": (
        1,
        lambda: ether() / scapy.Dot1Q(vlan=7) / scapy.PPPoE(sessionid=5) / scapy.PPP(proto=0x57) / v6(),
        False,
    ),
    "802.11 to the access point": (105, lambda: wifi(TO_DS) / snap() / v4(), False),
    "802.11 from the access point": (105, lambda: wifi(FROM_DS) / snap() / v4(), False),
    "802.11 with QoS": (105, lambda: wifi(TO_DS, qos=True) / snap() / v4(), False),
    "802.11 bridged": (
        105,
        lambda: bytes.fromhex("08030000") + bytes(26) + bytes(snap() / v4()),
        False,
    ),
    "802.11 aggregate": (
        105,
        lambda: bytes(wifi(TO_DS, qos=True, more=1)) + MACS + struct.pack("!H", 8 + 47) + bytes(snap() / v4()),
        False,
    ),
    "radiotap": (127, lambda: scapy.RadioTap() / wifi(TO_DS) / snap() / v4(), False),
    "radiotap with a padded header": (
        127,
        lambda: (
            bytes.fromhex("00000900020000002000")[:9] + bytes(wifi(TO_DS, qos=True)) + bytes(2) + bytes(snap() / v4())
        ),
        False,
    ),
    "Prism": (
        119,
        lambda: struct.pack("<II", 0x44, 144) + bytes(136) + bytes(wifi(TO_DS) / snap() / v4()),
        False,
    ),
    "AVS": (
        163,
        lambda: struct.pack("!II", 0x80211001, 64) + bytes(56) + bytes(wifi(TO_DS) / snap() / v4()),
        False,
    ),
    "PPI": (192, lambda: struct.pack("<BBHI", 0, 0, 8, 1) + bytes(ether() / v4()), False),
    "FDDI": (10, lambda: b"\x50" + MACS + bytes(snap() / v4()), False),
    "token ring": (6, lambda: b"\x10\x40" + MACS + bytes(snap() / v4()), False),
    "token ring, source-routed": (
        6,
        lambda: b"\x10\x40" + MACS[:6] + b"\x82" + MACS[7:] + b"\x06\x30\x00\x10\x00\x20" + bytes(snap() / v4()),
        False,
    ),
    "RFC 1483": (100, lambda: snap() / v4(), False),
    "NFLOG": (239, lambda: nflog("<"), False),
    "NFLOG, big-endian": (239, lambda: nflog(">"), False),
    "MPLS link": (219, lambda: label(1) + bytes(v4()), False),
    "OpenBSD pflog": (117, lambda: bytes([61, 2]) + bytes(62) + bytes(v4()), False),
    "OpenBSD enc": (109, lambda: struct.pack("<III", 2, 0, 0) + bytes(v4()), False),
    "Solaris ipnet": (226, lambda: struct.pack("!BBHIIIII", 1, 2, 0, 47, 0, 0, 0, 0) + bytes(v4()), False),
    "macOS pktap": (258, lambda: struct.pack("<III", 108, 1, 1) + bytes(96) + bytes(ether() / v4()), False),
    "PBB": (1, lambda: tagged(0x88E7, b"\x00\x00\x00\x2a", ether() / v4()), True),
    "VN-tag": (1, lambda: tagged(0x8926, bytes(4), b"\x08\x00", v4()), False),
    "E-tag": (1, lambda: tagged(0x893F, bytes(6), b"\x08\x00", v4()), False),
    "Cisco metadata": (1, lambda: tagged(0x8909, b"\x01\x01\x00\x01\x00\x05\x08\x00", v4()), False),
    "NSH": (1, lambda: ether(type=0x894F) / nsh.NSH(mdtype=2, nextproto=1) / v4(), True),
    "TRILL": (1, lambda: tagged(0x22F3, bytes([0, 0x3F, 0, 1, 0, 2]), ether() / v4()), True),
    "MACsec, integrity only": (1, lambda: tagged(0x88E5, bytes([0, 0, 0, 0, 0, 1]), b"\x08\x00", v4()), False),
    "IP in IP": (1, lambda: outer(4) / v4(), True),
    "6in4": (1, lambda: outer(41) / v6(), True),
    "4in6": (1, lambda: ether() / scapy.IPv6(src="fe80::1", dst="fe80::2", nh=4) / v4(), True),
    "EtherIP": (1, lambda: outer(97) / etherip.EtherIP() / ether() / v4(), True),
    "MPLS in IP": (1, lambda: outer(137) / scapy.Raw(label(1) + bytes(v4())), True),
    "AH": (1, lambda: outer(51) / scapy.AH(nh=4, payloadlen=4, icv=bytes(12)) / v4(), True),
    "GRE": (1, lambda: gre() / v4(), True),
    "GRE with all fields": (1, lambda: gre(chksum_present=1, key_present=1, key=5, seqnum_present=1) / v6(), True),
    "GRE, transparent Ethernet": (1, lambda: gre(proto=0x6558) / ether() / scapy.Dot1Q(vlan=7) / v4(), True),
    "PPTP": (
        1,
        lambda: outer(47) / scapy.Raw(bytes.fromhex("3081880b0033000100000001") + bytes(4) + b"!" + bytes(v4())),
        True,
    ),
    "ERSPAN I": (1, lambda: gre(proto=0x88BE) / ether() / v4(), True),
    "ERSPAN II": (
        1,
        lambda: gre(proto=0x88BE, seqnum_present=1) / erspan.ERSPAN_II(session_id=9) / ether() / v4(),
        True,
    ),
    "ERSPAN III": (
        1,
        lambda: gre(proto=0x22EB, seqnum_present=1) / erspan.ERSPAN_III(session_id=9) / ether() / v4(),
        True,
    ),
    "VXLAN": (1, lambda: udp(4789) / scapy.VXLAN(vni=5, flags="Instance") / ether() / v4(), True),
    "VXLAN on Linux's old port": (1, lambda: udp(8472) / scapy.VXLAN(vni=5, flags="Instance") / ether() / v4(), True),
    "VXLAN-GPE": (1, lambda: udp(4790) / scapy.Raw(bytes.fromhex("0c00000100000500") + bytes(v4())), True),
    "GENEVE": (1, lambda: udp(6081) / geneve.GENEVE(vni=5) / ether() / v4(), True),
    "GENEVE with options, IP": (
        1,
        lambda: udp(6081) / scapy.Raw(bytes.fromhex("0200080000000500" + "0102030100000000") + bytes(v4())),
        True,
    ),
    "GTP-U": (1, lambda: udp(2152) / gtp.GTP_U_Header(teid=3, E=0, S=0, PN=0) / v4(), True),
    "GTP-U with sequence number": (1, lambda: udp(2152) / gtp.GTP_U_Header(teid=3, S=1, seq=1) / v6(), True),
    "GTP-U with an extension header": (
        1,
        lambda: udp(2152) / scapy.Raw(bytes.fromhex("34ff003700000003" + "00000085" + "01000900") + bytes(v4())),
        True,
    ),
    "Teredo": (1, lambda: udp(3544) / v6(), True),
    "Teredo, answered": (1, lambda: udp(51515, 3544) / v6(), True),
    "Teredo with origin indication": (1, lambda: udp(3544) / scapy.Raw(bytes(8) + bytes(v6())), True),
    "AYIYA": (
        1,
        lambda: udp(5072) / scapy.Raw(bytes.fromhex("42521129") + bytes(4 + 16 + 20) + bytes(v6())),
        True,
    ),
    "L2TP": (
        1,
        lambda: udp(1701, 1701) / scapy.Raw(bytes.fromhex("000200010002ff030021") + bytes(v4())),
        True,
    ),
    "TZSP": (1, lambda: udp(37008) / tzsp.TZSP() / tzsp.TZSPTagEnd() / ether() / v4(), True),
    "GRE in UDP": (1, lambda: udp(4754) / scapy.GRE() / v4(), True),
    "MPLS in UDP": (1, lambda: udp(6635) / scapy.Raw(label(1) + bytes(v4())), True),
    "GRE, ERSPAN and VXLAN in one another": (
        1,
        lambda: (
            gre(proto=0x88BE, seqnum_present=1)
            / erspan.ERSPAN_II(session_id=9)
            / udp(4789)
            / scapy.VXLAN(vni=5, flags="Instance")
            / ether()
            / v4()
        ),
        True,
    ),
}
#: what tshark 4.0.17 does not open by default
NOT_IN_TSHARK: dict[str, str] = {
    "FabricPath": "tshark takes the last four bytes for a frame check sequence that captures do not have",
    "0x9100 and 0x9200": "tshark does not know 0x9200 for a VLAN tag",
    "MPLS link": "tshark's reader does not know the link type",
    "NFLOG, big-endian": "tshark takes the byte order from a preference",
    "VXLAN on Linux's old port": "tshark knows VXLAN on 4789 only",
}


@pytest.mark.parametrize("name", FRAMES)
def test_the_innermost_segment_is_read(name: str, decode: Any) -> None:
    linktype, build, tunnel = FRAMES[name]
    row = decode(bytes(build()), linktype).row
    assert (row["sport"], row["dport"], row["seq"], row["ack"]) == (40000, 9502, 0xFFFFFFF0, 77)
    assert (row["flags"], row["window"], row["payload"], row["ttl"]) == (0x18, 501, len(PAYLOAD), 63)
    if row["mark"] & IPV6:
        assert row["src_hi"] << 64 | row["src_lo"] == 0x20010DB8 << 96 | 1
        assert row["dst_hi"] << 64 | row["dst_lo"] == 0x20010DB8 << 96 | 2
    else:
        assert (row["src_hi"], row["src_lo"]) == (0, 0xFFFF << 32 | 0xC0000201)
        assert (row["dst_hi"], row["dst_lo"]) == (0, 0xFFFF << 32 | 0xC6336402)
        assert row["ip_id"] == 4660
    assert not row["mark"] & (BAD_CHECKSUM | CHECKSUM_UNKNOWN)
    assert bool(row["mark"] & TUNNELLED) == tunnel


@pytest.mark.parametrize("name", FRAMES)
def test_every_cut_of_the_frame_gives_the_same_segment_or_one_reason(name: str, decode: Any) -> None:
    linktype, build, _ = FRAMES[name]
    frame = bytes(build())
    for length in range(len(frame)):
        decoded = decode(frame[:length], linktype, wirelens=[len(frame)])
        for row in decoded.rows:
            assert (row["sport"], row["dport"], row["seq"], row["flags"]) == (40000, 9502, 0xFFFFFFF0, 0x18)


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("linktype", sorted({frame[0] for name, frame in FRAMES.items() if name not in NOT_IN_TSHARK}))
def test_tshark_finds_the_segment_too(linktype: int, tmp_path: Path) -> None:
    names = [name for name, frame in FRAMES.items() if frame[0] == linktype and name not in NOT_IN_TSHARK]
    capture = tmp_path / "frames.pcap"
    with capture.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, linktype))
        for name in names:
            frame = bytes(FRAMES[name][1]())
            out.write(struct.pack("<IIII", 1, 0, len(frame), len(frame)) + frame)
    command = [
        "tshark",
        "-r",
        str(capture),
        "-T",
        "json",
        "-e",
        "frame.protocols",
        "-e",
        "tcp.srcport",
        "-e",
        "tcp.len",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    layers = [packet["_source"]["layers"] for packet in json.loads(done.stdout)]
    missed = {
        name: layer.get("frame.protocols")
        for name, layer in zip(names, layers, strict=True)
        if layer.get("tcp.srcport", [""])[-1] != "40000" or layer.get("tcp.len", [""])[-1] != str(len(PAYLOAD))
    }
    assert not missed


@pytest.mark.parametrize(("linktype", "position"), [(113, 1), (276, 10)])
def test_a_cooked_frame_says_that_this_host_sent_it(linktype: int, position: int, decode: Any) -> None:
    frame = bytearray(bytes((scapy.CookedLinux if linktype == 113 else scapy.CookedLinuxV2)() / v4()))
    frame[position] = 4
    assert decode(bytes(frame), linktype).row["mark"] & OUTGOING
    frame[position] = 0
    assert not decode(bytes(frame), linktype).row["mark"] & OUTGOING


REASONS: dict[str, tuple[int, Callable[[], Any], str]] = {
    "ARP": (1, lambda: ether() / scapy.ARP(), "arp"),
    "LLDP": (1, lambda: tagged(0x88CC, bytes(40)), "not_ip"),
    "spanning tree": (1, lambda: scapy.Dot3() / scapy.LLC() / scapy.STP(), "not_ip"),
    "DNS": (1, lambda: udp(53) / scapy.DNS(), "udp"),
    "VXLAN's port without VXLAN": (1, lambda: udp(4789) / scapy.Raw(bytes(40)), "udp"),
    "GTP echo": (1, lambda: udp(2152) / scapy.Raw(bytes.fromhex("3201000400000000") + bytes(4)), "udp"),
    "ping": (1, lambda: outer() / scapy.ICMP() / scapy.Raw(bytes(56)), "icmp"),
    "OSPF": (1, lambda: outer(89) / scapy.Raw(bytes(40)), "other_ip_protocol"),
    "ESP": (1, lambda: outer(50) / scapy.Raw(bytes(40)), "encrypted"),
    "802.11, protected": (105, lambda: wifi(PROTECTED | TO_DS) / scapy.Raw(bytes(60)), "encrypted"),
    "802.11 beacon": (105, lambda: scapy.Dot11(type=0, subtype=8) / scapy.Dot11Beacon(), "not_ip"),
    "802.11 without data": (105, lambda: scapy.Dot11(type=2, subtype=4, FCfield=TO_DS), "not_ip"),
    "MACsec, encrypted": (1, lambda: tagged(0x88E5, bytes([0x0C, 0, 0, 0, 0, 1]), bytes(40)), "encrypted"),
    "PPP, LCP": (9, lambda: b"\xff\x03\xc0\x21" + bytes(10), "not_ip"),
    "PPTP acknowledgment": (
        1,
        lambda: outer(47) / scapy.Raw(bytes.fromhex("2081880b0000000100000001")),
        "other_ip_protocol",
    ),
    "USB": (220, lambda: bytes(64), "unsupported_linktype"),
    "nothing": (1, lambda: b"", "truncated_link"),
    "IPv4 of version 5": (1, lambda: tagged(0x0800, b"\x55" + bytes(40)), "bad_ip_header"),
    "IPv4 shorter than its header": (
        1,
        lambda: ether() / scapy.IP(len=12, proto=6) / scapy.Raw(bytes(40)),
        "bad_ip_header",
    ),
    "TCP header of four words": (1, lambda: outer() / scapy.TCP(dataofs=4), "bad_tcp_header"),
    "TCP header longer than the packet": (1, lambda: outer() / scapy.TCP(dataofs=15), "bad_tcp_header"),
    "tags without end": (1, lambda: tagged(0x8100, b"\x00\x01\x81\x00" * 20), "nesting_too_deep"),
    "labels without end": (1, lambda: tagged(0x8847, label(0) * 40), "nesting_too_deep"),
    "tunnels without end": (101, lambda: bytes(scapy.IP(proto=4, len=1000)) * 40, "nesting_too_deep"),
    "extension headers without end": (
        101,
        lambda: (
            scapy.IPv6(nh=60, plen=800) / scapy.Raw(b"\x3c\x00" + bytes(6)) / scapy.Raw((b"\x3c\x00" + bytes(6)) * 99)
        ),
        "nesting_too_deep",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_a_frame_without_a_segment_counts_its_reason(name: str, decode: Any) -> None:
    linktype, build, reason = REASONS[name]
    assert decode(bytes(build()), linktype).decoder.counts == {reason: 1}
