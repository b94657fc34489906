"""What is known about a capture apart from its frames: the counts and doubts that a report states.

Owns the records only; the reader fills them in. A number that no file states is None, never 0.
"""

from __future__ import annotations

from typing import Any


class InterfaceHealth:
    """One interface of a pcapng section; the counters are totals since the capture began, as written there."""

    def __init__(self, name: str = "", linktype: int = 0) -> None:
        self.name = name
        self.linktype = linktype
        self.received: int | None = None
        self.dropped_by_interface: int | None = None
        self.dropped_by_kernel: int | None = None


class FileHealth:
    """One file of the capture. Times are nanoseconds since the epoch, None where no frame has one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.format = ""  # "pcap" or "pcapng"
        self.variant = ""  # resolution and byte order, for people
        self.compression = ""  # "" or "gzip", "zstd", "xz", "lz4", "bzip2"; "gzip in xz" where nested
        self.bytes = 0  # read from the file as it is stored
        self.packets = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.snaplen: int | None = None  # None before the file is read; 0 says unlimited
        self.linktypes: tuple[int, ...] = ()
        self.truncated: str | None = None  # why the file was not read to its end, as a sentence; None when it was
        self.disordered = 0  # frames earlier than the frame in front of them
        self.untimed = 0  # frames without a time stamp (simple packet blocks)
        self.interfaces: list[InterfaceHealth] = []

    def as_dict(self) -> dict[str, Any]:
        """Its fields as plain values."""
        interfaces = [dict(vars(interface)) for interface in self.interfaces]
        return {**vars(self), "linktypes": list(self.linktypes), "interfaces": interfaces}


class CaptureHealth:
    """All files together, in the order they were named; complete once the capture has been iterated."""

    def __init__(self, files: list[FileHealth] | None = None) -> None:
        self.files: list[FileHealth] = files or []
        self.notes: list[str] = []  # what weakens the capture, one sentence each

    @property
    def packets(self) -> int:
        return sum(file.packets for file in self.files)

    @property
    def disordered(self) -> int:
        return sum(file.disordered for file in self.files)

    @property
    def first_ns(self) -> int | None:
        return min((file.first_ns for file in self.files if file.first_ns is not None), default=None)

    @property
    def last_ns(self) -> int | None:
        return max((file.last_ns for file in self.files if file.last_ns is not None), default=None)

    @property
    def truncated(self) -> bool:
        """Whether any file was not read to its end."""
        return any(file.truncated for file in self.files)

    @property
    def received(self) -> int | None:
        return self._total("received")

    @property
    def dropped_by_interface(self) -> int | None:
        return self._total("dropped_by_interface")

    @property
    def dropped_by_kernel(self) -> int | None:
        return self._total("dropped_by_kernel")

    def _total(self, counter: str) -> int | None:
        """Sum over the interfaces that state `counter`; None where none does."""
        stated = [
            value
            for file in self.files
            for interface in file.interfaces
            if (value := getattr(interface, counter)) is not None
        ]
        return sum(stated) if stated else None
