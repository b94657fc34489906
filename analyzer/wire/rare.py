"""The layers that the hot walk does not know: rare link types, tags and tunnels, opened one at a time.

Owns a codec for each. A codec gets `(data, at, end)`: a layer that begins at `data[at]`, of which bytes up to `end`
were captured, at least as many as its line in the table says; it returns where the next layer begins and what it
is (`Opened`), a reason, or None when the bytes are not what their number promised. Codecs step over one header and
never look further, so that hostile nesting costs what `decode` allows and no more; a position past `end` is legal
and is found there. Knows nothing of TCP and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from analyzer.wire import layers
from analyzer.wire.layers import ETHERNET, ETHERTYPE, IP_PROTOCOL, RAW, UDP_PORT

MAX_GTP_EXTENSIONS = 8  # bounds the walk through a GTP-U header that is all extensions; real ones have one or two
MAX_GRE_ROUTES = 8  # bounds the walk through RFC 1701 source routes, which nobody has sent for decades
MAX_NFLOG_ATTRIBUTES = 32  # bounds the walk through NFLOG attributes; libpcap writes about fifteen
MAX_TZSP_FIELDS = 32  # bounds the walk through TZSP's tagged fields
LLC = ETHERTYPE | 4  # any 802.3 length stands for "LLC follows"
MPLS = ETHERTYPE | 0x8847


class Opened(NamedTuple):
    """Where a header led."""

    layer: int  # see `layers`
    at: int  # start of that layer
    tunnel: str = ""  # name and number, the same in both directions; empty where nothing was tunnelled


Codec = Callable[[bytes, int, int], "Opened | str | None"]


def open_layer(data: bytes, layer: int, start: int, end: int) -> Opened | str:
    """Step over the header of `layer` at data[start:end]: what follows it, or the reason why nothing does."""
    unknown, too_short = _REASONS_BY_SPACE[layer >> 16]
    codec, minimum = _CODECS.get(layer, (None, 0))
    if codec is None:
        return unknown
    if end - start < minimum:
        return too_short
    return codec(data, start, end) or unknown


_REASONS_BY_SPACE = {  # number space of `layers` → (reason when not understood, reason when too short)
    0: ("unsupported_linktype", "truncated_link"),
    ETHERTYPE >> 16: ("not_ip", "truncated_link"),
    IP_PROTOCOL >> 16: ("other_ip_protocol", "truncated_tunnel"),
    UDP_PORT >> 16: ("udp", "udp"),  # a well-known port alone does not make a tunnel
}


def _u16(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]


def _u24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "big")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _u32_little(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _ip_at(data: bytes, at: int, end: int, tunnel: str = "") -> Opened | None:
    """An IP packet at `at`, if its first nibble says so."""
    if at < end and data[at] >> 4 in (4, 6):
        return Opened(RAW, at, tunnel)
    return None


# Serial lines


def _ppp(data: bytes, at: int, end: int) -> Opened | str:
    """RFC 1661, with or without RFC 1662's address and control field, protocol field compressed or not."""
    if data[at] == 0xFF and data[at + 1] == 3:
        at += 2
        if end - at < 2:
            return "truncated_link"
    if data[at] & 1:
        protocol, at = data[at], at + 1
    else:
        protocol, at = _u16(data, at), at + 2
    if protocol in (0x0053, 0x0055):  # encryption, alone or on one link of several: RFC 1968
        return "encrypted"
    layer = {0x0021: RAW, 0x0057: RAW, 0x0281: MPLS, 0x0283: MPLS}.get(protocol)
    return "not_ip" if layer is None else Opened(layer, at)


def _cisco_hdlc(data: bytes, at: int, end: int) -> Opened:
    return Opened(ETHERTYPE | _u16(data, at + 2), at + 4)


