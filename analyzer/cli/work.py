"""From a command's arguments to an `Analysis`: the one way every command reads."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from analyzer.cli import arguments
from analyzer.cli.output import check_output
from analyzer.cli.progress import progress

if TYPE_CHECKING:
    from analyzer.analysis import Analysis
    from analyzer.rereading import Again


def note(text: str) -> None:
    """One line on standard error about a result that is complete as far as it goes."""
    from analyzer.report.escape import printable

    print(f"handshake: note: {printable(text)}", file=sys.stderr)


def analyze(
    args: argparse.Namespace, *, keep_transitions: bool = False, say_damage: bool = True, again: Again | None = None
) -> Analysis:
    """Read and track the captures of `args`, with a bar where someone watches.

    What would only fail in the end, a bad expression or place to write to, is found before. `say_damage`: tell on
    standard error what was not read or not kept, where the result itself has no place for it. `again`: the captures,
    where the result needs their packets, too.
    """
    from analyzer.analysis import Analysis
    from analyzer.engine import run

    selection = arguments.selection_of(args)
    if selection.where is not None:
        from analyzer.expression import parse

        parse(selection.where)
    check_output(args.output, args.captures)
    options = arguments.options_of(args, keep_transitions=keep_transitions)
    with progress("reading") as tell:
        result = run(args.captures if again is None else again.sources(), options, progress=tell)
    if say_damage:
        for file in result.capture.files:
            if file.truncated:
                note(file.truncated if file.name in file.truncated else f"{file.name}: {file.truncated}")
        evicted = result.tracker["evicted_embryonic"] + result.tracker["evicted_other"]
        if evicted:
            note(f"{evicted:,} flows left early at the bound of flows held at once (--max-flows)")
    timers = arguments.timers_of(args)
    return Analysis(result, timers=timers, selection=selection, again=again, options=options)
