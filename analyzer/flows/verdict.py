"""What became of a connection: `handshake` and `close`, from the facts.

Owns the two verdicts and their words; one guard, one reason, one return. Judges one row of facts at a time and knows
nothing of other flows, of tables or of text.
"""

from __future__ import annotations

from analyzer.flows import facts as f

HANDSHAKES = ("complete", "unanswered", "refused", "unreachable", "half_open", "ack_ignored", "aborted", "midstream")
CLOSES = ("none", "open", "half_closed", "fin_unacked", "last_ack_missing", "graceful", "reset")

INCOMPLETE = frozenset(HANDSHAKES) - {"complete", "midstream"}


def handshake(bits: int) -> str:
    """How the handshake ended, from a flow's `bits`."""
    if bits & f.COMPLETE:
        return "ack_ignored" if bits & f.CONTRADICTED else "complete"
    if not bits & (f.SYN_SEEN | f.SYNACK_SEEN):
        return "midstream"
    if bits & f.REFUSED:
        return "refused"
    if bits & f.ABORTED:
        return "aborted"
    if bits & f.UNREACHABLE:
        return "unreachable"
    if bits & f.SYNACK_SEEN:
        return "half_open"
    return "unanswered"


def close(bits: int, o_fins: int, r_fins: int) -> str:
    """How the connection ended, from its `bits` and the FINs of either side."""
    if bits & f.RESET:
        return "reset"
    if not bits & f.COMPLETE and bits & (f.SYN_SEEN | f.SYNACK_SEEN) and not (o_fins or r_fins):
        return "none"
    o_acked, r_acked = bits & f.O_FIN_ACKED, bits & f.R_FIN_ACKED
    if o_fins and r_fins:
        if o_acked and r_acked:
            return "graceful"
        return "last_ack_missing" if o_acked or r_acked else "fin_unacked"
    if o_fins or r_fins:
        return "half_closed" if o_acked or r_acked else "fin_unacked"
    return "none" if bits & f.CONTRADICTED else "open"
