"""What is wrong, in order of weight, then the three lists: incomplete handshakes, half-closed connections, SYN+ACKs
that were sent again."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import TYPE_CHECKING

from analyzer.cli import arguments
from analyzer.errors import UsageError

if TYPE_CHECKING:
    from analyzer.findings import Finding
    from analyzer.report.reported import Reported

#: exit status where --fail-on found what it was told to look for
FOUND = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Fill in the command's arguments."""
    arguments.add_captures(parser)
    parser.add_argument("--explain", metavar="NAME", help="the long form of one finding, as accept_queue_overflow")
    parser.add_argument(
        "--fail-on",
        dest="fail_on",
        action="append",
        default=[],
        metavar="NAME|SEVERITY",
        help="exit with status 3 where that is found: a finding's name, or critical, warning (and worse) or info (any);"
        " may be repeated",
    )
    parser.add_argument(
        "--html",
        metavar=arguments.OUTPUT,
        help="write the report as one HTML page there, pictures and ladders included",
    )
    arguments.add_output(parser)
    arguments.add_narrowing(parser)
    arguments.add_engine(parser)
    arguments.add_jobs(parser)
    arguments.add_scheduler(parser)
    arguments.add_continue(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    from analyzer.cli.output import text_output
    from analyzer.cli.work import reported

    if args.explain is not None and args.json:
        raise UsageError("--explain is text: --json has all of every finding")
    explained = None
    if args.explain is not None:
        from analyzer.report.explain import cause_of

        explained = cause_of(args.explain)
    _check(args.fail_on)
    if args.html is not None:
        return _page(args)
    reporter = "analyzer.report.document" if args.json else "analyzer.report.text"

    def load() -> None:
        """Import what a report takes, while others are at work; where nobody is, it is imported where it is used."""
        for name in ("analyzer.findings", "analyzer.listeners", "analyzer.report.display", reporter):
            import_module(name)

    with reported(args, meanwhile=load) as analysis:
        if not args.json:  # the document sees to it itself
            analysis.found  # noqa: B018  # made before anything is written
        with text_output(args.output, args.captures) as out:
            if explained is not None:
                from analyzer.report import explain

                explain.write(out, analysis, explained)
            else:
                import_module(reporter).write(out, analysis)
    return _status(analysis, args)


def _page(args: argparse.Namespace) -> int:
    """Write the page; standard output stays empty."""
    from analyzer.cli.again import readable_twice
    from analyzer.cli.output import text_output
    from analyzer.cli.work import analyze
    from analyzer.report import page
    from analyzer.rereading import Again

    if args.json or args.output is not None or args.explain is not None:
        raise UsageError("--html names the one file that is written: leave out --json, --explain and -o")
    if args.state is not None:
        raise UsageError("--html draws packets of earlier captures, too, which --continue has not: take one of them")
    args.output = args.html
    with readable_twice(args.captures) as kept:
        analysis = analyze(args, keep_transitions=True, say_damage=False, again=Again.of(kept()))
        with text_output(args.html, args.captures) as out:
            page.write(out, analysis)
    return _status(analysis, args)


def _status(analysis: Reported, args: argparse.Namespace) -> int:
    return FOUND if any(_concerns(finding, args.fail_on) for finding in analysis.found) else 0


def _check(wanted: list[str]) -> None:
    """Raise UsageError where a word is neither a finding's name nor a severity."""
    if not wanted:
        return
    from analyzer.findings.finding import SEVERITIES
    from analyzer.report.explain import cause_of

    for word in wanted:
        if word not in SEVERITIES:
            cause_of(word, f"--fail-on takes {', '.join(SEVERITIES)} or the name of a finding, and ")


def _concerns(finding: Finding, wanted: list[str]) -> bool:
    """Whether the finding is one of those, or as severe as one of those severities."""
    from analyzer.findings.finding import SEVERITIES

    reached = SEVERITIES[SEVERITIES.index(finding.severity) :]  # its own and every lesser one
    return finding.name in wanted or any(severity in wanted for severity in reached)
