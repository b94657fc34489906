"""What goes from run to run: the state file, and when it is believed.

Owns its form: a line of JSON that says what it is, with a checksum of the rest, then three compressed parts of JSON
lines. It holds numbers and text only: reading it runs nothing. It is replaced as a whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from analyzer.capture.sources import reason
from analyzer.engine import Options
from analyzer.errors import OutputError, StateError
from analyzer.flows.evidence import Evidence, Shown
from analyzer.flows.facts import FlowFacts, host_halves, host_key
from analyzer.tcp import saved
from analyzer.tcp.timers import Timers
from analyzer.tcp.tracker import Tracker

FORMAT, VERSION = "handshake-analyzer state", 1
#: listeners remembered; forged SYN+ACKs add one each, and the one longest known leaves
MAX_LISTENERS = 65_536
#: a header names options and lengths; more is none of ours
_HEADER_BYTES = 1 << 16
#: unpacked at a time
_CHUNK_BYTES = 1 << 20
#: a line of the state: listeners, captures and the log of one flow are bounded; more is none of ours
_LINE_BYTES = 1 << 26


class State(NamedTuple):
    """What goes from run to run, but for the tracker.

    `files`: by path, size, time of change and first frame of each capture that was tracked. `given`: by flow number,
    what was last said of flows that have ended and are still known. `pending`: flows that the tracker let go and that
    a timer may still change.
    """

    packets: int
    end_ns: int
    scopes: list[str]
    files: dict[str, list[int | None]]
    given: dict[int, str]
    evidence: Evidence
    pending: FlowFacts


def settings(options: Options, timers: Timers) -> dict[str, Any]:
    """What must be the same in all runs: it decides what is tracked, or what is said of flows that are gone."""
    return {
        "layout": saved.LAYOUT,
        "by_vlan": options.by_vlan,
        "by_tunnel": options.by_tunnel,
        "max_flows": options.max_flows,
        "timers": timers._asdict(),
    }


def stamp(path: str) -> tuple[int, int, int] | None:
    """Which state of the file it is; None: none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def packed(lines: Iterable[str]) -> bytes:
    """Lines as a part of the file."""
    pack = zlib.compressobj(1)
    return b"".join([*(pack.compress(line.encode("ascii")) for line in lines), pack.flush()])


def sealed(wanted: dict[str, Any], state: State, flows: bytes) -> bytes:
    """The file: `wanted` are its `settings`, `flows` the packed lines of the tracker."""
    known = list(state.evidence.listeners.items())[-MAX_LISTENERS:]
    listeners = [(*host_halves(host), *listener, *shown) for (host, *listener), shown in known]
    head = {
        **state._asdict(),
        "given": list(state.given.items()),
        "evidence": {"holes": state.evidence.holes, "listeners": listeners},
    }
    del head["pending"]
    pending = saved.facts_lines(state.pending, range(state.pending.count))
    parts = [packed([json.dumps(head) + "\n"]), flows, packed(pending)]
    whole = b"".join(parts)
    described = {
        "format": FORMAT,
        "version": VERSION,
        **wanted,
        "parts": [len(part) for part in parts],
        "sha256": hashlib.sha256(whole).hexdigest(),
    }
    return json.dumps(described).encode("ascii") + b"\n" + whole


def read(path: str, wanted: dict[str, Any], tracker: Tracker) -> State:
    """The state at `path` (none there: a beginning); what the tracker held is put into `tracker`. Raises StateError."""
    try:
        with open(path, "rb") as file:
            header, whole = file.readline(_HEADER_BYTES), file.read()
    except FileNotFoundError:
        return State(0, 0, [""], {}, {}, Evidence(), FlowFacts())
    except OSError as error:
        raise StateError(f"{path}: {reason(error)}") from None
    described = _header(path, header, wanted)
    if hashlib.sha256(whole).hexdigest() != described.get("sha256"):
        raise StateError(f"{path} is damaged: its checksum is wrong; take a copy, or begin anew with another file")
    try:
        head, flows, pending = _parts(whole, described["parts"])
        known = json.loads("".join(_lines(head)))
        saved.fill_tracker(tracker, _lines(flows))
        listeners = known["evidence"]["listeners"]
        shown = {(host_key(hi, lo), port, scope): Shown(*rest) for hi, lo, port, scope, *rest in listeners}
        return State(
            packets=int(known["packets"]),
            end_ns=int(known["end_ns"]),
            scopes=[str(name) for name in known["scopes"]],
            files=dict(known["files"]),
            given={int(number): str(said) for number, said in known["given"]},
            evidence=Evidence(shown, holes=bool(known["evidence"]["holes"])),
            pending=saved.facts_of(_lines(pending)),
        )
    except (*saved.FAILURES, zlib.error):
        raise StateError(
            f"{path} holds nothing that this program can go on from; begin anew with another file"
        ) from None


def _header(path: str, line: bytes, wanted: dict[str, Any]) -> dict[str, Any]:
    """The first line of the file. Raises StateError where it is no state, or of another version or other options."""
    try:
        described = json.loads(line)
        ours = described["format"] == FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        ours = False
    if not ours:
        raise StateError(f"{path} is no state of --continue: name another file, which is made where there is none")
    for name, value in {"version": VERSION, **wanted}.items():
        there = described.get(name)
        if there == value:
            continue
        if name in ("version", "layout"):
            raise StateError(f"{path} is of another version of this program: begin anew with another file")
        what = "other timers of the hosts" if name == "timers" else f"another --{name.replace('_', '-')} ({there})"
        raise StateError(f"{path} was made with {what}: say the same as then, or begin anew with another file")
    return dict(described)


def _parts(whole: bytes, lengths: list[int]) -> list[bytes]:
    parts, at = [], 0
    for length in lengths:
        parts.append(whole[at : at + length])
        at += length
    return parts


def _lines(part: bytes) -> Iterator[str]:
    """The lines of a part, unpacked as they are needed."""
    unpack = zlib.decompressobj()
    rest, held = part, b""
    while rest:
        held += unpack.decompress(rest, _CHUNK_BYTES)
        rest = unpack.unconsumed_tail
        *lines, held = held.split(b"\n")
        if len(held) > _LINE_BYTES:
            raise ValueError("a line without an end")
        for line in lines:
            yield line.decode("ascii")
    if held or not unpack.eof:
        raise ValueError("a part that breaks off")


def write(path: str, data: bytes) -> None:
    """Replace the file as a whole. Raises OutputError."""
    path = os.path.realpath(path)
    beside = f"{path}.{os.getpid()}.part"
    try:
        with open(beside, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        if os.path.exists(beside):
            os.unlink(beside)
        raise OutputError(f"{path}: cannot be written: {reason(error)}") from None