def _ppp_hdlc(data: bytes, at: int, end: int) -> Opened | str:
    """Link types 9 and 50: PPP, or Cisco's HDLC, told apart by the address byte and the zero behind it."""
    hdlc = data[at] in (0x0F, 0x8F) and data[at + 1] == 0 and end - at >= 4
    return _cisco_hdlc(data, at, end) if hdlc else _ppp(data, at, end)


def _pppoe(data: bytes, at: int, end: int) -> Opened | str | None:
    """RFC 2516: version and type 1, code 0 for session data."""
    if data[at] != 0x11 or data[at + 1] != 0:
        return None
    return _ppp(data, at + 6, end)


# Wireless


def _wifi(data: bytes, at: int, end: int, padded: bool = False) -> Opened | str:
    """IEEE 802.11 section 9.2: a data frame's LLC. `padded`: the header was filled to a multiple of four."""
    control, flags = data[at], data[at + 1]
    if control & 3 or control >> 2 & 3 != 2 or control & 0x40:  # another version; not data; data without a body
        return "not_ip"
    if flags & 0x40:
        return "encrypted"
    size = 30 if flags & 3 == 3 else 24
    if end - at < size + 2:
        return "truncated_link"
    if data[at + 22] & 15:
        return "later_fragment"
    aggregated = False
    if control & 0x80:
        aggregated = data[at + size] & 0x80 != 0
        size += 6 if flags & 0x80 else 2
    if padded:
        size = size + 3 & ~3
    return Opened(LLC, at + size + (14 if aggregated else 0))


def _radiotap(data: bytes, at: int, end: int) -> Opened | str | None:
    """https://www.radiotap.org: little-endian; of its fields only the flags matter here."""
    size = data[at + 2] | data[at + 3] << 8
    if data[at] != 0 or size < 8 or end - at < size + 2:
        return None if data[at] or size < 8 else "truncated_link"
    present = _u32_little(data, at + 4)
    field = 4
    while field + 4 <= size and _u32_little(data, at + field) & 1 << 31:
        field += 4
    field += 4
    if present & 1:  # TSFT, aligned to its eight bytes
        field = (field + 7 & ~7) + 8
    padded = bool(present & 2 and field < size and data[at + field] & 0x20)
    return _wifi(data, at + size, end, padded)


def _avs(data: bytes, at: int, end: int) -> Opened | None:
    if _u32(data, at) >> 12 != 0x80211:
        return None
    return Opened(layers.IEEE802_11, at + max(_u32(data, at + 4), 8))


def _prism(data: bytes, at: int, end: int) -> Opened | None:
    """Prism II's 144 bytes, in the byte order of the capturing machine; some drivers wrote AVS under its number."""
    if _u32(data, at) >> 12 == 0x80211:
        return _avs(data, at, end)
    for read in (_u32_little, _u32):
        if read(data, at) in (0x41, 0x44):
            return Opened(layers.IEEE802_11, at + max(read(data, at + 4), 8))
    return None


def _ppi(data: bytes, at: int, end: int) -> Opened | None:
    """Per-packet information: little-endian length and link type."""
    size = data[at + 2] | data[at + 3] << 8
    link = _u32_little(data, at + 4)
    return Opened(link, at + size) if size >= 8 and link < ETHERTYPE else None


# Other link types


def _fddi(data: bytes, at: int, end: int) -> Opened | str:
    return Opened(LLC, at + 13) if data[at] & 0x70 == 0x50 else "not_ip"


def _token_ring(data: bytes, at: int, end: int) -> Opened | str:
    """IEEE 802.5: the source address's first bit announces routing information."""
    if data[at + 1] & 0xC0 != 0x40:
        return "not_ip"
    routing = data[at + 14] & 0x1F if data[at + 8] & 0x80 else 0
    return Opened(LLC, at + 14 + routing)


