"""One connection, packet by packet, with the state of both ends after each: a ladder."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from analyzer.cli import arguments
from analyzer.errors import UsageError

if TYPE_CHECKING:
    from analyzer.engine import Options
    from analyzer.flows.table import FlowTable

FLOW_WORDS = "a flow number, ADDR:PORT-ADDR:PORT ([v6]:PORT), or frame N"
#: flows named in a message
NAMED = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Fill in the command's arguments."""
    arguments.add_captures(parser)
    parser.add_argument("flow", metavar="FLOW", help=FLOW_WORDS)
    parser.add_argument("--all", action="store_true", help="every segment of a long connection")
    arguments.add_output(parser)
    arguments.add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Print the ladder."""
    from analyzer.cli.again import readable_twice
    from analyzer.cli.output import check_output, text_output
    from analyzer.cli.progress import progress
    from analyzer.engine import run as run_engine
    from analyzer.flows.table import FlowTable
    from analyzer.ladder import rungs
    from analyzer.report import ladder

    captures, wanted = _captures_and_flow(args.captures, args.flow)
    check_output(args.output, captures)
    options = arguments.options_of(args, keep_transitions=True)
    with readable_twice(captures) as again:
        with progress("reading") as tell:
            result = run_engine(again(), options, progress=tell)
        table = FlowTable(result.facts, result.end_ns, arguments.timers_of(args), result.scopes)
        row = wanted_row(table, wanted, again, options)
        with progress("reading again") as tell:
            steps = rungs(table, row, again(), options, tell)
    with text_output(args.output, captures) as out:
        if args.json:
            ladder.write_json(out, table, row, steps)
        else:
            ladder.write(out, table, row, steps, everything=args.all)
    return 0


def _captures_and_flow(captures: list[str], flow: str) -> tuple[list[str], str]:
    """`frame N` may be two words; the first of them then stands among the captures."""
    if len(captures) > 1 and captures[-1] == "frame" and flow.isdecimal():
        return captures[:-1], f"frame {flow}"
    return captures, flow


def wanted_row(table: FlowTable, text: str, again: Any, options: Options) -> int:
    """The row that FLOW names. Raises UsageError where none does, or several."""
    from analyzer.selection import row_of

    if text.isdecimal():
        return row_of(table, int(text))
    words = text.split()
    if len(words) == 2 and words[0] == "frame" and words[1].isdecimal():
        from analyzer.ladder import row_of_frame

        row = row_of_frame(table, again(), options, int(words[1])) if len(table) else None
        if row is None:
            raise UsageError(f"packet {words[1]} of the capture belongs to no TCP connection")
        return row
    return _row_of_ends(table, text)


def _row_of_ends(table: FlowTable, text: str) -> int:
    from analyzer.flows import columns

    first, dash, second = text.partition("-")
    if not dash:
        raise UsageError(f"{text!r} names no flow: say {FLOW_WORDS}")
    ends = {_end(first), _end(second)}
    found = [
        row
        for row in range(len(table))
        if {
            (columns.originator(table, row), table.fact(row, "o_port")),
            (columns.responder(table, row), table.fact(row, "r_port")),
        }
        == ends
    ]
    if not found:
        raise UsageError(f"no flow is between {first} and {second}")
    if len(found) > 1:
        numbers = [str(table.fact(row, "number")) for row in found[:NAMED]]
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise UsageError(f"{len(found)} flows are between {first} and {second}; name one: {', '.join(numbers)}{more}")
    return found[0]


def _end(text: str) -> tuple[str, int]:
    address, colon, port = text.strip().rpartition(":")
    if not colon or not port.isdecimal() or (":" in address and not address.startswith("[")):
        raise UsageError(f"{text!r} is no end of a connection: say ADDR:PORT or [v6]:PORT")
    return arguments.parse_address(address), int(port)
