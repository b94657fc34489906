"""From a command's arguments to an `Analysis`: the one way every command reads."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from analyzer.cli import arguments
from analyzer.cli.output import check_output
from analyzer.cli.progress import progress
from analyzer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from analyzer.analysis import Analysis
    from analyzer.dataset.judging import Shards
    from analyzer.engine import Options, Result
    from analyzer.report.reported import Reported
    from analyzer.rereading import Again
    from analyzer.selection import Selection

    Progress = Callable[[int, int | None], None]


def note(text: str) -> None:
    """One line on standard error about a result that is complete as far as it goes."""
    from analyzer.report.escape import printable

    print(f"handshake: note: {printable(text)}", file=sys.stderr)


def analyze(
    args: argparse.Namespace,
    *,
    keep_transitions: bool = False,
    say_damage: bool = True,
    again: Again | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> Analysis:
    """Read and track the captures of `args`, with a bar where someone watches.

    What would only fail in the end, a bad expression or place to write to, is found before. `say_damage`: tell on
    standard error what was not read or not kept, where the result itself has no place for it. `again`: the captures,
    where the result needs their packets, too. `meanwhile`: see `engine.run`.
    """
    from analyzer.analysis import Analysis
    from analyzer.engine import run

    selection = _checked(args)
    options = arguments.options_of(args, keep_transitions=keep_transitions)
    scheduler = getattr(args, "scheduler", None)
    with progress("reading") as tell:
        if scheduler is None:
            result = run(
                args.captures if again is None else again.sources(), options, progress=tell, meanwhile=meanwhile
            )
        else:
            result = _on_cluster(args.captures, options, scheduler, tell)
    if say_damage:
        say_damage_of(result)
    timers = arguments.timers_of(args)
    return Analysis(result, timers=timers, selection=selection, again=again, options=options)


@contextmanager
def reported(args: argparse.Namespace, meanwhile: Callable[[], object] | None = None) -> Iterator[Reported]:
    """What a report is made of: `analyzed`, or what the workers of a cluster have told."""
    if args.scheduler is None or args.state is not None:
        with analyzed(args, say_damage=False, meanwhile=meanwhile) as analysis:
            yield analysis
        return

    def load() -> None:
        import_module("analyzer.dataset.reporting")
        if meanwhile is not None:
            meanwhile()

    with sharded(args, say_damage=False, meanwhile=load) as shards:
        from analyzer.dataset import reporting

        made = reporting.report(shards, arguments.options_of(args))
    yield made


@contextmanager
def sharded(
    args: argparse.Namespace,
    *,
    keep_transitions: bool = False,
    say_damage: bool = True,
    meanwhile: Callable[[], object] | None = None,
) -> Iterator[Shards]:
    """The shards of the data set of `args`, tracked and judged on the workers of a cluster, as `analyze` would."""
    from analyzer.dataset.judging import judged

    selection, timers = _checked(args), arguments.timers_of(args)
    options = arguments.options_of(args, keep_transitions=keep_transitions)
    data_set = data_set_of(args.captures)
    with ExitStack() as stack:
        with progress("reading") as tell:
            shards = stack.enter_context(judged(data_set, options, args.scheduler, timers, selection, tell, meanwhile))
        if say_damage:
            say_damage_of(shards.whole)
        yield shards


@contextmanager
def analyzed(
    args: argparse.Namespace, *, say_damage: bool = True, meanwhile: Callable[[], object] | None = None
) -> Iterator[Analysis]:
    """`analyze`, or with --continue this run of it: its state is replaced when the result has been written."""
    if args.state is None:
        if getattr(args, "ended", False):
            raise UsageError("--ended is for --continue STATE: without it all flows end with the capture")
        yield analyze(args, say_damage=say_damage, meanwhile=meanwhile)
        return
    from analyzer.analysis import Analysis
    from analyzer.continuing.run import continued

    if args.scheduler is not None:
        raise UsageError("--continue goes on with one process: leave --scheduler out")
    if args.state in ("", "-") or args.state == args.output:
        raise UsageError("--continue takes a file of its own")
    check_output(args.state, args.captures)
    selection = _checked(args)
    options, timers = arguments.options_of(args), arguments.timers_of(args)
    with progress("reading") as tell, continued(args.state, args.captures, options, timers, tell) as run:
        for name in run.left_out:
            note(f"{name}: tracked by an earlier run, and left out")
        result = run.result
        if say_damage:
            say_damage_of(result)
        if getattr(args, "ended", False):
            numbers = result.facts.column("number")
            ended = (row for row, number in enumerate(numbers) if number in run.ended)
            result = result._replace(facts=result.facts.chosen(ended))
        yield Analysis(result, timers=timers, selection=selection, options=options, known=run.evidence)


def _checked(args: argparse.Namespace) -> Selection:
    """The selection of `args`. Raises what would only fail in the end: a bad expression, a bad place to write to."""
    selection = arguments.selection_of(args)
    if selection.where is not None:
        from analyzer.expression import parse

        parse(selection.where)
    check_output(args.output, args.captures)
    return selection


def say_damage_of(result: Result) -> None:
    """On standard error, what was not read or not kept."""
    for file in result.capture.files:
        if file.truncated:
            note(file.truncated if file.name in file.truncated else f"{file.name}: {file.truncated}")
    evicted = result.tracker["evicted_embryonic"] + result.tracker["evicted_other"]
    if evicted:
        note(f"{evicted:,} flows left early at the bound of flows held at once (--max-flows)")


def _on_cluster(captures: Sequence[str], options: Options, scheduler: str, tell: Progress | None) -> Result:
    from analyzer.dataset import cluster

    return cluster.run(data_set_of(captures), options, scheduler, tell)


def data_set_of(captures: Sequence[str]) -> str:
    """The data set that workers are to read. Raises UsageError where captures are named."""
    from analyzer.dataset import location

    data_set = location(captures)
    if data_set is None:
        raise UsageError("--scheduler works on a data set: make one with `handshake index FILE… -o DATASET`")
    return data_set