def _nflog(data: bytes, at: int, end: int) -> Opened | str:
    """Netfilter log: attributes in the byte order of the capturing machine; the payload is number 9."""
    if data[at + 1] != 0 or data[at] not in (2, 10, 7):  # version; AF_INET, AF_INET6, AF_BRIDGE
        return "not_ip"
    at += 4
    for _ in range(MAX_NFLOG_ATTRIBUTES):
        if end - at < 4:
            return "truncated_link"
        size, kind = data[at] | data[at + 1] << 8, data[at + 2] | data[at + 3] << 8
        if kind & 0x3FFF > 0xFF:  # there are some twenty kinds: a large one was written big-endian
            size, kind = _u16(data, at), _u16(data, at + 2)
        if size < 4:
            return "not_ip"
        if kind & 0x3FFF == 9:
            return Opened(RAW, at + 4)
        at += size + 3 & ~3
    return "nesting_too_deep"


def _pflog(data: bytes, at: int, end: int) -> Opened:
    """OpenBSD's packet filter log: a length byte, filled to a multiple of four."""
    return Opened(RAW, at + (data[at] + 3 & ~3))


def _enc(data: bytes, at: int, end: int) -> Opened:
    return Opened(RAW, at + 12)


def _ipnet(data: bytes, at: int, end: int) -> Opened:
    return Opened(RAW, at + 24)


def _pktap(data: bytes, at: int, end: int) -> Opened | None:
    """macOS: little-endian length, then at 8 the link type of the frame that follows."""
    size, link = _u32_little(data, at), _u32_little(data, at + 8)
    return Opened(link, at + size) if size >= 12 and link < ETHERTYPE else None


def _ipoib(data: bytes, at: int, end: int) -> Opened:
    """IP over InfiniBand: two link-layer addresses, then RFC 4391's EtherType and two reserved bytes."""
    return Opened(ETHERTYPE | _u16(data, at + 40), at + 44)


def _juniper_ether(data: bytes, at: int, end: int) -> Opened | str:
    """Junos: a magic number, flags and, where they say so, extensions of a stated length before the frame."""
    if _u24(data, at) != 0x4D4743:
        return "not_ip"
    if data[at + 3] & 0x02:  # captured without its link layer
        return "not_ip"
    return Opened(ETHERNET, at + (6 + _u16(data, at + 4) if data[at + 3] & 0x80 else 4))


def _llc(data: bytes, at: int, end: int) -> Opened:
    return Opened(LLC, at)


def _mpls(data: bytes, at: int, end: int) -> Opened:
    return Opened(MPLS, at)


# Tags and layer-2 tunnels


def _pbb(data: bytes, at: int, end: int) -> Opened:
    """IEEE 802.1ah: four bytes of service tag, then the customer's Ethernet frame."""
    return Opened(ETHERNET, at + 4, f"pbb {_u24(data, at + 1)}")


def _vn_tag(data: bytes, at: int, end: int) -> Opened:
    return Opened(ETHERTYPE | _u16(data, at + 4), at + 6)


def _e_tag(data: bytes, at: int, end: int) -> Opened:
    """IEEE 802.1BR."""
    return Opened(ETHERTYPE | _u16(data, at + 6), at + 8)


def _cisco_metadata(data: bytes, at: int, end: int) -> Opened:
    return Opened(ETHERTYPE | _u16(data, at + 6), at + 8)


def _macsec(data: bytes, at: int, end: int) -> Opened | str:
    """IEEE 802.1AE: readable where only integrity is protected."""
    if data[at] & 0x0C:
        return "encrypted"
    size = 14 if data[at] & 0x20 else 6
    if end - at < size + 2:
        return "truncated_link"
    return Opened(ETHERTYPE | _u16(data, at + size), at + size + 2)


def _trill(data: bytes, at: int, end: int) -> Opened:
    """RFC 6325 section 3: six bytes and options counted in words."""
    return Opened(ETHERNET, at + 6 + (_u16(data, at) >> 6 & 31) * 4, "trill")


