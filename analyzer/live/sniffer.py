"""`sniff` and `Sniffer`: a live capture for Python and notebooks.

Owns opening a source by the name of an interface, and the way from a capture under way to an `Analysis`. The capture
runs in a thread of its own; what ends it there is raised where it is asked.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING

from analyzer.analysis import Analysis
from analyzer.capture.writing import Writer
from analyzer.engine import Options
from analyzer.live.watch import KEPT_FLOWS, LiveSource, Watch
from analyzer.tcp.timers import Timers

if TYPE_CHECKING:
    from typing import Self

SNAPLEN = 262_144  # as tcpdump: whole frames


def open_source(
    interface: str,
    *,
    filter: str | None = None,  # noqa: A002  # what tcpdump and scapy call it
    promiscuous: bool = False,
    snaplen: int = SNAPLEN,
    ring_mib: int | None = None,
    fanout: int | None = None,
) -> LiveSource:
    """An interface, or `any`, open for reading: the ring on Linux, scapy's sockets elsewhere.

    Raises UsageError where the filter is wrong, CaptureError where the interface cannot be opened.
    """
    import socket

    if hasattr(socket, "AF_PACKET"):
        from analyzer.capture.ring import RING_MIB, Ring

        size = RING_MIB if ring_mib is None else ring_mib
        return Ring(
            interface, expression=filter, snaplen=snaplen, promiscuous=promiscuous, ring_mib=size, fanout=fanout
        )
    from analyzer.capture.portable import Portable
    from analyzer.errors import UsageError

    if fanout is not None:
        raise UsageError("--fanout is Linux's: here one process reads an interface")

    return Portable(interface, expression=filter, snaplen=snaplen, promiscuous=promiscuous)


def sniff(
    interface: str,
    *,
    seconds: float | None = None,
    count: int | None = None,
    filter: str | None = None,  # noqa: A002
    write: str | os.PathLike[str] | None = None,
    promiscuous: bool = False,
    by_vlan: bool = False,
    by_tunnel: bool = False,
    max_flows: int | None = None,
    timers: Timers | None = None,
) -> Analysis:
    """Watch an interface for so many `seconds`, or `count` packets (or until interrupted): what `read` would have said
    of a file with those packets. `write` keeps them in a pcapng file.

    Raises an `analyzer.errors.AnalyzerError` where the interface cannot be read, the filter is wrong, or the file
    cannot be written.
    """
    sniffer = Sniffer(
        interface,
        filter=filter,
        write=write,
        promiscuous=promiscuous,
        by_vlan=by_vlan,
        by_tunnel=by_tunnel,
        max_flows=max_flows,
        timers=timers,
        seconds=seconds,
        count=count,
    )
    with sniffer:
        try:
            while not sniffer.join(0.2):
                pass
        except KeyboardInterrupt:
            pass  # an interrupt ends the watching, not the answer
    return sniffer.analysis()


class Sniffer:
    """An interface watched in the background: `with Sniffer("eth0") as s: … s.analysis()`.

    `analysis()` may be asked at any time. While it runs, it speaks of this moment; afterwards, of the last packet, as
    `read` does of a file. Flows that are over are kept for it up to `kept_flows`; a note in `.capture` says if more
    were. `ring_mib`: the kernel's memory for packets not yet read (32 MiB). `fanout`: a number that several processes
    give in order to share an interface, each getting whole connections.
    """

    def __init__(
        self,
        interface: str,
        *,
        filter: str | None = None,  # noqa: A002
        write: str | os.PathLike[str] | None = None,
        promiscuous: bool = False,
        by_vlan: bool = False,
        by_tunnel: bool = False,
        max_flows: int | None = None,
        kept_flows: int = KEPT_FLOWS,
        ring_mib: int | None = None,
        fanout: int | None = None,
        timers: Timers | None = None,
        seconds: float | None = None,
        count: int | None = None,
    ) -> None:
        self._timers = timers
        source = open_source(interface, filter=filter, promiscuous=promiscuous, ring_mib=ring_mib, fanout=fanout)
        try:
            writer = None if write is None else Writer(os.fspath(write), source)
            options = Options(by_vlan=by_vlan, by_tunnel=by_tunnel, keep_transitions=True, max_flows=max_flows)
            self._watch = Watch(source, options, writer=writer, count=count, seconds=seconds, kept_flows=kept_flows)
        except BaseException:
            source.close()
            raise

    def start(self) -> None:
        """Begin watching; `with` does it."""
        self._watch.start()

    def stop(self) -> None:
        """End watching. Raises what went wrong meanwhile."""
        self._watch.stop()

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the end that `seconds` or `count` set, so long at most; whether it has come."""
        return self._watch.join(seconds)

    @property
    def running(self) -> bool:
        """Whether packets are still read."""
        return self._watch.running

    @property
    def packets(self) -> int:
        """Packets read so far."""
        return self._watch.packets

    def analysis(self) -> Analysis:
        """What there is to say now. Raises what has ended the watching, where something did."""
        return Analysis(self._watch.ask(Watch.result), timers=self._timers)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except BaseException:
            if error is None:
                raise
