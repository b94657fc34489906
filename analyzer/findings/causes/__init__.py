"""The causes, one file each, in the order in which they are asked.

The order is precedence: a cause claims the flows that it explains, so that the special comes before the general.
"""

from __future__ import annotations

from analyzer.findings.causes import (
    abort_on_overflow,
    accept_queue_overflow,
    ack_lost,
    capture_at_fault,
    challenge_ack,
    checksum_offload,
    close_wait,
    deferred_accept,
    duplicates_in_capture,
    fin_unanswered,
    half_open,
    half_open_scan,
    no_answer,
    no_socket,
    port_scan,
    refused,
    resets,
    syn_flood,
    time_wait_pile,
    unreachable,
)
from analyzer.findings.finding import Cause

CAUSES: tuple[Cause, ...] = (
    capture_at_fault.CAUSE,
    duplicates_in_capture.CAUSE,
    checksum_offload.CAUSE,
    port_scan.CAUSE,
    syn_flood.CAUSE,
    challenge_ack.CAUSE,
    deferred_accept.CAUSE,
    accept_queue_overflow.CAUSE,
    ack_lost.CAUSE,
    abort_on_overflow.CAUSE,
    refused.CAUSE,
    unreachable.CAUSE,
    half_open_scan.CAUSE,
    half_open.CAUSE,
    no_answer.CAUSE,
    no_socket.CAUSE,
    close_wait.CAUSE,
    fin_unanswered.CAUSE,
    resets.CAUSE,
    time_wait_pile.CAUSE,
)
