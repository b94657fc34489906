"""Watch an interface: what is wrong now, as it arises and ends.

In a terminal, a view that fills it; anywhere else, one JSON object a line: a finding that arises or ends, a connection
that ends badly, a note about the capture, and a summary at the end."""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from analyzer.cli import arguments
from analyzer.errors import UsageError

if TYPE_CHECKING:
    from types import FrameType

    from analyzer.capture.writing import Writer
    from analyzer.live.following import Following
    from analyzer.live.prometheus import Exporter
    from analyzer.live.watch import LiveSource, Watch

LISTED = 1000  # flows that each list of the summary holds; the summary has the count of all
_SIZES = {"k": 1 << 10, "M": 1 << 20, "G": 1 << 30}
SECOND_NS = 1_000_000_000
MANY_FLOWS = 20_000  # from here on the report takes longer than a person waits without a word
MOST_GROUP = 65_535  # packet(7): 16 bits
ONE_TELLING_S = 1.0
SWITCH_S = 0.001  # the threads' turns, 5 ms elsewhere: packets and keys wait less for a look to give way


def configure(parser: argparse.ArgumentParser) -> None:
    """Fill in the command's arguments."""
    parser.add_argument("interface", metavar="INTERFACE", help="as `ip link` names it, or any for all of them")
    capture = parser.add_argument_group("capture")
    capture.add_argument("--filter", metavar="BPF", help="only packets that match, in tcpdump's words, as 'port 443'")
    capture.add_argument("--promiscuous", action="store_true", help="also packets that are meant for other hosts")
    capture.add_argument("--duration", type=arguments.duration_argument, metavar="TIME", help="end after this long")
    capture.add_argument("--count", type=arguments.count_argument, metavar="N", help="end after so many packets")
    capture.add_argument("--ring", type=arguments.count_argument, metavar="MIB", help="ring for packets (default 32)")
    capture.add_argument(
        "--fanout",
        type=_group,
        metavar="GROUP",
        help="share connections with other processes that give this number",
    )
    capture.add_argument("--user", metavar="NAME", help="go on as this user once the interface is open")
    files = parser.add_argument_group("file", "the packets as captured, in pcapng")
    files.add_argument("--write", metavar=arguments.OUTPUT, help="write them there")
    files.add_argument("--rotate-size", type=_size, metavar="SIZE", help="a new file after so many bytes, as 100M")
    files.add_argument("--rotate-time", type=arguments.duration_argument, metavar="TIME", help="a new file that often")
    files.add_argument("--keep", type=arguments.count_argument, metavar="N", help="only the newest N of those files")
    shown = parser.add_argument_group("output")
    shown.add_argument("--json", action="store_true", help="one JSON object a line, in a terminal too")
    shown.add_argument("--prometheus", metavar="ADDRESS", help="metrics at PORT of the loopback address, or HOST:PORT")
    shown.add_argument("--check", action="store_true", help="compare with the states of this host's own sockets")
    shown.add_argument(
        "--interval", type=arguments.duration_argument, default=SECOND_NS, metavar="TIME", help="how often (1s)"
    )
    arguments.add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Watch until told to end, then report."""
    _check(args)
    with _ToldToEnd() as told:
        return _watch_and_report(args, told)


def _watch_and_report(args: argparse.Namespace, told: _ToldToEnd) -> int:
    from analyzer.analysis import Analysis
    from analyzer.live.following import Following
    from analyzer.live.watch import Watch

    exporter = _exporter(args)
    sys.setswitchinterval(SWITCH_S)
    gc.disable()  # tracking makes no cycles, and collecting would cost it 30 to 50 ns a packet
    try:
        watch = _opened(args)
        timers = arguments.timers_of(args)
        following = Following(watch, timers=timers, check=args.check)
        if exporter is not None:
            exporter.start(following)
        try:
            with told.while_watching():
                watch.start()
                _follow(following, args)
            if not _as_lines(args):
                _say_that_it_takes(following)
        finally:
            watch.stop()
    finally:
        gc.enable()
        if exporter is not None:
            exporter.close()
    if _as_lines(args):
        _summary(following, args)
    else:
        from analyzer.report import text

        text.write(sys.stdout, Analysis(watch.ask(Watch.result), timers=timers))
    stopped = watch.writer is not None and watch.writer.stopped is not None
    if stopped:
        from analyzer.cli.work import note

        note(str(watch.writer.stopped))  # type: ignore[union-attr]
    return 1 if stopped else 0


class _ToldToEnd:
    """SIGINT and SIGTERM end the watching first; only when they come again, later, the report too.

    What comes within `ONE_TELLING_S` is the same telling: `timeout` sends a signal twice, and a terminal another one
    besides what its user's Ctrl-C is.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._watching = False
        self._told = -ONE_TELLING_S

    def __enter__(self) -> _ToldToEnd:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._end:  # and not what a signal that ends the command has set
                signal.signal(number, handler)

    @contextmanager
    def while_watching(self) -> Iterator[None]:
        """Being told to ends this block."""
        self._watching = True
        try:
            yield
        except KeyboardInterrupt:
            pass
        finally:
            self._watching = False

    def _end(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._told < ONE_TELLING_S:
            return
        self._told = time.monotonic()
        if self._watching:
            self._watching = False
            raise KeyboardInterrupt
        if callable(self._before[number]):
            self._before[number](number, frame)


def _check(args: argparse.Namespace) -> None:
    if args.write is None:
        for option in ("rotate_size", "rotate_time", "keep"):
            if getattr(args, option) is not None:
                raise UsageError(f"--{option.replace('_', '-')} is about the files of --write")
    elif args.write == "-":
        raise UsageError("--write -: standard output has the events and the report; name a file")
    elif args.keep is not None and args.rotate_size is None and args.rotate_time is None:
        raise UsageError("--keep needs --rotate-size or --rotate-time: without them there is one file")


def _opened(args: argparse.Namespace) -> Watch:
    """The capture, ready to start, with the rights that opening it took given up."""
    from analyzer.live import rights
    from analyzer.live.sniffer import open_source
    from analyzer.live.watch import Watch

    user = rights.user_to_become(args.user)
    source = open_source(
        args.interface, filter=args.filter, promiscuous=args.promiscuous, ring_mib=args.ring, fanout=args.fanout
    )
    try:
        if user is not None:
            rights.become(user)
        return Watch(
            source,
            arguments.options_of(args),
            writer=_writer(args, source),
            count=args.count,
            seconds=None if args.duration is None else args.duration / SECOND_NS,
        )
    except BaseException:
        source.close()
        raise


def _exporter(args: argparse.Namespace) -> Exporter | None:
    if args.prometheus is None:
        return None
    from analyzer.live.prometheus import Exporter, parse_address

    return Exporter(parse_address(args.prometheus))


def _writer(args: argparse.Namespace, source: LiveSource) -> Writer | None:
    if args.write is None:
        return None
    from analyzer.capture.writing import Writer

    return Writer(
        args.write,
        source,
        max_bytes=args.rotate_size,
        max_seconds=None if args.rotate_time is None else args.rotate_time / SECOND_NS,
        keep=args.keep,
    )


def _follow(following: Following, args: argparse.Namespace) -> None:
    if _as_lines(args):
        _lines(following, args.interval / SECOND_NS)
        return
    from analyzer.live.view import show

    title = f"handshake live {args.interface}" + (f" · {args.filter}" if args.filter else "")
    show(following.watch, following, args.interval / SECOND_NS, title)


def _say_that_it_takes(following: Following) -> None:
    """The view is gone and the report not yet there: after a flood it has many connections to tell of."""
    from analyzer.cli.work import note

    flows = following.pulses[-1].flows if following.pulses else 0
    if flows >= MANY_FLOWS:
        note(f"{flows:,} connections: the report takes a few seconds")


def _as_lines(args: argparse.Namespace) -> bool:
    """Whether the output is for programs."""
    return bool(args.json) or not sys.stdout.isatty()


def _lines(following: Following, interval: float) -> None:
    """Events as they come, until the capture ends."""
    while not following.watch.join(interval):
        for event in following.step():
            _print(event)
        sys.stdout.flush()
    for event in following.step(last=True):
        _print(event)


def _print(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")


def _summary(following: Following, args: argparse.Namespace) -> None:
    """The last line: what `report --json` says, and the verdicts on all flows, kept or not."""
    from analyzer.analysis import Analysis
    from analyzer.live import moment
    from analyzer.live.tally import matrix
    from analyzer.report.document import document

    watch = following.watch
    given = watch.ask(moment.taken)
    total = given.tally.plus(matrix(given.result.facts)[: given.held], given.result.end_ns)
    analysis = Analysis(given.result, timers=arguments.timers_of(args))
    totals = {"flows": total.flows, "handshake": dict(total.handshake), "close": dict(total.close)}
    files = watch.writer.files if watch.writer is not None else []
    own = {"check": following.own.summary()} if args.check else {}
    _print({"event": "summary", "totals": totals, "files": files, **own, **document(analysis, LISTED)})


def _group(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST_GROUP:
        raise argparse.ArgumentTypeError(f"{text!r} is no group: 0 to {MOST_GROUP}")
    return int(text)


def _size(text: str) -> int:
    """Bytes, or with k, M or G behind the number."""
    unit = _SIZES.get(text[-1:], 1)
    digits = text[:-1] if text[-1:] in _SIZES else text
    if not digits.isdecimal() or not int(digits):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: say 500k, 100M or 2G")
    return int(digits) * unit
