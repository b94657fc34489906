"""The socket tables of the hosts at a moment of the capture, as `netstat -na` would have shown them there."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from analyzer.cli import arguments
from analyzer.errors import UsageError

if TYPE_CHECKING:
    from analyzer.analysis import Analysis
    from analyzer.sockets import Socket

#: rows of --every at most: more is a slip of the unit, and would take as many tables
MAX_INSTANTS = 1_000_000
#: instants whose tables are made at once: bounds memory, while each flow's log is read only once for all of them
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
        help="a row an instant, as 1s or 500ms (with --json an object a line)",
    )
    parser.add_argument("--sockets", action="store_true", help="list the sockets, too")
    arguments.add_output(parser)
    arguments.add_narrowing(parser, host=False)
    arguments.add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Print the states."""
    from analyzer.cli.output import text_output
    from analyzer.cli.work import analyze

    if args.at_ns is not None and args.every_ns is not None:
        raise UsageError("--at is one moment and --every is many: take one of them")
    if args.sockets and args.every_ns is not None and not args.json:
        raise UsageError("--sockets with --every needs --json: one table of sockets an instant")
    analysis = analyze(args, keep_transitions=True)
    with text_output(args.output, args.captures) as out:
        if args.every_ns is not None:
            _every(out, args, analysis)
        else:
            _at(out, args, analysis)
    return 0


def _at(out: TextIO, args: argparse.Namespace, analysis: Analysis) -> None:
    from analyzer.report import states

    at_ns = analysis.table.end_ns if args.at_ns is None else args.at_ns
    sockets = _selected(analysis.sockets(at_ns, args.host), args, analysis)
    _say_when(at_ns, analysis)
    if args.json:
        _json(out, states.document(sockets, at_ns, args.host, listed=args.sockets))
        return
    if args.host is None:
        states.write_hosts(out, sockets)
    else:
        states.write_host(out, sockets)
    if args.sockets:
        out.write("\n")
        states.write_sockets(out, sockets, at_ns)


def _say_when(at_ns: int, analysis: Analysis) -> None:
    """A moment outside the capture is answered, from timers alone, and said to lie there."""
    from analyzer.cli.work import note

    first, last = analysis.result.capture.first_ns, analysis.table.end_ns
    if first is None:
        note("the capture holds no packet")
    elif at_ns < first:
        note(f"the moment lies {(first - at_ns) / 1e9:,.1f} s before the capture begins")
    elif at_ns > last:
        note(f"the moment lies {(at_ns - last) / 1e9:,.1f} s after the capture ends; only timers tell what goes on")


def _every(out: TextIO, args: argparse.Namespace, analysis: Analysis) -> None:
    from analyzer.report import states

    instants = _over(args, analysis)
    if args.json:
        for at_ns, sockets in instants:
            _json(out, states.document(sockets, at_ns, args.host, listed=args.sockets))
    else:
        states.write_instants(out, instants)


def _over(args: argparse.Namespace, analysis: Analysis) -> Iterator[tuple[int, Sequence[Socket]]]:
    """Every instant of the capture, or of the span that was asked for, with its sockets."""
    from analyzer.sockets import sockets_over

    table = analysis.table
    start = args.from_ns if args.from_ns is not None else analysis.result.capture.first_ns
    end = args.to_ns if args.to_ns is not None else table.end_ns
    if start is None:
        return
    if (end - start) // args.every_ns >= MAX_INSTANTS:
        raise UsageError(f"--every gives more than {MAX_INSTANTS:,} rows here: take a longer span, or --from and --to")
    instants = range(start, end + 1, args.every_ns)
    for place in range(0, len(instants), INSTANTS_AT_ONCE):
        some = instants[place : place + INSTANTS_AT_ONCE]
        for at_ns, sockets in zip(some, sockets_over(table, some, args.host), strict=True):
            yield at_ns, _selected(sockets, args, analysis)


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
