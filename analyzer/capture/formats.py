"""What the first bytes of a file say it is.

Owns the magic numbers of captures and the names of what is not one. Knows nothing of how a capture goes on.
"""

from __future__ import annotations

from typing import NamedTuple

MAXIMUM_SNAPLEN = 262_144  # libpcap's and Wireshark's largest frame where the file does not declare more

HEAD_BYTES = 64  # enough of a file to tell what it is

PCAP_FILE_HEADER = 24
PCAPNG_LEAST_HEADER = 12  # block type, length, byte-order magic


class PcapVariant(NamedTuple):
    """How a pcap file lays out its numbers; `words` says it for people."""

    big: bool
    nanoseconds: bool
    record_header: int
    file_header: int
    words: str


def _pcap_variants() -> dict[bytes, PcapVariant]:
    kinds = (
        (0xA1B2C3D4, False, 16, 24, "microseconds"),
        (0xA1B23C4D, True, 16, 24, "nanoseconds"),
        (0xA1B2CD34, False, 24, 24, "microseconds, modified"),  # Kuznetzov's patch: interface, protocol, type
        (0x1C0001AC, False, 16, 28, "microseconds, Ixia hardware"),  # the length of all records follows the header
        (0x1C0001AB, False, 16, 28, "microseconds, Ixia software"),
    )
    variants = {}
    for magic, nanoseconds, record_header, file_header, words in kinds:
        for big, order in ((False, "little"), (True, "big")):
            variants[magic.to_bytes(4, "big" if big else "little")] = PcapVariant(
                big, nanoseconds, record_header, file_header, f"{words}, {order}-endian"
            )
    return variants


#: first four bytes → layout
PCAP_VARIANTS = _pcap_variants()

PCAPNG_MAGIC = b"\n\r\r\n"
PCAPNG_ORDERS = {b"\x1a\x2b\x3c\x4d": "big-endian", b"\x4d\x3c\x2b\x1a": "little-endian"}

READ_WORDS = "read are pcap and pcapng, plain or as gz, zst, xz, lz4 or bz2"

#: (offset, bytes) → what has them there; the first that fits names the file
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"snoop\0\0\0", "a snoop capture (Solaris); `editcap IN OUT` converts it"),
    (0, b"RTSS", "a Microsoft Network Monitor 1 capture; `editcap IN OUT` converts it"),
    (0, b"GMBU", "a Microsoft Network Monitor 2 capture; `editcap IN OUT` converts it"),
    (0, b"TRSNIFF data    \x1a", "a Sniffer capture; `editcap IN OUT` converts it"),
    (0, b"XCP\0", "a NetXray capture; `editcap IN OUT` converts it"),
    (0, b"\x7fver", "an EtherPeek/OmniPeek capture; `editcap IN OUT` converts it"),
    (0, b"iptrace 1.0", "an AIX iptrace capture; `editcap IN OUT` converts it"),
    (0, b"iptrace 2.0", "an AIX iptrace capture; `editcap IN OUT` converts it"),
    (0, b"\x54\x52\x00\x64\x00", "an HP-UX nettl capture; `editcap IN OUT` converts it"),
    (0, b"PK\x03\x04", "a zip archive; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (0, b"Rar!", "a RAR archive; unpack it first"),
    (0, b"LZIP", "an lzip file; unpack it first"),
    (0, b"\x1f\x9d", "a compress (.Z) file; unpack it first"),
    (0, b"\x89LZO", "an lzop file; unpack it first"),
    (0, b"\x02\x21\x4c\x18", "an lz4 file of the legacy format; unpack it first"),
    (0, b"\x7fELF", "a program (ELF)"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"PAR1", "a Parquet table"),
)


def is_pcapng(head: bytes) -> bool:
    """Whether `head` starts a pcapng section with a valid byte-order magic."""
    return head[:4] == PCAPNG_MAGIC and head[8:12] in PCAPNG_ORDERS


def describe(head: bytes) -> str:
    """What a file is that starts with `head` and is no capture, as a phrase that completes "it is …"."""
    if not head:
        return "empty"
    for at, magic, words in _FOREIGN:
        if head[at : at + len(magic)] == magic:
            return words
    if head[:4] in PCAP_VARIANTS:
        return f"a pcap file cut off inside its {PCAP_VARIANTS[head[:4]].file_header}-byte header"
    if head[:4] == PCAPNG_MAGIC:
        return "a pcapng file cut off or damaged inside its section header"
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    if text := _describe_text(head):
        return text
    if _is_erf(head):
        return "an Endace ERF capture; `editcap IN OUT` converts it"
    return f"of no known kind (it starts with {head[:4].hex(' ')})"


def _is_erf(head: bytes) -> bool:
    """ERF has no magic: a record whose type, lengths and padding agree (Endace ERF type reference)."""
    if len(head) < 16:
        return False
    kind = head[8] & 0x7F
    record = int.from_bytes(head[10:12], "big")
    wire = int.from_bytes(head[14:16], "big")
    seconds = int.from_bytes(head[4:8], "little")
    return 1 <= kind <= 48 and 16 < record <= wire + 64 and record % 8 == 0 and seconds > 0


def _describe_text(head: bytes) -> str | None:
    """The kind of text that `head` is, or None where it is not text."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lowered = text[:15].lower()
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if lowered.startswith(b"<?xml"):
        return "an XML document"
    if text.startswith((b"{", b"[")):
        return "JSON text"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "text (UTF-16)"
    printable = all((byte >= 0x20 and byte != 0x7F) or byte in b"\t\n\r\f\x1b" for byte in head)
    return "text" if printable and _is_utf8(head) else None


def _is_utf8(head: bytes) -> bool:
    """Whether `head` is UTF-8, a character cut at its end allowed."""
    for cut in range(4):
        try:
            head[: len(head) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return True
    return False
