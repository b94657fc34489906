"""Reading captures: pcap and pcapng, compressed or not, one file or many, as frames in time order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyzer.capture.health import CaptureHealth, FileHealth, InterfaceHealth
    from analyzer.capture.opening import Capture, open_capture

__all__ = ["Capture", "CaptureHealth", "FileHealth", "InterfaceHealth", "open_capture"]

_HOMES = {
    "Capture": "opening",
    "CaptureHealth": "health",
    "FileHealth": "health",
    "InterfaceHealth": "health",
    "open_capture": "opening",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: the command must start before it reads."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
