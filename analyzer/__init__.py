"""Why TCP connections hang, fail or pile up, answered from the packets themselves."""

from analyzer._version import __version__

__all__ = ["__version__"]
