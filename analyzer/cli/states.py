"""The socket tables of the hosts at a moment of the capture, as `netstat -na` would have shown them there."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TextIO

from analyzer.cli import arguments
from analyzer.errors import UsageError
from analyzer.flows.columns import BY_NAME

if TYPE_CHECKING:
    from analyzer.against import Entry
    from analyzer.analysis import Analysis
    from analyzer.sockets import Counts, Socket

#: rows of --every at most: more is a slip of the unit, and would take as many tables
MAX_INSTANTS = 1_000_000
#: instants whose lists of sockets are made at once: bounds memory, while each flow's log is read once for all of them
INSTANTS_AT_ONCE = 256


def configure(parser: argparse.ArgumentParser) -> None:
    """Fill in the command's arguments."""
    arguments.add_captures(parser)
    parser.add_argument(
        "--at",
        dest="at_ns",
        type=arguments.time_argument,
        metavar="TIME",
        help=f"the moment: {arguments.TIME_WORDS}; without it, the end of the capture",
    )
    parser.add_argument(
        "--host",
        type=arguments.address_argument,
        metavar="ADDR",
        help="only this host's sockets; without it, a row a host",
    )
    parser.add_argument(
        "--every",
        dest="every_ns",
        type=arguments.duration_argument,
        metavar="SPAN",
        help="a row an instant, as 1s or 500ms (with --json an object a line), and a chart on a terminal",
    )
    parser.add_argument("--sockets", action="store_true", help="list the sockets, too")
    parser.add_argument(
        "--against",
        metavar=arguments.CAPTURE,
        help="the host's own table, as `ss -tan` or `netstat -na` printed it at that moment: where the two differ",
    )
    parser.add_argument("--csv", action="store_true", help="CSV, for programs and spreadsheets")
    arguments.add_output(parser)
    arguments.add_narrowing(parser, host=False)
    arguments.add_engine(parser)
    arguments.add_jobs(parser)
    arguments.add_scheduler(parser)


def run(args: argparse.Namespace) -> int:
    """Print the states."""
    from analyzer.cli.output import text_output
    from analyzer.cli.work import analyze
    from analyzer.sockets import counts_over

    if args.at_ns is not None and args.every_ns is not None:
        raise UsageError("--at is one moment and --every is many: take one of them")
    if args.sockets and args.every_ns is not None and not args.json:
        raise UsageError("--sockets with --every needs --json: one table of sockets an instant")
    if args.json and args.csv:
        raise UsageError("--json and --csv are two formats: take one of them")
    if args.against is not None and (args.every_ns is not None or args.csv or args.sockets):
        raise UsageError("--against compares one moment: not with --every, --sockets or --csv")
    theirs = None
    if args.against is not None:
        from analyzer.against import read_table
        from analyzer.cli.work import note
        from analyzer.report import words

        theirs, unread = read_table(args.against)
        if unread:
            note(
                f"{args.against}: {words.many(unread, 'socket')} left out, of which an address cannot be read: netstat"
                " cuts long IPv6 addresses off (`netstat -naW` and `ss -tan` do not)"
            )
    if args.scheduler is not None and theirs is None and not args.sockets:
        return _on_cluster(args)
    analysis = analyze(args, keep_transitions=True)
    first_ns, end_ns = analysis.result.capture.first_ns, analysis.table.end_ns
    moments = Moments(
        first_ns,
        end_ns,
        lambda instants: counts_over(analysis.table, instants, args.host, rows=analysis.rows, ports=args.port),
    )
    with text_output(args.output, args.captures) as out:
        if theirs is not None:
            _against(out, args, analysis, theirs)
        elif args.every_ns is not None and args.sockets:
            _sockets_over(out, args, analysis, moments.instants(args))
        elif args.every_ns is not None:
            _every(out, args, moments)
        elif args.sockets:
            _sockets_at(out, args, analysis)
        else:
            _at(out, args, moments)
    return 0


def _on_cluster(args: argparse.Namespace) -> int:
    """Counts of sockets, made where the flows are."""
    from analyzer.cli.output import text_output
    from analyzer.cli.work import sharded
    from analyzer.dataset import counting

    with sharded(args, keep_transitions=True) as shards:
        moments = Moments(
            shards.whole.capture.first_ns,
            shards.whole.end_ns,
            lambda instants: counting.counts_over(shards, instants, args.host, ports=args.port),
        )
        with text_output(args.output, args.captures) as out:
            (_at if args.every_ns is None else _every)(out, args, moments)
    return 0


class Moments(NamedTuple):
    """When a capture begins (None: it holds no packet) and ends, and what counts its sockets at some instants."""

    first_ns: int | None
    end_ns: int
    counts: Callable[[Sequence[int]], Iterator[Counts]]

    def instants(self, args: argparse.Namespace) -> range:
        """Every instant of the capture, or of the span that was asked for."""
        start = args.from_ns if args.from_ns is not None else self.first_ns
        end = args.to_ns if args.to_ns is not None else self.end_ns
        if start is None:
            return range(0)
        if (end - start) // args.every_ns >= MAX_INSTANTS:
            raise UsageError(
                f"--every gives more than {MAX_INSTANTS:,} rows here: take a longer span, or --from and --to"
            )
        return range(start, end + 1, args.every_ns)


def _at(out: TextIO, args: argparse.Namespace, moments: Moments) -> None:
    """The counts at one moment."""
    from analyzer.report import states

    at_ns = moments.end_ns if args.at_ns is None else args.at_ns
    (counted,) = moments.counts([at_ns])
    _say_when(at_ns, moments.first_ns, moments.end_ns)
    if args.csv:
        states.write_counts_csv(out, counted)
    elif args.json:
        _json(out, states.instant(counted, args.host))
    else:
        _write_counts(out, args, counted)
        out.flush()
        _say_meanings(counted.total)


