"""The kernel's socket tables (`ss` on both hosts) against the analyzer's, socket by socket, at every quiet instant."""

from __future__ import annotations

import re

import pytest
from kernel import score
from kernel.run import CASES
from kernel.score import Lab
from truth import analysis

pytestmark = pytest.mark.root

OWN_ENOUGH = 0.99  # mean of cases, the host captured on
FAR_ENOUGH = 0.86  # the other host, across a path that loses segments on purpose
CHANCE_ENOUGH = 0.98  # one case at random: a few sockets are in doubt for a moment (docs/unknowable.md), no more
ONE_DIRECTION_ENOUGH = 0.75  # RSTs, ACKs and refusals of the other direction are simply not there
DOCUMENT = analysis.PROJECT / "docs" / "unknowable.md"
RFC_9293 = {*score.STATES.values(), "LISTEN"}  # the eleventh, CLOSED, is no line in a socket table

#: reasons that a capture shows while they hold; of the others nothing is to be seen
SAID = ("before", "deferred", "direction", "doubt")

#: cases that go the same way each time
SETTLED = [name for name, case in CASES.items() if not case.chance]


def reasons() -> set[str]:
    """The first column of the table in docs/unknowable.md."""
    return set(re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))


def there(lab: Lab) -> list[str]:
    """The cases that played; the others fail in tests of their own."""
    return [name for name in CASES if not lab.failed.get(name)]


def played(lab: Lab, name: str) -> None:
    assert not lab.failed.get(name), lab.failed[name]


@pytest.mark.parametrize("name", SETTLED)
def test_host_captured_on(lab: Lab, name: str) -> None:
    """Every socket is as the kernel has it, but for what docs/unknowable.md lists."""
    played(lab, name)
    left = [line for one in score.scores(lab.folder, name, "own").values() for line in one.unexplained()]
    assert not left, "\n".join(left)


@pytest.mark.parametrize("name", SETTLED)
def test_far_host(lab: Lab, name: str) -> None:
    """A difference at the other end comes from segments that one host sent and the other has not got, or is listed."""
    played(lab, name)
    left = [line for one in score.scores(lab.folder, name, "far").values() for line in one.unexplained()]
    assert not left, "\n".join(left)


@pytest.mark.parametrize("wanted", ["own", "far"])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.chance])
def test_random_paths(lab: Lab, name: str, wanted: str) -> None:
    """What a path loses, doubles or reorders at random does not derail us."""
    played(lab, name)
    found = score.scores(lab.folder, name, wanted).values()
    left = [line for one in found for line in one.unexplained()]
    assert len(left) <= (1 - CHANCE_ENOUGH) * sum(one.total for one in found), "\n".join(left)


@pytest.mark.parametrize("name", list(CASES))
def test_partial_captures(lab: Lab, name: str) -> None:
    """A capture of one direction, or of a router, differs only by what it cannot show."""
    played(lab, name)
    left = [line for one in score.scores(lab.folder, name, "partial").values() for line in one.unexplained()]
    assert not left, "\n".join(left)


def test_loopback_is_a_hosts_whole_traffic(lab: Lab) -> None:
    """Nothing is excused there: both ends of each connection are as the one socket table has them."""
    name = "loopback"
    played(lab, name)
    (found,) = score.scores(lab.folder, name, "partial").values()
    assert found.total == 2 * 2 * (2 + 2 + 2 + 1 + 1)  # instants, families, sockets of the ends that are left
    assert not found.wrong, "\n".join(map(str, found.wrong))


def test_mean_of_one_direction(lab: Lab) -> None:
    """How much of the states a single direction tells (0.81 to 0.9 measured): it must not become less."""
    shares = []
    for name in ("one_direction", "one_direction_of_the_client"):
        played(lab, name)
        shares += [one.share for one in score.scores(lab.folder, name, "partial").values()]
    mean = sum(shares) / len(shares)
    print(f"one direction: mean of {len(shares)} views {mean:.4f}")
    assert mean >= ONE_DIRECTION_ENOUGH


@pytest.mark.parametrize("name", SETTLED)
def test_unsure_states_say_so(lab: Lab, name: str) -> None:
    """Where packets are known to leave a state open, `unsure` names the reason that docs/unknowable.md gives."""
    played(lab, name)
    files = {one["vantage"]: lab.folder / one["file"] for one in score.truth(lab.folder, name)["captures"]}
    silent = []
    for kind in ("own", "far", "partial"):
        for found in score.scores(lab.folder, name, kind).values():
            for one in found.wrong:
                # Only a SYN was captured: its sender need not have been answered anywhere.
                if one.reason not in SAID or one.ours in ("-", "SYN_SENT"):
                    continue
                said = analysis.unsure(files[one.vantage], score.nanoseconds(one.at_s), one.ends[0])[one.ends]
                if said != one.reason:
                    silent.append(f"{one}: {one.reason}, not '{said}'")
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize(
    ("wanted", "enough"),
    [
        ("own", OWN_ENOUGH),
        ("far", FAR_ENOUGH),
    ],
)
def test_mean_of_all_cases(lab: Lab, wanted: str, enough: float) -> None:
    """As checks/agree.py scores it: nothing is excused but hosts that no packet shows."""
    shares = []
    for name in there(lab):
        found = score.scores(lab.folder, name, wanted).values()
        if total := sum(one.total for one in found):
            shares.append(1 - sum(len(one.wrong) for one in found) / total)
    mean = sum(shares) / len(shares)
    print(f"{wanted}: mean of {len(shares)} cases {mean:.4f}")
    assert mean >= enough


@pytest.mark.parametrize("family", [4, 6])
def test_all_states_occur(lab: Lab, family: int) -> None:
    """The laboratory shows every state of RFC 9293 at a quiet instant, in IPv4 and IPv6."""
    seen = set()
    for name in there(lab):
        for shot in score.truth(lab.folder, name)["snapshots"]:
            for one in shot["sockets"]:
                if (":" in one["local"]) == (family == 6):
                    seen.add(score.STATES.get(one["state"], one["state"]))
    assert seen >= RFC_9293


def test_every_reason_is_documented(lab: Lab) -> None:
    """The cases name no reason that docs/unknowable.md lacks, and it lists none that no case shows."""
    named = {"path", "direction", "crossing"}  # the first two the scores find; the last is the model's: tests/model
    for name in there(lab):
        named |= {one["reason"] for one in score.truth(lab.folder, name)["explained"]}
    assert named == reasons()


def test_two_instants_a_case(lab: Lab) -> None:
    """Nearly every case is looked at more than once in silence."""
    few = []
    for name in there(lab):
        known = score.truth(lab.folder, name)
        vantage = known["captures"][0]["vantage"]
        if sum(score.is_quiet(shot, vantage) for shot in known["snapshots"]) < 2:
            few.append(name)
    assert few in ([], ["empty"])