def _fabric_path(data: bytes, at: int, end: int) -> Opened:
    """Cisco FabricPath: a tree number and a hop limit, then the frame that it carries."""
    return Opened(ETHERNET, at + 2, "fabricpath")


def _nsh(data: bytes, at: int, end: int) -> Opened | None:
    """RFC 8300 section 2.2."""
    layer = {1: RAW, 2: RAW, 3: ETHERNET, 4: ETHERTYPE | 0x894F, 5: MPLS}.get(data[at + 3])
    size = (data[at + 1] & 0x3F) * 4
    return Opened(layer, at + size, "nsh") if layer is not None and size >= 8 else None


def _ethernet(data: bytes, at: int, end: int) -> Opened:
    return Opened(ETHERNET, at)


_ETHERTYPES_INSIDE = frozenset({0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0x8847, 0x8848, 0x8864, 0x88E7})


def _pseudowire(data: bytes, at: int, end: int) -> Opened | str:
    """Ethernet behind MPLS labels, with RFC 4448's control word or without: whichever shows a known EtherType."""
    if data[at] >> 4 == 1:  # associated channel, RFC 4385: management
        return "not_ip"
    for start in (at + 4, at) if data[at] >> 4 == 0 else (at,):
        if end - start >= 14 and _u16(data, start + 12) in _ETHERTYPES_INSIDE:
            return Opened(ETHERNET, start, "pseudowire")
    return "not_ip"


# Tunnels in IP


def _ip_in_ip(data: bytes, at: int, end: int) -> Opened | None:
    return _ip_at(data, at, end, "ipip")


def _six_in_four(data: bytes, at: int, end: int) -> Opened | None:
    return _ip_at(data, at, end, "ip6")


def _ether_ip(data: bytes, at: int, end: int) -> Opened | None:
    """RFC 3378: version 3."""
    return Opened(ETHERNET, at + 2, "etherip") if data[at] >> 4 == 3 else None


def _mpls_in_ip(data: bytes, at: int, end: int) -> Opened:
    return Opened(MPLS, at, "mpls")


def _esp(data: bytes, at: int, end: int) -> str:
    return "encrypted"


def _gre(data: bytes, at: int, end: int) -> Opened | str | None:
    """RFC 1701, 2784 and 2890; version 1 is PPTP's, RFC 2637, whose call number differs by direction."""
    flags, protocol = _u16(data, at), _u16(data, at + 2)
    if flags & 7 == 1:
        if protocol != 0x880B or not flags & 0x1000:  # without a sequence number it acknowledges, no more
            return None
        return Opened(layers.PPP, at + 12 + (4 if flags & 0x0080 else 0), "pptp")
    if flags & 7:
        return None
    at += 8 if flags & 0xC000 else 4
    tunnel = "gre"
    if flags & 0x2000:
        if end - at < 4:
            return "truncated_tunnel"
        tunnel = f"gre {_u32(data, at)}"
        at += 4
    if flags & 0x1000:
        at += 4
    if flags & 0x4000:
        for _ in range(MAX_GRE_ROUTES):
            if end - at < 4:
                return "truncated_tunnel"
            empty = _u16(data, at) == 0 and data[at + 3] == 0
            at += 4 + data[at + 3]
            if empty:
                break
        else:
            return "nesting_too_deep"
    if protocol in (0x88BE, 0x22EB):
        return _erspan(data, at, end, sequenced=bool(flags & 0x1000))
    if protocol == 0x880B:
        return Opened(layers.PPP, at, tunnel)
    if protocol == 0x883E:  # WCCP: some routers put four bytes before the packet
        return _ip_at(data, at, end, tunnel) or _ip_at(data, at + 4, end, tunnel)
    if 0x8200 <= protocol <= 0x8390 and not protocol & 15:  # Aruba access points
        return Opened(layers.IEEE802_11, at, tunnel)
    return Opened(ETHERTYPE | protocol, at, tunnel)


