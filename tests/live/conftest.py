"""A wire for every test here that needs one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import only_once
from live import wire as wires


@pytest.fixture(scope="session")
def wire() -> Iterator[wires.Wire]:
    """Two hosts and the cables between them; skips where namespaces cannot be made."""
    only_once()
    reason = wires.why_not()
    if reason is not None:
        pytest.skip(reason)
    with wires.made() as made:
        yield made
