"""Zeek's conn_state from the two endpoint states that the tracker keeps the way Zeek does.

Source: `conn_state()` in scripts/base/protocols/conn/main.zeek (first rule that fits).
"""

from __future__ import annotations

import re

# TCP_Endpoint.h
INACTIVE, SYN_SENT, SYN_ACK_SENT, PARTIAL, ESTABLISHED, CLOSED, RESET = range(7)

_SYN_THEN_RST = re.compile(r"^\^?S[^HAFGIQ]*R")


def conn_state(originator: int, responder: int, history: str, *, no_bytes: bool) -> str:
    """One of Zeek's thirteen words; `no_bytes`: neither side transferred payload."""
    o_silent = originator in (INACTIVE, PARTIAL)
    r_silent = responder in (INACTIVE, PARTIAL)
    if responder == RESET:
        if originator in (SYN_SENT, SYN_ACK_SENT) or (originator == RESET and no_bytes):
            return "REJ"
        return "RSTRH" if o_silent else "RSTR"
    if originator == RESET:
        if not r_silent:
            return "RSTO"
        return "RSTOS0" if _SYN_THEN_RST.match(history) else "OTH"
    if originator == CLOSED:
        if responder == CLOSED:
            return "SF"
        return "SH" if r_silent else "S2"
    if responder == CLOSED:
        return "SHR" if o_silent else "S3"
    if originator == SYN_SENT and responder == INACTIVE:
        return "S0"
    if originator == ESTABLISHED and responder == ESTABLISHED:
        return "S1"
    return "OTH"
