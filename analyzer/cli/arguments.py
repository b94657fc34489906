"""The arguments that commands share, and what their words mean.

Owns names, help and parsing of times, addresses and durations; each command picks what it takes.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from analyzer.errors import UsageError

if TYPE_CHECKING:
    from analyzer.engine import Options
    from analyzer.selection import Selection
    from analyzer.tcp.timers import Timers

SECOND_NS = 1_000_000_000
#: a whole number from here on is nanoseconds: as seconds it would lie beyond the year 3,000,000
LEAST_EPOCH_NS = 10**14
#: the largest moment that fits 64 bits as the facts keep it
MAX_NS = 2**63 - 1

_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": SECOND_NS, "m": 60 * SECOND_NS, "h": 3600 * SECOND_NS}
#: Linux's tcp_synack_retries, tcp_orphan_retries and tcp_syn_linear_timeouts are bytes, tcp_syn_retries stops at 127
MOST_RETRIES = 255
CAPTURE, OUTPUT = "FILE", "OUT"  # how arguments that name files are called
TIME_WORDS = "epoch seconds (decimals allowed), epoch nanoseconds, or ISO 8601 (UTC where it says nothing else)"


def add_captures(parser: argparse.ArgumentParser) -> None:
    """FILE…"""
    parser.add_argument(
        "captures",
        nargs="+",
        metavar=CAPTURE,
        help="captures, read in time order as one: files, directories, patterns of rotated files; - is standard input",
    )


def takes_file(action: argparse.Action) -> bool:
    """Whether a shell completes the argument to the name of a file."""
    return action.metavar in (CAPTURE, OUTPUT)


def add_narrowing(parser: argparse.ArgumentParser, *, host: bool = True, where: bool = True) -> None:
    """--from, --to, --host, --port, --where: which flows are shown; tracking sees the whole capture."""
    group = parser.add_argument_group("narrow down", "what is shown; the whole capture is analyzed all the same")
    group.add_argument(
        "--from", dest="from_ns", type=time_argument, metavar="TIME", help=f"nothing older: {TIME_WORDS}"
    )
    group.add_argument("--to", dest="to_ns", type=time_argument, metavar="TIME", help="nothing younger")
    if host:
        group.add_argument(
            "--host",
            action="append",
            default=[],
            type=_host,
            metavar="ADDR",
            help="connections with this address (or one of a network, as 10.0.0.0/8) at either end; may be repeated",
        )
    group.add_argument(
        "--port",
        action="append",
        default=[],
        type=_port,
        metavar="PORT",
        help="connections with this port at either end; may be repeated",
    )
    if where:
        group.add_argument(
            "--where",
            metavar="EXPR",
            help="pandas query over the columns, as 'handshake == \"half_open\" and responder_port == 443'",
        )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """--by-vlan, --by-tunnel, --max-flows, and the timers of the hosts with their Linux defaults."""
    group = parser.add_argument_group("analysis")
    group.add_argument("--by-vlan", action="store_true", help="the same 4-tuple on another VLAN is another connection")
    group.add_argument("--by-tunnel", action="store_true", help="the same 4-tuple in another tunnel is another one")
    group.add_argument(
        "--max-flows",
        type=count_argument,
        metavar="N",
        help="connections held at once at most; the oldest half-open leave first",
    )
    hosts = parser.add_argument_group(
        "timers of the hosts", "when a state is over although no packet says so; the defaults are Linux's"
    )
    for option, field, what in _TIMERS:
        hosts.add_argument(option, dest=field, type=duration_argument, metavar="TIME", help=what)
    for option, field, what in _RETRIES:
        hosts.add_argument(option, dest=field, type=_retries, metavar="N", help=what)


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    """--scheduler."""
    parser.add_argument(
        "--scheduler",
        metavar="WHERE",
        help="let the workers of a Dask cluster do it, for a data set: tcp://HOST:PORT, or `local` for all cores here",
    )


_TIMERS = (
    ("--time-wait", "time_wait_ns", "how long TIME_WAIT lasts (default 60 s)"),
    ("--syn-timeout", "first_syn_ns", "when a SYN or SYN+ACK is first sent again (default 1 s)"),
    ("--fin-wait", "fin_ns", "how long FIN_WAIT_1, CLOSING and LAST_ACK last without a second FIN (default 60 s)"),
    ("--fin-timeout", "fin_timeout_ns", "tcp_fin_timeout: how long an orphaned FIN_WAIT_2 lasts (default 60 s)"),
    ("--cookie-wait", "cookie_ns", "a SYN+ACK not repeated by then was a SYN cookie (default 1.15 s)"),
)
_RETRIES = (
    ("--syn-retries", "syn_retries", "tcp_syn_retries: SYNs sent again before SYN_SENT ends (default 6)"),
    (
        "--syn-linear-timeouts",
        "syn_linear_timeouts",
        "tcp_syn_linear_timeouts: as many more where SYNs come every second at first (default 4)",
    ),
    (
        "--synack-retries",
        "synack_retries",
        "tcp_synack_retries: SYN+ACKs sent again before SYN_RECEIVED ends (default 5)",
    ),
    (
        "--orphan-retries",
        "orphan_retries",
        "tcp_orphan_retries: how long FIN_WAIT_1, CLOSING and LAST_ACK of a closed socket last: as long as so many "
        "repeats take, the first after 200 ms (default 8)",
    ),
)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """--jobs, for commands that read a whole capture once."""
    parser.add_argument(
        "--jobs",
        type=count_argument,
        metavar="N",
        help="processes that share the work; the answers are the same (default, where there are processors for it: 2"
        " for 16 MiB and more, or 1 MiB compressed; up to 4 for 64 MiB and more that are not compressed; else 1)",
    )


def add_continue(parser: argparse.ArgumentParser) -> None:
    """--continue."""
    parser.add_argument(
        "--continue",
        dest="state",
        metavar=OUTPUT,
        help="go on where the run before stopped, whose open connections are kept in this file: for rotated captures"
        " without an end, each named once; gives what has ended since, and what is open",
    )


def add_output(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    """--json and -o."""
    if json:
        parser.add_argument("--json", action="store_true", help="one JSON document, for programs")
    parser.add_argument(
        "-o", "--output", metavar=OUTPUT, help="write there (whole or not at all) instead of standard output"
    )


def options_of(args: argparse.Namespace, *, keep_transitions: bool = False) -> Options:
    """The engine's options in `args`."""
    from analyzer.engine import AUTOMATIC, Options

    return Options(
        by_vlan=args.by_vlan,
        by_tunnel=args.by_tunnel,
        keep_transitions=keep_transitions,
        max_flows=args.max_flows,
        jobs=AUTOMATIC if (jobs := getattr(args, "jobs", 1)) is None else jobs,
    )


