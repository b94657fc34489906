"""The command `handshake`: words in, a status out.

Owns the list of commands, the way errors end, and nothing of what a command does: each has a module of its own here,
which is imported only when it is called. Nothing heavy is imported at the top: `--help` costs what Python costs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from functools import cache
from importlib import import_module

from analyzer.errors import AnalyzerError
from analyzer.garbage import leave_all, seldom_collected

TYPE_CHECKING = False  # as type checkers take it, without the cost of typing at every start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PROGRAM = "handshake"

#: command → the line that `--help` shows; the module of the same name has `configure(parser)` and `run(args)`
COMMANDS = {
    "report": "what is wrong, in order of weight, then the three lists",
    "flows": "one row a connection: table, jsonl, csv, parquet or zeek",
    "states": "the socket tables of the hosts at a moment",
    "show": "one connection, packet by packet, with both endpoint states",
    "live": "an interface, watched: states, rates, findings as they arise and end",
    "index": "captures decoded once into a data set, which every command reads in their place",
    "completion": "the shell's completion script",
}

#: 128 + SIGINT and 128 + SIGPIPE, as a shell reports a program that these signals ended
INTERRUPTED, BROKEN_PIPE = 130, 141

#: signals that ask a program to leave → what it says then; the status is 128 + the signal (Windows has no SIGHUP)
ENDING = {
    getattr(signal, name): words
    for name, words in (("SIGTERM", "terminated"), ("SIGHUP", "its terminal is gone"))
    if hasattr(signal, name)
}

#: the modules that are compiled where a compiler was at hand
HOT_MODULES = (
    *("analyzer.capture.blocks", "analyzer.capture.framing", "analyzer.wire.decode", "analyzer.tcp.tracker"),
    *("analyzer.flows.packed", "analyzer.flows.rendering", "analyzer.findings.counting"),
)


class EndedError(BaseException):
    """A signal of `ENDING`: unwinds as KeyboardInterrupt does, so that nothing half done stays behind."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 could not do it, 2 wrong usage.

    Without `argv` the process is the command's own, and ends with it.
    """
    before = _heed_signals()
    try:
        with seldom_collected():
            return _run(list(sys.argv[1:] if argv is None else argv))
    finally:
        for number, handler in before.items():
            # What comes while Python itself ends shall end it, and not be raised where nobody is left to take it.
            signal.signal(number, signal.SIG_DFL if argv is None else handler)
        if argv is None:
            leave_all()


def _heed_signals() -> dict[int, Any]:
    """Let Ctrl-C and the signals of `ENDING` raise, less those that the caller ignores (nohup); the handlers before.

    The first does, and no other after it: `timeout` sends a signal twice, a terminal that goes away sends several, and
    a second one would disturb the tidying up.
    """

    def end(number: int, _: object) -> None:
        for each in usual:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else EndedError(number)

    usual = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(ENDING, signal.SIG_DFL)}
    try:
        return {number: signal.signal(number, end) for number, own in usual.items() if signal.getsignal(number) == own}
    except ValueError:  # only the main thread has signals
        return {}


def _run(arguments: Sequence[str]) -> int:
    try:
        _prepare_streams()
        args = _parsed(arguments)
        status = import_module(f"{__name__}.{args.command}").run(args)
        sys.stdout.flush()
    except SystemExit as stop:
        return _flushed(stop.code if isinstance(stop.code, int) else 0)
    except AnalyzerError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except EndedError as ended:
        return _fail(ENDING[ended.number], 128 + ended.number)
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except MemoryError:
        return _fail("not enough memory", 1)
    except OSError as error:
        _drop_output()
        return _fail(_words(error), 1)
    return int(status or 0)


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments; where a command comes first, no other command is looked at."""
    if arguments and arguments[0] in COMMANDS:
        return _command_parser(arguments[0]).parse_args(arguments[1:])
    return build_parser().parse_args(arguments)


def _command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    module = import_module(f"{__name__}.{name}")
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {name}", description=module.__doc__, formatter_class=_Formatter, allow_abbrev=False
    )
    parser.set_defaults(command=name)
    module.configure(parser)
    return parser


def build_parser(*, whole: bool = False) -> argparse.ArgumentParser:
    """The parser of everything; the commands' own arguments only where it is to be `whole`."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Why TCP connections hang, fail or pile up, answered from the packets themselves.",
        epilog=f"`{PROGRAM} COMMAND --help` says what a command takes. Captures: pcap and pcapng, also compressed.",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="version, and whether the hot modules are compiled")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        below = commands.add_parser(name, help=line, description=line, formatter_class=_Formatter, allow_abbrev=False)
        if whole:
            import_module(f"{__name__}.{name}").configure(below)
    return parser


class _Formatter(argparse.HelpFormatter):
    """As wide as the terminal, which argparse asks shutil for at every argument: importing that costs every start."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_terminal_width() - 2)


@cache
def _terminal_width() -> int:
    """What `shutil.get_terminal_size` says."""
    try:
        columns = int(os.environ.get("COLUMNS", 0))
    except ValueError:
        columns = 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns  # type: ignore[union-attr]
        except (AttributeError, ValueError, OSError):  # no terminal, or closed
            columns = 0
    return columns or 80


class _Version(argparse.Action):
    """Prints the version and leaves; looks at the hot modules only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(version_text())
        parser.exit(0)


def version_text() -> str:
    """The version, Python's, and how the hot modules run."""
    from platform import python_implementation, python_version

    from analyzer._version import __version__

    compiled = [name for name in HOT_MODULES if not _runs_as_python(import_module(name))]
    how = "compiled" if len(compiled) == len(HOT_MODULES) else "pure Python (slower)" if not compiled else ""
    if not how:
        how = ", ".join(f"{name} {'compiled' if name in compiled else 'pure Python'}" for name in HOT_MODULES)
    return f"{PROGRAM} {__version__}, {python_implementation()} {python_version()}, hot modules {how}"


def _runs_as_python(module: object) -> bool:
    return str(getattr(module, "__file__", "")).endswith((".py", ".pyc"))


def _prepare_streams() -> None:
    """What a terminal's encoding lacks is written escaped instead of ending the command.

    A standard stream that the caller has closed (`>&-`) becomes one that reads nothing and that the system refuses to
    write to; messages go nowhere.
    """
    for name, mode, access in (
        ("stdin", "r", os.O_RDONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, access), mode))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flushed(code: int) -> int:
    """`code`, once what was printed has gone out."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except OSError as error:
        _drop_output()
        return _fail(_words(error), 1)
    return code


def _drop_output() -> None:
    """Nobody takes the output: what is still buffered goes nowhere, so that leaving Python does not fail again."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def _fail(message: str, code: int) -> int:
    """One line on standard error, whatever the message holds."""
    from analyzer.report.escape import printable

    try:
        sys.stdout.flush()
        print(f"{PROGRAM}: {printable(message)}", file=sys.stderr)
    except OSError:
        _drop_output()
    return code


def _words(error: OSError) -> str:
    reason = error.strerror or str(error)
    reason = reason[:1].lower() + reason[1:]
    return f"{error.filename}: {reason}" if error.filename else reason
