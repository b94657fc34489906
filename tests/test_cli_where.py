"""`--where`: what an expression can say, and what it cannot do."""

from __future__ import annotations

import pytest
import tiny_pcap

import analyzer
from analyzer.errors import UsageError
from analyzer.expression import MAX_LENGTH, matching


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("where") / "a.pcap"
    tiny_pcap.write(path, *sorted([*tiny_pcap.graceful(), *tiny_pcap.half_open(start=1.0)]))
    return analyzer.read(path).table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('handshake == "half_open"', [1]),
        ('handshake == "half_open" and responder_port == 443', []),
        ('handshake == "complete" & responder_port == 80', [0]),
        ('handshake == "complete" | responder_port == 80', [0, 1]),
        ('handshake in ["half_open", "refused"]', [1]),
        ('handshake not in ["half_open"]', [0]),
        ('handshake.isin(["complete"])', [0]),
        ("not handshake_confirmed", [1]),
        ("~handshake_confirmed", [1]),
        ("flow == 1", [1]),
        ("1 < synack_count <= 3", [1]),
        ("originator_rtt_ns.isna()", [1]),
        ("originator_mss < 1460", []),
        ("originator.str.startswith('192.')", [0, 1]),
        ("icmp_sender.str.contains('1')", []),
        ("icmp_sender == '192.0.2.1'", []),
        ("first_ns >= 1700000001000000000", [1]),
        ("first_ns < '2023-11-14 22:13:21'", [0]),
        ("last_ns - first_ns > '1s'", [1]),
        ("half_closed_ns < 60000000000", []),
        ("responder_rtt_ns == 10000000", [0, 1]),
        ("originator_packets + responder_packets == 8", [0]),
    ],
)
def test_expressions(table, text, expected):
    assert matching(table, range(len(table)), text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "@pandas.io",
        "@table",
        "handshake.__class__",
        "handshake.__class__.__mro__",
        "handshake.str.__class__",
        "handshake.map(print)",
        "handshake.to_csv('/tmp/x')",
        "handshake.str.cat()",
        "[x for x in (1,)]",
        "(lambda: 1)()",
        "handshake[0]",
        "f'{handshake}'",
        "9**9**9**9",
        "1 << 999999999",
        "'a' * 99999999999 == handshake",
        "handshake.isin([print])",
        "print(handshake)",
        "syn_count; syn_count",
        "syn_count := 1",
        "`syn_count` == 1",
    ],
)
def test_nothing_but_comparing_is_allowed(table, text):
    with pytest.raises(UsageError) as error:
        matching(table, range(len(table)), text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("handshak == 'x'", "handshake"),
        ("handshake == half_open", 'handshake == "half_open"'),
        ("handshake = 'half_open'", "=="),
        ("syn_count", "true or false"),
        ("", "empty"),
        ("syn_count >", "cannot be read"),
        ("syn_count > 'a'", "syn_count"),
        ("handshake.str.contains('(')", "str.contains"),
        ("half_closed_ns > 'soon'", "soon"),
        ("(" * 3000, "cannot be read"),
        ("flow == 1 or " * 1000, str(MAX_LENGTH)),
    ],
)
def test_a_mistake_is_told_in_one_clear_line(table, text, told):
    with pytest.raises(UsageError) as error:
        matching(table, range(len(table)), text)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_no_flow_is_no_match(tmp_path):
    path = tiny_pcap.write(tmp_path / "none.pcap", (0, tiny_pcap.udp()))
    assert matching(analyzer.read(path).table, [], "handshake == 'complete'") == []


@pytest.mark.parametrize(
    "text",
    ['handshake == "halfopen"', 'handshake in ["complete", "nope"]', 'close.isin(["nope"])', 'flow == "x"'],
)
def test_a_value_that_a_column_never_has_is_an_error(table, text):
    with pytest.raises(UsageError, match=r"never|one of"):
        matching(table, range(len(table)), text)