def _write_counts(out: TextIO, args: argparse.Namespace, counted: Counts) -> None:
    from analyzer.report import states

    if args.host is None:
        states.write_hosts(out, counted)
    else:
        states.write_host(out, counted)


def _sockets_at(out: TextIO, args: argparse.Namespace, analysis: Analysis) -> None:
    """The sockets at one moment, and their counts."""
    from analyzer.report import states

    at_ns = analysis.table.end_ns if args.at_ns is None else args.at_ns
    sockets = _selected(analysis.sockets(at_ns, args.host), args, analysis)
    _say_when(at_ns, analysis.result.capture.first_ns, analysis.table.end_ns)
    if args.csv:
        states.write_sockets_csv(out, sockets, at_ns)
    elif args.json:
        _json(out, states.document(sockets, at_ns, args.host))
    else:
        counted = states.counts_of(sockets, at_ns)
        _write_counts(out, args, counted)
        out.write("\n")
        states.write_sockets(out, sockets, at_ns)
        out.flush()
        _say_meanings(counted.total)


def _say_meanings(counts: Mapping[str, int]) -> None:
    """What each pile-up means, on standard error: the table alone is the result."""
    from analyzer.cli.work import note
    from analyzer.report import states

    for sentence in states.meanings(counts):
        note(sentence)


def _say_when(at_ns: int, first: int | None, last: int) -> None:
    """A moment outside the capture is answered, from timers alone, and said to lie there."""
    from analyzer.cli.work import note

    if first is None:
        note("the capture holds no packet")
    elif at_ns < first:
        note(f"the moment lies {(first - at_ns) / 1e9:,.1f} s before the capture begins")
    elif at_ns > last:
        note(f"the moment lies {(at_ns - last) / 1e9:,.1f} s after the capture ends; only timers tell what goes on")


def _every(out: TextIO, args: argparse.Namespace, moments: Moments) -> None:
    """The counts at many moments."""
    from analyzer.report import grid, states

    found = moments.counts(moments.instants(args))
    if args.json:
        for one in found:
            _json(out, states.instant(one, args.host))
    elif args.csv:
        states.write_instants_csv(out, found)
    else:
        listed = list(found)
        states.write_instants(out, listed)
        width = grid.width_of(out)
        if width is not None:
            out.write("\n")
            states.write_chart(out, listed, width)
        out.flush()
        most: dict[str, int] = {}
        for one in listed:
            for state, count in one.total.items():
                most[state] = max(count, most.get(state, 0))
        _say_meanings(most)


def _sockets_over(out: TextIO, args: argparse.Namespace, analysis: Analysis, instants: range) -> None:
    """The sockets at many moments, an object a line."""
    from analyzer.report import states
    from analyzer.sockets import sockets_over

    for place in range(0, len(instants), INSTANTS_AT_ONCE):
        some = instants[place : place + INSTANTS_AT_ONCE]
        for at_ns, sockets in zip(some, sockets_over(analysis.table, some, args.host), strict=True):
            _json(out, states.document(_selected(sockets, args, analysis), at_ns, args.host))


def _against(out: TextIO, args: argparse.Namespace, analysis: Analysis, theirs: list[Entry]) -> None:
    """Where the host's own table and the capture differ."""
    from analyzer import against
    from analyzer.report import against as report

    at_ns = analysis.table.end_ns if args.at_ns is None else args.at_ns
    host = args.host or against.host_of(theirs, analysis.sockets(at_ns))
    if host is None:
        raise UsageError(f"{args.against}: no connection in it has an address of this capture: name the host by --host")
    ours = _selected(analysis.sockets(at_ns, host), args, analysis)
    _say_when(at_ns, analysis.result.capture.first_ns, analysis.table.end_ns)
    compared = against.compare(ours, _meant(theirs, args, analysis), host)
    if args.json:
        _json(out, report.document(compared, at_ns, host))
    else:
        report.write(out, compared, host)


def _meant(theirs: list[Entry], args: argparse.Namespace, analysis: Analysis) -> list[Entry]:
    """The host's sockets narrowed down as the capture's are; only packets tell what --from, --to and --where ask."""
    if args.port:
        theirs = [one for one in theirs if one.local_port in args.port or one.peer_port in args.port]
    if args.where is None and args.from_ns is None and args.to_ns is None:
        return theirs
    names = ("originator", "originator_port", "responder", "responder_port")
    ends = [tuple(BY_NAME[name].get(analysis.table, row) for name in names) for row in analysis.rows]
    known = {*ends, *((*end[2:], *end[:2]) for end in ends)}
    return [one for one in theirs if one.state == "LISTEN" or one[1:] in known]


def _selected(sockets: Sequence[Socket], args: argparse.Namespace, analysis: Analysis) -> Sequence[Socket]:
    """Those that --port, --from, --to and --where leave; listeners belong to no flow and go by their port."""
    if args.port:
        sockets = [socket for socket in sockets if socket.local_port in args.port or socket.peer_port in args.port]
    if len(analysis.rows) < len(analysis.table):
        flows = analysis.flow_numbers
        sockets = [socket for socket in sockets if socket.flow is None or socket.flow in flows]
    return sockets


def _json(out: TextIO, document: object) -> None:
    import json

    json.dump(document, out)
    out.write("\n")
