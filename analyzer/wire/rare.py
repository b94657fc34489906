"""One layer at a time of what the hot walk does not understand."""

from __future__ import annotations


def open_layer(data: bytes, layer: int, start: int, end: int) -> tuple[int, int, str] | str:
    """Open the layer at data[start:end]: (next layer, where it begins, tunnel text or ""), or a reason."""
    space = layer >> 16
    return ("unsupported_linktype", "not_ip", "other_ip_protocol", "udp")[space]
