"""The colour of each state and verdict, the same in every picture.

Owns the colours only. They stand on white and on a dark ground alike (3 : 1 or better against both), and no picture
says anything by colour alone.
"""

from __future__ import annotations

STATES = {
    "LISTEN": "#8a8f98",
    "SYN_SENT": "#e07b00",
    "SYN_RECEIVED": "#c79a00",
    "ESTABLISHED": "#2e9e5b",
    "FIN_WAIT_1": "#7a6ff0",
    "FIN_WAIT_2": "#4f8fe8",
    "CLOSE_WAIT": "#e0453a",
    "CLOSING": "#b06ad9",
    "LAST_ACK": "#d6569b",
    "TIME_WAIT": "#1f9fb0",
    "CLOSED": "#8a8f98",
}

HANDSHAKES = {
    "complete": "#2e9e5b",
    "unanswered": "#e07b00",
    "refused": "#b06ad9",
    "unreachable": "#7a6ff0",
    "half_open": "#c79a00",
    "ack_ignored": "#e0453a",
    "aborted": "#d6569b",
    "midstream": "#8a8f98",
}

SEVERITIES = {"critical": "#e0453a", "warning": "#e07b00", "info": "#4f8fe8"}
