"""Every public capture at hand, packet by packet, against tshark."""

from __future__ import annotations

import csv
import ipaddress
import shutil
import subprocess
from pathlib import Path

import pytest

from analyzer.capture import open_capture
from analyzer.segments import (
    HAS_IP_ID,
    HAS_TIMESTAMP,
    ICMP_ERROR,
    IPV6,
    OPT_MSS,
    OPT_SACK_PERMITTED,
    OPT_WSCALE,
    SegmentBatch,
)

CAPTURES = Path(__file__).parents[3] / "shared" / "captures"
MANIFEST = CAPTURES / "MANIFEST.tsv"
FIELDS = [
    "frame.number",
    "ip.src",
    "ipv6.src",
    "ip.dst",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.flags",
    "tcp.window_size_value",
    "tcp.len",
    "ip.id",
    "ip.ttl",
    "ipv6.hlim",
    "tcp.options.timestamp.tsval",
    "tcp.options.timestamp.tsecr",
    "tcp.options.mss_val",
    "tcp.options.wscale.shift",
    "tcp.options.sack_perm",
    "icmp.type",
    "icmpv6.type",
    "frame.protocols",
]

#: captures where tshark is asked, or believed, differently
DEFRAGMENTED = {
    "zeek/ipv4__fragmented-syn.pcap": "the TCP header itself is split: only whole does tshark read its options",
}
NO_LENGTH = {
    "suricata-verify/defrag__bug-6887-defrag-ipv6-tcp__frag-ip-tcp.pcap": "tshark gives a first fragment no tcp.len",
}

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not MANIFEST.exists(), reason="no ../shared/captures beside the project"),
]


def _listed() -> list[tuple[str, int]]:
    if not MANIFEST.exists():
        return []
    with MANIFEST.open(encoding="utf-8") as lines:
        return [
            (line["capture"], int(line["tcp_packets"]))
            for line in csv.DictReader(lines, delimiter="\t")
            if not line["format"].startswith("snoop")  # a format that is not read
        ]


def _extra() -> list[str]:
    """The captures that MANIFEST.tsv does not list, of real stacks and made ones."""
    return sorted(
        str(path.relative_to(CAPTURES))
        for folder in ("kernel", "synthetic")
        for path in (CAPTURES / folder).glob("*.pcap*")
    )


def _rows(path: Path, decoder_class: type) -> dict[int, dict[str, int]]:
    decoder = decoder_class()
    rows: dict[int, dict[str, int]] = {}
    out = SegmentBatch(1000)
    frames_seen = 0
    with open_capture([str(path)]) as capture:
        for frames in capture:
            start = 0
            while start < frames.count:
                start = decoder.decode(frames, start, out)
                rows.update((row["packet"], row) for row in map(out.row, range(out.count)))
                out.clear()
            frames_seen += frames.count
    assert len(rows) + sum(decoder.counts.values()) == frames_seen
    return rows


def _tshark(path: Path, defragment: bool) -> dict[int, dict[str, str]]:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    preferences = [
        f"ip.defragment:{str(defragment).upper()}",
        f"ipv6.defragment:{str(defragment).upper()}",
        "tcp.desegment_tcp_streams:FALSE",
        "tcp.relative_sequence_numbers:FALSE",
    ]
    command = ["tshark", "-n", "-r", str(path), "-Y", "tcp", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,"]
    for preference in preferences:
        command += ["-o", preference]
    for field in FIELDS:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "cut short" in done.stderr, done.stderr
    lines = done.stdout.splitlines()
    packets = [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in lines]
    return {int(packet["frame.number"]): packet for packet in packets}


def _last(text: str) -> str:
    return text.rsplit(",", 1)[-1]


def _address(row: dict[str, int], side: str) -> str:
    number = row[f"{side}_hi"] << 64 | row[f"{side}_lo"]
    if row["mark"] & IPV6:
        return str(ipaddress.IPv6Address(number))
    assert number >> 32 == 0xFFFF
    return str(ipaddress.IPv4Address(number & 0xFFFFFFFF))


def _as_tshark(row: dict[str, int]) -> dict[str, str]:
    """A row in tshark's words; what it does not carry is empty."""
    v6 = row["mark"] & IPV6
    options = 0 if row["kind"] == ICMP_ERROR else row["options"]
    stamped = row["mark"] & HAS_TIMESTAMP
    return {
        "source": _address(row, "src"),
        "destination": _address(row, "dst"),
        "tcp.srcport": str(row["sport"]),
        "tcp.dstport": str(row["dport"]),
        "tcp.seq_raw": str(row["seq"]),
        "tcp.ack_raw": str(row["ack"]),
        "tcp.flags": f"0x{row['flags']:04x}",
        "tcp.window_size_value": str(row["window"]),
        "tcp.len": str(row["payload"]),
        "ip.id": f"0x{row['ip_id']:04x}" if row["mark"] & HAS_IP_ID else "",
        "ttl": str(row["ttl"]),
        "tcp.options.timestamp.tsval": str(row["tsval"]) if stamped else "",
        "tcp.options.timestamp.tsecr": str(row["tsecr"]) if stamped else "",
        "tcp.options.mss_val": str(row["mss"]) if options & OPT_MSS else "",
        "tcp.options.wscale.shift": str(row["wscale"]) if options & OPT_WSCALE else "",
        "tcp.options.sack_perm": "present" if options & OPT_SACK_PERMITTED else "",
        "version": "6" if v6 else "4",
    }


def _from_tshark(packet: dict[str, str]) -> dict[str, str]:
    """tshark's innermost layer in the same words."""
    protocols = packet["frame.protocols"].split(":")
    inner = max(index for index, name in enumerate(protocols) if name in ("ip", "ipv6"))
    v6 = protocols[inner] == "ipv6"
    return {
        **{name: _last(packet[name]) for name in FIELDS if name.startswith("tcp.")},
        "tcp.options.sack_perm": "present" if packet["tcp.options.sack_perm"] else "",
        "source": _last(packet["ipv6.src" if v6 else "ip.src"]),
        "destination": _last(packet["ipv6.dst" if v6 else "ip.dst"]),
        "ip.id": "" if v6 else _last(packet["ip.id"]),
        "ttl": _last(packet["ipv6.hlim" if v6 else "ip.ttl"]),
        "version": "6" if v6 else "4",
    }


@pytest.mark.parametrize(("capture", "expected"), _listed())
def test_as_many_rows_as_tshark_counts_tcp_packets(capture: str, expected: int, decoder_class: type) -> None:
    assert len(_rows(CAPTURES / capture, decoder_class)) == expected


@pytest.mark.parametrize("capture", [name for name, _ in _listed()] + _extra())
def test_every_row_reads_as_tshark_reads_the_packet(capture: str, decoder_class: type) -> None:
    rows = _rows(CAPTURES / capture, decoder_class)
    theirs = _tshark(CAPTURES / capture, defragment=capture in DEFRAGMENTED)
    ignored = {"tcp.len"} if capture in NO_LENGTH else set()
    differences = {}
    for number in sorted(rows.keys() | theirs.keys()):
        if number not in rows or number not in theirs:
            differences[number] = ("row" if number in rows else "no row", "tcp" if number in theirs else "no tcp")
            continue
        ours, other = _as_tshark(rows[number]), _from_tshark(theirs[number])
        unlike = {name: (ours[name], other[name]) for name in ours if ours[name] != other[name] and name not in ignored}
        if unlike:
            differences[number] = unlike
    assert not differences, (len(differences), dict(list(differences.items())[:3]))
