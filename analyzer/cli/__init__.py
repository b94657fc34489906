"""The command `handshake`: words in, a status out.

Owns the list of commands, the way errors end, and nothing of what a command does: each has a module of its own here,
which is imported only when it is called. Nothing heavy is imported at the top: `--help` costs what Python costs.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

from analyzer.errors import AnalyzerError

TYPE_CHECKING = False  # as type checkers take it, without the cost of typing at every start
if TYPE_CHECKING:
    from collections.abc import Sequence

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

#: the modules that are compiled where a compiler was at hand
HOT_MODULES = ("analyzer.capture.blocks", "analyzer.capture.framing", "analyzer.wire.decode", "analyzer.tcp.tracker")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 could not do it, 2 wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
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
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
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
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} {name}", description=module.__doc__, allow_abbrev=False)
    parser.set_defaults(command=name)
    module.configure(parser)
    return parser


def build_parser(*, whole: bool = False) -> argparse.ArgumentParser:
    """The parser of everything; the commands' own arguments only where it is to be `whole`."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Why TCP connections hang, fail or pile up, answered from the packets themselves.",
        epilog=f"`{PROGRAM} COMMAND --help` says what a command takes. Captures: pcap and pcapng, also compressed.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="version, and whether the hot modules are compiled")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        below = commands.add_parser(name, help=line, description=line, allow_abbrev=False)
        if whole:
            import_module(f"{__name__}.{name}").configure(below)
    return parser


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
    """What a terminal's encoding lacks is written escaped instead of ending the command."""
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
