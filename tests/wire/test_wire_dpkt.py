"""Any header that dpkt can write is read back as it was meant."""

from __future__ import annotations

import ipaddress
from typing import Any

import dpkt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.segments import BAD_CHECKSUM, IPV6, OPT_MSS, OPT_WSCALE

RAW = 101
u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
headers = st.fixed_dictionaries({"sport": u16, "dport": u16, "seq": u32, "ack": u32, "win": u16, "flags": u8})


def _options(mss: int, shift: int) -> bytes:
    return bytes([2, 4]) + mss.to_bytes(2, "big") + bytes([1, 3, 3, shift])


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    header=headers,
    mss=u16,
    shift=u8,
    ttl=u8,
    ip_id=u16,
    addresses=st.one_of(
        st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
    ),
    payload=st.binary(max_size=50),
)
def test_fields_survive_dpkt(
    header: dict[str, int],
    mss: int,
    shift: int,
    ttl: int,
    ip_id: int,
    addresses: tuple[Any, Any],
    payload: bytes,
    decode: Any,
) -> None:
    source, destination = addresses
    segment = dpkt.tcp.TCP(**header, off=7, opts=_options(mss, shift), data=payload)
    ends = {"src": source.packed, "dst": destination.packed}
    if source.version == 4:
        packet = dpkt.ip.IP(**ends, p=6, ttl=ttl, id=ip_id, data=segment)
        packet.len = len(packet)
    else:
        packet = dpkt.ip6.IP6(**ends, nxt=6, hlim=ttl, plen=len(segment), data=segment)
        packet.extension_hdrs = {}
    row = decode(bytes(packet), RAW).row
    for ours, theirs in {"sport": "sport", "dport": "dport", "seq": "seq", "ack": "ack", "window": "win"}.items():
        assert row[ours] == header[theirs]
    assert row["flags"] == header["flags"]
    assert (row["mss"], row["wscale"], row["options"]) == (mss, shift, OPT_MSS | OPT_WSCALE)
    assert (row["ttl"], row["payload"]) == (ttl, len(payload))
    assert row["ip_id"] == (ip_id if source.version == 4 else 0)
    assert not row["mark"] & BAD_CHECKSUM
    for side, address in (("src", source), ("dst", destination)):
        number = row[f"{side}_hi"] << 64 | row[f"{side}_lo"]
        read = ipaddress.IPv6Address(number) if row["mark"] & IPV6 else ipaddress.IPv4Address(number & 0xFFFFFFFF)
        assert read == address
