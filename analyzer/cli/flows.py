"""One row a connection, with everything that is known about it."""

from __future__ import annotations

import argparse
from importlib import import_module

from analyzer.cli import arguments

FORMATS = ("table", "jsonl", "csv", "parquet", "zeek")


def configure(parser: argparse.ArgumentParser) -> None:
    """Fill in the command's arguments."""
    arguments.add_captures(parser)
    parser.add_argument("--format", choices=FORMATS, help="default: table")
    parser.add_argument("--json", action="store_true", help="the same as --format jsonl")
    parser.add_argument(
        "--columns",
        metavar="NAME,…",
        help="only these columns, in this order; `all` for every one (the table shows a few without it)",
    )
    arguments.add_output(parser, json=False)
    arguments.add_narrowing(parser)
    arguments.add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """Print the flows."""
    from analyzer.cli.output import binary_output, text_output
    from analyzer.cli.work import analyze
    from analyzer.flows.columns import NAMES

    names = NAMES
    format_ = args.format or ("jsonl" if args.json else "table")
    analysis = analyze(args)
    reporter = import_module(f"analyzer.report.{format_}")
    opened = binary_output if format_ == "parquet" else text_output
    with opened(args.output, args.captures) as out:
        reporter.write(out, analysis.table, analysis.rows, names)
    return 0