def timers_of(args: argparse.Namespace) -> Timers:
    """The hosts' timers in `args`."""
    from analyzer.tcp.timers import Timers

    fields = [field for _, field, _ in (*_TIMERS, *_RETRIES)]
    given = {field: value for field in fields if (value := getattr(args, field)) is not None}
    return Timers(**given)


def selection_of(args: argparse.Namespace) -> Selection:
    """Which flows `args` narrow down to; a command whose host is one address narrows by it itself."""
    from analyzer.selection import Selection

    if args.from_ns is not None and args.to_ns is not None and args.from_ns > args.to_ns:
        raise UsageError("--from is later than --to")
    return Selection(
        hosts=tuple(args.host) if isinstance(args.host, list) else (),
        ports=tuple(args.port),
        from_ns=args.from_ns,
        to_ns=args.to_ns,
        where=getattr(args, "where", None),
    )


def parse_time(text: str) -> int:
    """A moment as nanoseconds since the epoch. Raises UsageError with what is understood."""
    import decimal

    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:
        return _iso_ns(text)
    if not number.is_finite() or number < 0:
        raise UsageError(f"{text!r} is no time: {TIME_WORDS}")
    if number > MAX_NS:  # as a Decimal: an int of 1e999999999 would take all memory
        raise UsageError(f"{text!r} lies beyond what a capture can hold")
    nanoseconds = int(number) if number >= LEAST_EPOCH_NS else int(number * SECOND_NS)
    if nanoseconds > MAX_NS:
        raise UsageError(f"{text!r} lies beyond what a capture can hold")
    return nanoseconds


def _iso_ns(text: str) -> int:
    """ISO 8601, with up to nine decimals of a second."""
    from datetime import UTC, datetime

    head, point, tail = text.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))] if point else ""
    rest = tail[len(digits) :]
    try:
        moment = datetime.fromisoformat(head + rest)
    except ValueError:
        raise UsageError(f"{text!r} is no time: {TIME_WORDS}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = since.days * 86_400 + since.seconds
    nanoseconds = seconds * SECOND_NS + since.microseconds * 1_000 + int((digits + "0" * 9)[:9])
    if not 0 <= nanoseconds <= MAX_NS:
        raise UsageError(f"{text!r} lies beyond what a capture can hold")
    return nanoseconds


def parse_duration(text: str) -> int:
    """A span as nanoseconds: a number of seconds, or with ns, us, ms, s, m or h behind it."""
    import decimal

    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(digits) :] or "s"
    try:
        number, unit_ns = decimal.Decimal(digits), _UNITS_NS[unit]
    except (decimal.InvalidOperation, KeyError):
        raise UsageError(f"{text!r} is no span of time: say 1s, 250ms or 0.5") from None
    # as a Decimal first: an int of 1e999999999 would take all memory
    nanoseconds = int(number * unit_ns) if number.is_finite() and 0 < number <= MAX_NS else 0
    if not 0 < nanoseconds <= MAX_NS:
        raise UsageError(f"{text!r} is no span of time: it must be more than nothing")
    return nanoseconds


def _said(parse, text: str):  # type: ignore[no-untyped-def]
    """`parse(text)`, with a UsageError told as argparse tells its own."""
    try:
        return parse(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def time_argument(text: str) -> int:
    return int(_said(parse_time, text))


def duration_argument(text: str) -> int:
    return int(_said(parse_duration, text))


def parse_address(text: str) -> str:
    """An address as the columns write it. Raises UsageError."""
    import ipaddress

    try:
        return str(ipaddress.ip_address(text.strip("[]").partition("%")[0]))
    except ValueError:
        raise UsageError(f"{text!r} is no IPv4 or IPv6 address") from None


def address_argument(text: str) -> str:
    return str(_said(parse_address, text))


def _host(text: str) -> str:
    """An address, or a network in the form ADDR/BITS."""
    if "/" not in text:
        return address_argument(text)
    import ipaddress

    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IPv4 or IPv6 address or network") from None


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def count_argument(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: 1 or more")
    return int(text)


def _retries(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST_RETRIES:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of retries: 0 to {MOST_RETRIES}")
    return int(text)
