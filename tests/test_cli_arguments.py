"""Times, spans and addresses as words of a call."""

from __future__ import annotations

import pytest

from analyzer.cli import arguments
from analyzer.cli.arguments import parse_address, parse_duration, parse_time
from analyzer.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1700000000", 1_700_000_000_000_000_000),
        ("1700000000.000000001", 1_700_000_000_000_000_001),
        ("1795252415.571146975", 1_795_252_415_571_146_975),
        ("1.5", 1_500_000_000),
        ("1700000000123456789", 1_700_000_000_123_456_789),
        ("1.7e9", 1_700_000_000_000_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
        ("2023-11-14T22:13:20", 1_700_000_000_000_000_000),
        ("2023-11-14 22:13:20.123456789", 1_700_000_000_123_456_789),
        ("2023-11-14T23:13:20.5+01:00", 1_700_000_000_500_000_000),
        ("2023-11-14", 1_699_920_000_000_000_000),
    ],
)
def test_times_are_read_to_the_nanosecond(text, expected):
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-1", "nan", "inf", "1e30", "99999999999999999999", "1e999999999", "2023-13-01", "1969-12-31"],
)
def test_what_is_no_time_is_refused_in_one_line(text):
    with pytest.raises(UsageError) as error:
        parse_time(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 10**9),
        ("1s", 10**9),
        ("500ms", 500_000_000),
        ("0.5", 500_000_000),
        ("2m", 120 * 10**9),
        ("1h", 3600 * 10**9),
    ],
)
def test_spans(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "1x", "s", "nan", "NaN", "inf", "1e999999999", "1e999999h"])
def test_what_is_no_span_is_refused(text):
    with pytest.raises(UsageError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses_are_written_as_the_columns_write_them(text, expected):
    assert parse_address(text) == expected


def test_defaults_in_the_help_are_those_of_the_timers():
    from analyzer.tcp.timers import Timers

    defaults = Timers()
    for _, field, words in arguments._TIMERS:
        assert f"(default {getattr(defaults, field) / 10**9:g} s" in words
    for _, field, words in arguments._RETRIES:
        assert f"(default {getattr(defaults, field)})" in words
