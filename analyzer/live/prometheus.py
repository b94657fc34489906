"""What a live capture knows, for Prometheus to fetch.

Owns the metrics' names and the small server (prometheus_client's). It binds to the loopback address unless told
otherwise, and shows what the last pulse and the last look saw: fetching costs the capture nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from analyzer.errors import OutputError, UsageError
from analyzer.live.following import Following
from analyzer.report import words

LOOPBACK = "127.0.0.1"


def parse_address(text: str) -> tuple[str, int]:
    """HOST:PORT, :PORT or PORT. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--prometheus {text}: say PORT or HOST:PORT")
    return host.strip("[]") or LOOPBACK, int(port)


class Exporter:
    """Serves a following's metrics at an address, from `start` to `close`. Raises OutputError where it cannot."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._following: Following | None = None
        try:
            import prometheus_client
        except ModuleNotFoundError:
            needed = "pip install 'handshake-analyzer[prometheus]'"
            raise OutputError(f"--prometheus needs prometheus_client: {needed}") from None
        registry = prometheus_client.CollectorRegistry()
        registry.register(self)
        host, port = address
        try:
            self._server, self._thread = prometheus_client.start_http_server(port, host, registry)
        except OSError as error:
            place = words.endpoint(host, port)
            raise OutputError(f"--prometheus: cannot listen on {place}: {error.strerror or error}") from None

    def start(self, following: Following) -> None:
        """Show this one from now on."""
        self._following = following

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def describe(self) -> list[Any]:
        """Nothing: registering must not collect."""
        return []

    def collect(self) -> Iterator[Any]:
        """The metrics as they are now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        following = self._following
        if following is None or not following.pulses:
            return
        now = following.pulses[-1]
        yield CounterMetricFamily("handshake_packets", "Packets read", value=now.packets)
        dropped = CounterMetricFamily("handshake_dropped_packets", "Packets lost while capturing", labels=["by"])
        dropped.add_metric(["kernel"], now.dropped_by_kernel)
        if now.dropped_by_interface is not None:
            dropped.add_metric(["interface"], now.dropped_by_interface)
        yield dropped
        segments = CounterMetricFamily("handshake_segments", "TCP segments by flag", labels=["flag"])
        for flag, value in (("SYN", now.syns), ("SYN_ACK", now.synacks), ("FIN", now.fins), ("RST", now.rsts)):
            segments.add_metric([flag], value)
        yield segments
        yield GaugeMetricFamily("handshake_ring_used_ratio", "Share of the ring that waits", value=now.ring_used)
        yield GaugeMetricFamily("handshake_connections_held", "Connections held now", value=now.alive)
        yield CounterMetricFamily("handshake_connections", "Connections seen", value=now.flows)
        yield CounterMetricFamily("handshake_connections_evicted", "Connections pushed out", value=now.evicted)
        look = following.look
        if look is None:
            return
        ends = GaugeMetricFamily("handshake_ends", "Ends of connections by state", labels=["where", "state"])
        for where, counts in look.states.items():
            for state, count in counts.items():
                ends.add_metric([where, state], count)
        yield ends
        for name, words_of, counts in (
            ("handshake_verdicts", "Connections by verdict on the handshake", look.handshake),
            ("handshake_closes", "Connections by verdict on the close", look.close),
        ):
            # A verdict may still change while a connection lives: no counter.
            verdicts = GaugeMetricFamily(name, words_of, labels=["verdict"])
            for verdict, count in counts.items():
                verdicts.add_metric([verdict], count)
            yield verdicts
        found = GaugeMetricFamily(
            "handshake_findings", "Connections concerned by findings that hold", labels=["name", "severity"]
        )
        totals: dict[tuple[str, str], int] = {}
        for finding, _ in tuple(following.findings.present):
            key = (finding.name, finding.severity)
            totals[key] = totals.get(key, 0) + finding.count
        for labels, count in totals.items():
            found.add_metric(list(labels), count)
        yield found