def _erspan(data: bytes, at: int, end: int, sequenced: bool) -> Opened | str | None:
    """draft-foschiano-erspan: type I has no header and no GRE sequence number, II has 8 bytes, III 12 or 20."""
    if not sequenced:
        return Opened(ETHERNET, at, "erspan")
    if end - at < 12:
        return "truncated_tunnel"
    version, tunnel = data[at] >> 4, f"erspan {_u16(data, at + 2) & 0x3FF}"
    if version == 1:
        return Opened(ETHERNET, at + 8, tunnel)
    if version != 2:
        return None
    last = _u16(data, at + 10)
    layer = {0: ETHERNET, 2: RAW}.get(last >> 10 & 31)
    return None if layer is None else Opened(layer, at + (20 if last & 1 else 12), tunnel)


# Tunnels in UDP


def _vxlan(data: bytes, at: int, end: int) -> Opened | None:
    """RFC 7348 section 5, with the group policy bits of draft-smith-vxlan-group-policy."""
    if data[at] & 0x7F != 0x08 or data[at + 7]:
        return None
    return Opened(ETHERNET, at + 8, f"vxlan {_u24(data, at + 4)}")


def _vxlan_gpe(data: bytes, at: int, end: int) -> Opened | None:
    if not data[at] & 0x08 or data[at] & 0x30:
        return None
    following = data[at + 3] if data[at] & 0x04 else 3
    layer = {1: RAW, 2: RAW, 3: ETHERNET, 4: ETHERTYPE | 0x894F, 5: MPLS}.get(following)
    return None if layer is None else Opened(layer, at + 8, f"vxlan {_u24(data, at + 4)}")


def _geneve(data: bytes, at: int, end: int) -> Opened | None:
    """RFC 8926 section 3.4."""
    if data[at] >> 6 or data[at + 1] & 0x3F or data[at + 7]:
        return None
    size = 8 + (data[at] & 0x3F) * 4
    return Opened(ETHERTYPE | _u16(data, at + 2), at + size, f"geneve {_u24(data, at + 4)}")


def _gtp_u(data: bytes, at: int, end: int) -> Opened | None:
    """3GPP TS 29.281 section 5: user data only. Its tunnel number differs by direction and is left out."""
    flags = data[at]
    if flags >> 4 != 3 or data[at + 1] != 255:
        return None
    at += 8
    if flags & 7:
        at += 4
        if flags & 4:
            for _ in range(MAX_GTP_EXTENSIONS):
                if at >= end or not data[at - 1]:
                    break
                if not data[at]:
                    return None
                at += data[at] * 4
    return _ip_at(data, at, end, "gtp")


def _teredo(data: bytes, at: int, end: int) -> Opened | None:
    """RFC 4380 section 5.1.1: an authentication and an origin indication may come first."""
    if data[at] == 0 and data[at + 1] == 1:
        at += 13 + data[at + 2] + data[at + 3]
        if end - at < 8:
            return None
    if data[at] == 0 and data[at + 1] == 0:
        at += 8
    return Opened(layers.IPV6, at, "teredo") if at < end and data[at] >> 4 == 6 else None


def _ayiya(data: bytes, at: int, end: int) -> Opened | None:
    """draft-massar-v6ops-ayiya section 3: opcode 1 forwards."""
    if data[at + 2] & 15 != 1 or data[at + 3] not in (4, 41):
        return None
    return _ip_at(data, at + 8 + (1 << (data[at] >> 4)) + (data[at + 1] >> 4) * 4, end, "ayiya")


def _l2tp(data: bytes, at: int, end: int) -> Opened | None:
    """RFC 2661 section 3.1: data messages of version 2. Tunnel and session differ by direction."""
    flags = _u16(data, at)
    if flags & 0x8000 or flags & 15 != 2:
        return None
    at += 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)
    if flags & 0x0200:
        if end - at < 2:
            return None
        at += 2 + _u16(data, at)
    return Opened(layers.PPP, at, "l2tp")


