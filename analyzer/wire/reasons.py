"""Why a frame gave no segment: the names, and what each means to a person.

Owns the vocabulary of `Decoder.counts`. Knows nothing of how frames are decoded.
"""

from __future__ import annotations

#: reason → what it means, one line each
REASONS: dict[str, str] = {
    "arp": "ARP or RARP: address resolution, no IP",
    "udp": "UDP that carries no tunnel known here",
    "icmp": "ICMP or ICMPv6 that quotes no TCP segment",
    "other_ip_protocol": "IP that carries neither TCP, UDP, ICMP nor a tunnel known here",
    "not_ip": "a link-layer frame that holds no IP packet",
    "unsupported_linktype": "a link type that is not read",
    "encrypted": "a payload that only its key opens (ESP, 802.11, MACsec, PPP)",
    "truncated_link": "the snap length, or the frame itself, ends inside the link-layer header",
    "truncated_ip": "the snap length, or the frame itself, ends inside the IP header",
    "truncated_tcp": "the snap length ends before the TCP flags",
    "truncated_tunnel": "the snap length, or the frame itself, ends inside a tunnel's header",
    "bad_ip_header": "an IP header whose version or lengths contradict themselves",
    "bad_tcp_header": "a TCP header that is shorter than 20 bytes or longer than its segment",
    "later_fragment": "an IP fragment other than the first: its TCP header went ahead",
    "held_fragment": "an IP fragment with a part of a TCP header, kept until the rest comes",
    "nesting_too_deep": "more tags, labels, extension headers or tunnels in one another than are followed",
}

#: reason → its number; 0 stands for "none: the frame gave a row"
NUMBERS: dict[str, int] = {name: number for number, name in enumerate(REASONS, start=1)}
NAMES: tuple[str, ...] = ("", *REASONS)
