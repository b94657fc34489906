"""States that end without a packet: when the kernel let go of a socket, and when we say so."""

from __future__ import annotations

import pytest
from kernel import score
from kernel.score import Lab
from truth import analysis

pytestmark = pytest.mark.root

#: case → how long after the kernel's end ours may come, seconds: from, to
WINDOWS = {
    "time_wait_end": (-1.3, 1.3),  # the kernel's timer wheel: 60 to 62 s; we say 61
    "syn_sent_end": (-0.1, 0.8),  # 15 % of the 4 s until the SYN that did not come
    "syn_sent_end_linear": (-0.1, 0.8),  # the linear repeats are followed by doubling ones
    "syn_received_end": (-0.1, 0.8),  # the same for the SYN+ACK
    "orphans_give_up": (-0.1, 0.8),  # 15 % of the wait for a FIN
}
STEP_S = 0.02  # how exactly our end is looked for


def our_end(lab: Lab, capture: str, ends: score.Ends, from_s: float, to_s: float) -> float:
    """When the socket leaves our table; it must be there at `from_s` and gone at `to_s`."""

    def there(when: float) -> bool:
        return ends in analysis.sockets(lab.folder / capture, round(when * 1e9), ends[0])

    assert there(from_s)
    assert not there(to_s)
    while to_s - from_s > STEP_S:
        middle = (from_s + to_s) / 2
        from_s, to_s = (middle, to_s) if there(middle) else (from_s, middle)
    return to_s


@pytest.mark.parametrize("name", WINDOWS)
def test_end_within_its_window(lab: Lab, name: str) -> None:
    assert not lab.failed.get(name), lab.failed[name]
    known = score.truth(lab.folder, name)
    earliest, latest = WINDOWS[name]
    assert known["ended"]
    for one in known["ended"]:
        ends = tuple(one["ends"])
        gone = one["first_gone"]
        ours = our_end(lab, f"{name}.{one['host']}.pcap", ends, gone - 2.5, gone + 2.5)
        assert one["last_seen"] + earliest <= ours <= gone + latest, (ends, ours - gone)
