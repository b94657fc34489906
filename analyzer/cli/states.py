"""The socket tables of the hosts at a moment of the capture, as `netstat -na` would have shown them there."""

from __future__ import annotations

import argparse

from analyzer.cli import arguments


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
    parser.add_argument("--host", type=arguments.address_argument, metavar="ADDR", help="only this host's sockets")
    parser.add_argument(
        "--every", dest="every_ns", type=arguments.duration_argument, metavar="SPAN", help="a row an instant, as 1s or 500ms"
    )
    parser.add_argument("--sockets", action="store_true", help="list the sockets, too")
    arguments.add_output(parser)
    arguments.add_narrowing(parser, host=False, where=False)
    arguments.add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Print the states."""
    from analyzer.cli.output import text_output
    from analyzer.cli.work import analyze
    from analyzer.report import states

    analysis = analyze(args, keep_transitions=True)
    at_ns = analysis.table.end_ns if args.at_ns is None else args.at_ns
    moment = states.moment(analysis.states(at_ns, args.host), at_ns, args.host)
    with text_output(args.output, args.captures) as out:
        if args.json:
            import json

            json.dump(states.document(moment, sockets=args.sockets), out)
            out.write("\n")
    return 0
