"""One row a connection, with everything that is known about it."""

from __future__ import annotations

import argparse
from importlib import import_module

from analyzer.cli import arguments
from analyzer.errors import UsageError

FORMATS = ("table", "jsonl", "csv", "parquet", "zeek")


def configure(parser: argparse.ArgumentParser) -> None:
    """Fill in the command's arguments."""
    arguments.add_captures(parser)
    parser.add_argument("--format", choices=FORMATS, help="default: table; zeek is Zeek's conn.log")
    parser.add_argument("--json", action="store_true", help="the same as --format jsonl: one object a line")
    parser.add_argument(
        "--columns",
        metavar="NAME,…",
        help="only these columns, in this order; `all` for every one (without it, the table shows a telling few)",
    )
    arguments.add_output(parser, json=False)
    arguments.add_narrowing(parser)
    arguments.add_engine(parser)
    arguments.add_jobs(parser)
    arguments.add_scheduler(parser)
    arguments.add_continue(parser)
    parser.add_argument("--ended", action="store_true", help="with --continue: only those that have ended")


def run(args: argparse.Namespace) -> int:
    """Print the flows."""
    from analyzer.cli.output import binary_output, text_output
    from analyzer.cli.work import analyzed

    form = args.format or ("jsonl" if args.json else "table")
    if args.json and form != "jsonl":
        raise UsageError(f"--json and --format {form} exclude each other")
    if args.columns and form == "zeek":
        raise UsageError("Zeek's conn.log has its own columns: leave --columns out")
    names = columns_of(args.columns, few=form == "table")
    if args.scheduler is not None and form == "parquet" and args.state is None:
        return _partitioned(args, names or ())
    reporter = import_module(f"analyzer.report.{form}")
    opened = binary_output if form == "parquet" else text_output
    with analyzed(args) as analysis:
        rows = analysis.rows
        with opened(args.output, args.captures) as out:
            reporter.write(out, analysis.table, rows, names)
    return 0


def _partitioned(args: argparse.Namespace, names: tuple[str, ...]) -> int:
    """Let the workers write the table, a file a shard."""
    from analyzer.cli.progress import progress
    from analyzer.cli.work import data_set_of, say_damage_of
    from analyzer.dataset import tables

    if args.output in (None, "", "-"):
        raise UsageError("with --scheduler, parquet is a directory of files: name it with -o OUT")
    selection = arguments.selection_of(args)
    if selection.where is not None:
        from analyzer.expression import parse

        parse(selection.where)
    data_set, options, timers = data_set_of(args.captures), arguments.options_of(args), arguments.timers_of(args)
    with progress("tracking") as tell:
        result = tables.write(data_set, args.output, options, args.scheduler, timers, selection, names, tell)
    say_damage_of(result)
    return 0


def columns_of(text: str | None, *, few: bool) -> tuple[str, ...] | None:
    """The columns that `text` names, in its order; None: those that a reporter thinks best. Raises UsageError."""
    from analyzer.flows.columns import BY_NAME, NAMES

    if text is None:
        return None if few else NAMES
    if text == "all":
        return NAMES
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError("--columns names no column")
    for name in names:
        if name not in BY_NAME:
            from analyzer.expression import near

            raise UsageError(f"--columns: there is no column {name!r}{near(name)}")
    return names
