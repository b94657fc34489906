"""Flows as Zeek's conn.log, for what reads that.

Owns the fields and their text. What is not known here (service, bytes with IP headers …) is `-`, as Zeek has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from analyzer.flows.rendering import records
from analyzer.flows.table import FlowTable
from analyzer.report.words import SECOND_NS

UNSET = "-"
FIELDS = (
    ("ts", "time"),
    ("uid", "string"),
    ("id.orig_h", "addr"),
    ("id.orig_p", "port"),
    ("id.resp_h", "addr"),
    ("id.resp_p", "port"),
    ("proto", "enum"),
    ("service", "string"),
    ("duration", "interval"),
    ("orig_bytes", "count"),
    ("resp_bytes", "count"),
    ("conn_state", "string"),
    ("local_orig", "bool"),
    ("local_resp", "bool"),
    ("missed_bytes", "count"),
    ("history", "string"),
    ("orig_pkts", "count"),
    ("orig_ip_bytes", "count"),
    ("resp_pkts", "count"),
    ("resp_ip_bytes", "count"),
    ("tunnel_parents", "set[string]"),
    ("community_id", "string"),
)
_NEEDED = (
    *("flow", "first_ns", "last_ns", "originator", "originator_port", "responder", "responder_port"),
    *("originator_bytes", "responder_bytes", "conn_state", "history", "originator_packets", "responder_packets"),
    "community_id",
)
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: as long as Zeek's identifiers: C and 17 digits of base 62
_UID_DIGITS = 17
#: the last second that the calendar knows (year 9999)
_MAX_SECOND = 253_402_300_799


def write(out: TextIO, table: FlowTable, rows: Sequence[int], names: Sequence[str]) -> None:
    """Write the flows in `rows`; the fields are Zeek's, whatever `names` asks for."""
    stamp = _stamp(table.end_ns)
    out.write("#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n")
    out.write(f"#open\t{stamp}\n")
    out.write("\t".join(("#fields", *(name for name, _ in FIELDS))) + "\n")
    out.write("\t".join(("#types", *(kind for _, kind in FIELDS))) + "\n")
    for flow in records(table, rows, _NEEDED):
        out.write("\t".join(_values(flow)) + "\n")
    out.write(f"#close\t{stamp}\n")


def _values(flow: dict[str, Any]) -> list[str]:
    return [
        _seconds(flow["first_ns"]),
        uid(flow["community_id"], flow["first_ns"], flow["flow"]),
        flow["originator"],
        str(flow["originator_port"]),
        flow["responder"],
        str(flow["responder_port"]),
        "tcp",
        UNSET,
        _seconds(flow["last_ns"] - flow["first_ns"]),
        str(flow["originator_bytes"]),
        str(flow["responder_bytes"]),
        flow["conn_state"],
        UNSET,
        UNSET,
        UNSET,
        flow["history"] or UNSET,
        str(flow["originator_packets"]),
        UNSET,
        str(flow["responder_packets"]),
        UNSET,
        UNSET,
        flow["community_id"],
    ]


def uid(community: str, first_ns: int, number: int) -> str:
    """An identifier like Zeek's, the same for the same capture."""
    rest = int.from_bytes(hashlib.sha256(f"{community} {first_ns} {number}".encode()).digest()[:16], "big")
    digits = []
    for _ in range(_UID_DIGITS):
        rest, digit = divmod(rest, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "C" + "".join(digits)


def _seconds(ns: int) -> str:
    """Seconds with the six decimals that Zeek writes."""
    return f"{ns // SECOND_NS}.{ns % SECOND_NS // 1_000:06d}"


def _stamp(ns: int) -> str:
    """The end of the capture: a log says when it was opened, and the same capture gives the same log."""
    return datetime.fromtimestamp(min(ns // SECOND_NS, _MAX_SECOND), UTC).strftime("%Y-%m-%d-%H-%M-%S")
