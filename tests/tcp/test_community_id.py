"""Community ID v1 against the vectors of its specification and against a computation of its own."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import struct

import pytest
from tcp import script

from analyzer.flows.columns import community_id

#: https://github.com/corelight/community-id-spec, baseline_deflt.json, tcp.pcap
BASELINE = ("128.232.110.120", 34855, "66.35.250.204", 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg=")

Pair = tuple[str, int]


def ends(*pairs: Pair) -> list[tuple[bytes, int]]:
    return [(ipaddress.ip_address(address).packed, port) for address, port in pairs]


def by_the_book(a: Pair, b: Pair) -> str:
    """seed(16) . source . destination . protocol(8) . padding(8) . ports, the smaller (address, port) first."""
    first, second = ends(a, b)
    if (first[0], first[1]) > (second[0], second[1]):
        first, second = second, first
    text = struct.pack("!H", 0) + first[0] + second[0] + struct.pack("!BBHH", 6, 0, first[1], second[1])
    return "1:" + base64.b64encode(hashlib.sha1(text, usedforsecurity=False).digest()).decode()


def test_vector_of_the_specification() -> None:
    source, sport, target, dport, wanted = BASELINE
    assert community_id(*ends((source, sport), (target, dport))) == wanted


def test_both_directions_are_one() -> None:
    source, sport, target, dport, wanted = BASELINE
    assert community_id(*ends((target, dport), (source, sport))) == wanted


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("10.0.0.1", 1), ("10.0.0.2", 65535)),
        (("10.0.0.2", 443), ("10.0.0.1", 40000)),
        (("10.0.0.1", 40000), ("10.0.0.1", 443)),  # one host: the ports decide
        (("200.1.1.1", 5), ("9.1.1.1", 5)),  # as numbers, not as text
        (("2001:db8::1", 443), ("2001:db8::2", 40000)),
        (("fe80::1", 443), ("2001:db8::2", 40000)),
        (("::ffff:10.0.0.1", 443), ("::ffff:10.0.0.2", 4000)),
    ],
)
def test_by_the_book(a: Pair, b: Pair) -> None:
    assert community_id(*ends(a, b)) == by_the_book(a, b)


@pytest.mark.parametrize("world", script.WORLDS[::2], ids=lambda world: world.name)
@pytest.mark.parametrize("ipv6", [False, True], ids=["v4", "v6"])
def test_column_of_a_flow(world: script.World, ipv6: bool) -> None:
    """Also where IPv4 addresses are stored as the lower half of IPv6 ones."""
    (scenario,) = script.parse(f"== one\n{'v6' if ipv6 else ''}\n0.000 C > S: S 0\n0.010 S > C: R. 0 ack 1\n")
    (record,) = script.records(script.play(scenario, world))
    pairs = [(world.address(end, ipv6), world.port(end, None)) for end in "CS"]
    assert record["community_id"] == by_the_book(*pairs)
