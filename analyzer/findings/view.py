"""`CaptureView`: what findings need to know of a capture apart from its flows.

Owns the shape; made from an `engine.Result`, or by a live capture, which has no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from analyzer.engine import Result


class CaptureView(NamedTuple):
    """Health and counters of a capture; None where nothing states a number."""

    segments: int = 0
    bad_checksums: int = 0
    partial_checksums: int = 0  # of them, those whose rest was left to the network card
    duration_ns: int = 0
    dropped_by_kernel: int | None = None
    dropped_by_interface: int | None = None
    truncated: tuple[str, ...] = ()  # why a file was not read to its end, one sentence a file
    snaplen: int | None = None  # the shortest of all files that limit it
    skipped: Mapping[str, int] = MappingProxyType({})  # frames without a segment, by wire.reasons
    cut_options: int = 0  # segments whose options the snap length cut
    evicted: int = 0  # flows that left the tracker at its bound

    @classmethod
    def of(cls, result: Result) -> CaptureView:
        """The view of a finished run."""
        capture, decoded, tracker = result.capture, result.decoded, result.tracker
        return cls(
            segments=decoded.get("segments", 0),
            bad_checksums=decoded.get("bad_checksums", 0),
            partial_checksums=decoded.get("partial_checksums", 0),
            duration_ns=max(result.end_ns - (capture.first_ns or result.end_ns), 0),
            dropped_by_kernel=capture.dropped_by_kernel,
            dropped_by_interface=capture.dropped_by_interface,
            truncated=tuple(file.truncated for file in capture.files if file.truncated),
            snaplen=min((file.snaplen for file in capture.files if file.snaplen), default=None),
            skipped=result.skipped,
            cut_options=decoded.get("cut_options", 0),
            evicted=tracker.get("evicted_embryonic", 0) + tracker.get("evicted_other", 0),
        )
