"""Why TCP connections hang, fail or pile up, answered from the packets themselves."""

from __future__ import annotations

from analyzer._version import __version__

TYPE_CHECKING = False  # as type checkers take it; importing typing would cost more than the command's start does

if TYPE_CHECKING:
    from typing import Any

    from analyzer.analysis import Analysis, read
    from analyzer.errors import AnalyzerError, CaptureError, OutputError, UsageError
    from analyzer.live.sniffer import Sniffer, sniff
    from analyzer.selection import Selection
    from analyzer.tcp.timers import Timers

__all__ = [
    "Analysis",
    "AnalyzerError",
    "CaptureError",
    "OutputError",
    "Selection",
    "Sniffer",
    "Timers",
    "UsageError",
    "__version__",
    "read",
    "sniff",
]

_HOMES = {
    "Analysis": "analysis",
    "AnalyzerError": "errors",
    "CaptureError": "errors",
    "OutputError": "errors",
    "Selection": "selection",
    "Sniffer": "live.sniffer",
    "Timers": "tcp.timers",
    "UsageError": "errors",
    "read": "analysis",
    "sniff": "live.sniffer",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: the command must start before it reads."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
