"""The causes, one file each, in the order in which they are asked.

The order is precedence: a cause claims the flows that it explains, so that the special comes before the general.
"""

from __future__ import annotations

from analyzer.findings.causes import (
    accept_queue_overflow,
    no_answer,
    refused,
)
from analyzer.findings.finding import Cause

CAUSES: tuple[Cause, ...] = (
    accept_queue_overflow.CAUSE,
    refused.CAUSE,
    no_answer.CAUSE,
)