def _tzsp(data: bytes, at: int, end: int) -> Opened | None:
    """TaZmen sniffer protocol: version 1, a frame received, tagged fields up to the end tag."""
    layer = {1: ETHERNET, 0x12: layers.IEEE802_11}.get(_u16(data, at + 2))
    if data[at] != 1 or data[at + 1] != 0 or layer is None:
        return None
    at += 4
    for _ in range(MAX_TZSP_FIELDS):
        if at >= end:
            return None
        if data[at] == 1:
            return Opened(layer, at + 1, "tzsp")
        if data[at] == 0:
            at += 1
            continue
        if end - at < 2:
            return None
        at += 2 + data[at + 1]
    return None


_CODECS: dict[int, tuple[Codec, int]] = {  # layer → (codec, bytes it reads without asking)
    layers.TOKEN_RING: (_token_ring, 15),
    layers.PPP: (_ppp_hdlc, 2),
    layers.FDDI: (_fddi, 13),
    layers.PPP_HDLC: (_ppp_hdlc, 4),
    layers.PPP_ETHER: (_pppoe, 8),
    layers.ATM_RFC1483: (_llc, 3),
    layers.C_HDLC: (_cisco_hdlc, 4),
    layers.IEEE802_11: (_wifi, 2),
    layers.ENC: (_enc, 12),
    layers.PFLOG: (_pflog, 4),
    layers.PRISM: (_prism, 8),
    layers.RADIOTAP: (_radiotap, 8),
    layers.AVS: (_avs, 8),
    layers.PPI: (_ppi, 8),
    layers.JUNIPER_ETHER: (_juniper_ether, 6),
    layers.MPLS: (_mpls, 4),
    layers.IPNET: (_ipnet, 24),
    layers.NFLOG: (_nflog, 4),
    layers.IPOIB: (_ipoib, 44),
    layers.PKTAP: (_pktap, 12),
    ETHERTYPE | 0x22F3: (_trill, 6),
    ETHERTYPE | 0x6558: (_ethernet, 14),
    ETHERTYPE | 0x8847: (_pseudowire, 4),
    ETHERTYPE | 0x8848: (_pseudowire, 4),
    ETHERTYPE | 0x8864: (_pppoe, 8),
    ETHERTYPE | 0x88E5: (_macsec, 6),
    ETHERTYPE | 0x88E7: (_pbb, 4),
    ETHERTYPE | 0x8903: (_fabric_path, 2),
    ETHERTYPE | 0x8909: (_cisco_metadata, 8),
    ETHERTYPE | 0x8926: (_vn_tag, 6),
    ETHERTYPE | 0x893F: (_e_tag, 8),
    ETHERTYPE | 0x894F: (_nsh, 8),
    IP_PROTOCOL | 4: (_ip_in_ip, 1),
    IP_PROTOCOL | 41: (_six_in_four, 1),
    IP_PROTOCOL | 47: (_gre, 4),
    IP_PROTOCOL | 50: (_esp, 0),
    IP_PROTOCOL | 97: (_ether_ip, 2),
    IP_PROTOCOL | 137: (_mpls_in_ip, 4),
    UDP_PORT | 1701: (_l2tp, 6),
    UDP_PORT | 2152: (_gtp_u, 8),
    UDP_PORT | 3544: (_teredo, 8),
    UDP_PORT | 4754: (_gre, 4),
    UDP_PORT | 4789: (_vxlan, 8),
    UDP_PORT | 4790: (_vxlan_gpe, 8),
    UDP_PORT | 5072: (_ayiya, 8),
    UDP_PORT | 6081: (_geneve, 8),
    UDP_PORT | 6635: (_mpls_in_ip, 4),
    UDP_PORT | 8472: (_vxlan, 8),
    UDP_PORT | 37008: (_tzsp, 4),
}
