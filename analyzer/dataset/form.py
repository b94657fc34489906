"""What is in a data set: its two kinds of Parquet files, and what each says of the capture it was made from.

Owns names, types, encodings and versions. `segments/ID.parquet` has the rows of one capture in row groups, one for
each shard of each run of packets; `frames/ID.parquet` the frames of that capture that gave no row, which count in
packet numbers. The former is written last: a capture is in the data set when that file is.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from analyzer.dataset.store import Store, need
from analyzer.errors import CaptureError
from analyzer.segments import COLUMN_TYPES

if TYPE_CHECKING:
    from analyzer.capture.health import FileHealth

FORMAT, VERSION = "handshake-analyzer segments", 1
SEGMENTS, FRAMES = "segments", "frames"
#: the key of a file's own description in its footer
KEY = b"handshake"
#: shards a data set has where nothing else is asked for: tasks for as many workers
DEFAULT_SHARDS = 16

#: few values in a run of packets: a dictionary keeps them small, and reading them is a lookup
_DICTIONARY = (
    "shard", "kind", "src_hi", "src_lo", "dst_hi", "dst_lo", "sport", "dport", "flags", "window", "payload", "ttl",
    "mark", "options", "mss", "wscale", "scope", "icmp_sender",
)  # fmt: skip
#: rises with every row: differences are small
_DELTA = ("packet", "ts_ns")

_TYPES = {"B": "uint8", "H": "uint16", "I": "uint32", "Q": "uint64", "q": "int64"}


def schema() -> Any:
    """The columns of a segments file: `shard`, those of a `SegmentBatch`, and who sent an ICMP error."""
    arrow = need("pyarrow")
    fields = [arrow.field("shard", arrow.uint8(), nullable=False)]
    for name, code in COLUMN_TYPES.items():
        fields.append(arrow.field(name, getattr(arrow, _TYPES[code])(), nullable=False))
    fields.append(arrow.field("icmp_sender", arrow.binary(16)))
    return arrow.schema(fields)


def numbers(column: Any) -> Any:
    """A column of numbers, none of them null, as one numpy array. Raises pyarrow.ArrowException where it is none.

    Not by Arrow's `to_numpy`: that imports pandas, which takes longer than reading a million rows.
    """
    import numpy

    chunks = [numpy.from_dlpack(chunk) for chunk in column.chunks]
    if not chunks:
        return numpy.empty(0, dtype=column.type.to_pandas_dtype())
    return chunks[0] if len(chunks) == 1 else numpy.concatenate(chunks)


def column(numbers: Any) -> Any:
    """The way back, on the same memory: an Arrow array of a numpy array without gaps, and again without pandas."""
    arrow = need("pyarrow")
    held = [None, arrow.py_buffer(numbers)]  # no bits that say which are null
    return arrow.Array.from_buffers(arrow.from_numpy_dtype(numbers.dtype), len(numbers), held)


def writer_options() -> dict[str, Any]:
    """How `pyarrow.parquet.ParquetWriter` writes either file: every page with a checksum."""
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": list(_DICTIONARY),
        "column_encoding": dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED"),
        "write_page_checksum": True,
        "write_statistics": True,
    }


class Settings(NamedTuple):
    """What all files of a data set have in common."""

    shards: int = DEFAULT_SHARDS
    by_vlan: bool = False
    by_tunnel: bool = False

    def to_json(self) -> bytes:
        """As `dataset.json` holds it."""
        return (json.dumps({"format": FORMAT, "version": VERSION, **self._asdict()}, indent=1) + "\n").encode()

    @classmethod
    def of(cls, store: Store, marker: str) -> Settings:
        """Those of a data set. Raises CaptureError where it is none, or of another version."""
        try:
            found = json.loads(store.read(marker))
            if found["format"] != FORMAT:
                raise ValueError(found["format"])
            if found["version"] != VERSION:
                raise CaptureError(
                    f"{store.root} is a data set of version {found['version']}, and this program reads {VERSION}:"
                    " index the captures again"
                )
            return cls(int(found["shards"]), bool(found["by_vlan"]), bool(found["by_tunnel"]))
        except (ValueError, KeyError, TypeError):
            raise CaptureError(f"{store.path(marker)} describes no data set of segments") from None


class Group(NamedTuple):
    """One row group: `rows` segments of `shard`, in the `run`th run of packets, `packet` the first of them."""

    run: int
    shard: int
    rows: int
    packet: int


class Described(NamedTuple):
    """What a segments file says of its capture, in its footer."""

    name: str  # as it was named
    key: str  # absolute path or URL: what tells captures apart
    size: int | None
    modified_ns: int | None
    health: dict[str, Any]
    notes: list[str]
    decoded: dict[str, int]
    skipped: dict[str, int]
    scopes: list[str]
    frames: int
    start_ns: int | None  # of the first frame
    end_ns: int | None  # the latest of any frame
    last_ns: int  # the latest of any segment (an ICMP error is none), 0 where there is none
    groups: list[Group]

    def to_json(self) -> bytes:
        return json.dumps(self._asdict(), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Described:
        """Raises ValueError, TypeError or KeyError where it is something else."""
        found = json.loads(data)
        found["groups"] = [Group(*group) for group in found["groups"]]
        return cls(**found)


def file_id(key: str, size: int | None, modified_ns: int | None) -> str:
    """The name of a capture's files: whose they are, then what state of it (a capture that grows is read again)."""
    return f"{digest(key, 16)}-{digest(f'{size}/{modified_ns}', 8)}"


def digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]


def health_of(described: dict[str, Any]) -> FileHealth:
    """The health of a capture as its reader gave it."""
    from analyzer.capture.health import FileHealth, InterfaceHealth

    health = FileHealth(described["name"])
    vars(health).update(described)
    health.linktypes = tuple(described["linktypes"])
    health.interfaces = []
    for each in described["interfaces"]:
        interface = InterfaceHealth()
        vars(interface).update(each)
        health.interfaces.append(interface)
    return health
