"""Hand-made segments for findings: a capture is written down as what each end sends, and when."""

from __future__ import annotations

import ipaddress

import pytest
from divided import found_apart

from analyzer import findings
from analyzer.flows.facts import FlowFacts
from analyzer.flows.table import FlowTable
from analyzer.segments import ACK, FIN, HAS_IP_ID, HAS_TIMESTAMP, PSH, RST, SYN, SegmentBatch
from analyzer.tcp.tracker import Tracker

START_NS = 1_700_000_000 * 10**9
LARGEST = 50_000  # segments of a test capture


def halves(address: str) -> tuple[int, int]:
    value = ipaddress.ip_address(address)
    number = int(value) if value.version == 6 else 0xFFFF << 32 | int(value)
    return number >> 64, number & (1 << 64) - 1


class Connection:
    """One connection; times are seconds. `c_` is sent by the client, `s_` by the server."""

    def __init__(self, capture: Capture, client: str, port: int, server: str, service: int) -> None:
        self.capture = capture
        self.ends = (halves(client), port, halves(server), service)
        self.client_next, self.server_next = 1000 + port, 900_000 + port

    def c_syn(self, at: float, **fields: int) -> None:
        self._send(at, True, SYN, 1000 + self.ends[1], **fields)
        self.client_next = 1001 + self.ends[1]

    def s_synack(self, at: float) -> None:
        self._send(at, False, SYN | ACK, 900_000 + self.ends[1])
        self.server_next = 900_001 + self.ends[1]

    def c_ack(self, at: float, **fields: int) -> None:
        self._send(at, True, ACK, self.client_next, **fields)

    def s_ack(self, at: float) -> None:
        self._send(at, False, ACK, self.server_next)

    def c_data(self, at: float, size: int = 100, *, again: bool = False, **fields: int) -> None:
        self._send(at, True, PSH | ACK, self.client_next - (size if again else 0), size, **fields)
        self.client_next += 0 if again else size

    def s_data(self, at: float, size: int = 100, *, again: bool = False) -> None:
        self._send(at, False, PSH | ACK, self.server_next - (size if again else 0), size)
        self.server_next += 0 if again else size

    def c_probe(self, at: float) -> None:
        """A keep-alive."""
        self._send(at, True, ACK, self.client_next - 1)

    def c_fin(self, at: float, *, again: bool = False) -> None:
        self._send(at, True, FIN | ACK, self.client_next - again)
        self.client_next += not again

    def s_fin(self, at: float, *, again: bool = False) -> None:
        self._send(at, False, FIN | ACK, self.server_next - again)
        self.server_next += not again

    def s_refuse(self, at: float, **fields: int) -> None:
        self._send(at, False, RST | ACK, 0, **fields)

    def s_rst(self, at: float, *, with_ack: bool = False, **fields: int) -> None:
        self._send(at, False, RST | ACK if with_ack else RST, self.server_next, **fields)

    def c_rst(self, at: float) -> None:
        self._send(at, True, RST, self.client_next)

    def open(self, at: float = 0.0) -> Connection:
        """The three segments of a handshake."""
        self.c_syn(at)
        self.s_synack(at + 0.01)
        self.c_ack(at + 0.02)
        return self

    def serve(self, at: float = 0.0) -> Connection:
        """A handshake, a request and its answer."""
        self.open(at)
        self.c_data(at + 0.03)
        self.s_data(at + 0.04)
        self.c_ack(at + 0.05)
        return self

    def _send(self, at: float, by_client: bool, flags: int, seq: int, size: int = 0, **fields: int) -> None:
        ack = (self.server_next if by_client else self.client_next) if flags & ACK else 0
        self.capture.segments.append((at, self.ends, by_client, flags, seq, ack, size, fields))


class Capture:
    def __init__(self) -> None:
        self.segments: list[tuple] = []
        self._port = 40_000

    def connection(self, client: str = "10.0.0.1", server: str = "10.0.0.2", service: int = 80) -> Connection:
        self._port += 1
        return Connection(self, client, self._port, server, service)

    def tracked(
        self, end: float | None = None, *, max_flows: int = 0, **view: object
    ) -> tuple[FlowFacts, int, findings.CaptureView]:
        """The facts of its flows, its end (`end` seconds after its start, or with its last segment), and its health."""
        batch = SegmentBatch(LARGEST)
        tracker = Tracker(max_flows=max_flows) if max_flows else Tracker()
        last = START_NS
        for number, (at, ends, by_client, flags, seq, ack, size, fields) in enumerate(
            sorted(self.segments, key=lambda s: s[0])
        ):
            (client, port, server, service) = ends
            src, sport, dst, dport = (client, port, server, service) if by_client else (server, service, client, port)
            last = START_NS + round(at * 1e9)
            row = {
                "flags": flags, "seq": seq % 2**32, "ack": ack % 2**32, "payload": size, "window": 65535, "ttl": 64,
                "ip_id": number % 65535 + 1, "mark": HAS_IP_ID | HAS_TIMESTAMP, "tsval": number + 1, **fields,
            }  # fmt: skip
            batch.append(
                packet=number + 1, ts_ns=last, src_hi=src[0], src_lo=src[1], dst_hi=dst[0], dst_lo=dst[1],
                sport=sport, dport=dport, **row,
            )  # fmt: skip
        tracker.feed(batch)
        facts = FlowFacts()
        facts.extend(tracker.finish())
        end_ns = last if end is None else START_NS + round(end * 1e9)
        evicted = tracker.evicted_embryonic + tracker.evicted_other
        defaults = {"segments": len(self.segments), "duration_ns": end_ns - START_NS, "evicted": evicted}
        return facts, end_ns, findings.CaptureView(**(defaults | view))

    def find(self, end: float | None = None, *, max_flows: int = 0, **view: object) -> list[findings.Finding]:
        """What is found when the capture ends `end` seconds after its start; by shards that lie apart, too."""
        facts, end_ns, capture = self.tracked(end, max_flows=max_flows, **view)
        found = findings.find(FlowTable(facts, end_ns), capture)
        assert found_apart(facts, end_ns, capture)[0] == found
        return found

    def names(self, end: float | None = None, **view: object) -> dict[str, str]:
        """The findings by name → severity."""
        return {one.name: one.severity for one in self.find(end, **view)}


@pytest.fixture
def capture() -> Capture:
    return Capture()
