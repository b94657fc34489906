"""Nothing that a capture can hold raises, and every frame is accounted for once; compiled and uncompiled agree."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.capture.frames import FrameBatch
from analyzer.segments import COLUMN_TYPES, SegmentBatch
from analyzer.wire import layers, rare
from analyzer.wire.reasons import REASONS

scapy = pytest.importorskip("scapy.all")

LINKTYPES = sorted({value for name, value in vars(layers).items() if name.isupper() and value < layers.ETHERTYPE})
ETHERTYPES = [0x0800, 0x86DD, 0x8100, 0x88A8, 0x8847, 0x8864, 0x88E7, 0x8926, 0x6558, 0x894F, 0x22F3, 0x88E5, 60]
PORTS = [4789, 8472, 4790, 6081, 2152, 3544, 5072, 1701, 4754, 6635, 37008]
PROTOCOLS = [0, 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 97, 135, 137]

slow_but_fine = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,  # searching at random is what tests/fuzz is for
    suppress_health_check=list(HealthCheck),  # how fast examples are made hangs on the machine
)


def ether(**fields: Any) -> Any:
    """With both addresses given, so that scapy asks no network for them."""
    return scapy.Ether(src="00:1b:21:00:00:02", dst="00:1b:21:00:00:01", **fields)


def _seeds() -> list[bytes]:
    """Frames to mutate: one of each branching layer around a segment."""
    segment = scapy.TCP(options=[("MSS", 1460), ("Timestamp", (1, 2)), ("WScale", 7)]) / b"data"
    v4, v6 = scapy.IP() / segment, scapy.IPv6() / segment
    headers = scapy.IPv6ExtHdrHopByHop() / scapy.IPv6ExtHdrFragment(m=1) / segment
    seeds = [ether() / v4, ether() / v6, ether() / scapy.Dot1Q() / v4, ether() / scapy.IPv6() / headers]
    seeds += [
        ether() / scapy.IP(flags="MF", proto=6) / scapy.Raw(bytes(12)),
        ether() / scapy.IP(frag=1, proto=6) / bytes(40),
    ]
    seeds += [ether() / scapy.IP() / scapy.ICMP(type=3) / v4, ether() / scapy.IPv6() / scapy.ICMPv6DestUnreach() / v6]
    seeds += [ether() / scapy.IP() / scapy.GRE(key_present=1, seqnum_present=1) / v4]
    seeds += [ether() / scapy.IP() / scapy.UDP(dport=port, sport=9) / scapy.Raw(bytes(v4)) for port in PORTS]
    seeds += [ether(type=number) / scapy.Raw(bytes(v4)) for number in ETHERTYPES]
    seeds += [ether() / scapy.IP(proto=number) / scapy.Raw(bytes(v4)) for number in PROTOCOLS]
    return [bytes(seed) for seed in seeds]


SEEDS = _seeds()


def _batch(frames: list[tuple[bytes, int, int]]) -> FrameBatch:
    """(bytes, wire length, link type), laid end to end without a byte to spare after the last."""
    batch = FrameBatch(b"".join(frame for frame, _, _ in frames), 1, len(frames))
    at = 0
    for index, (frame, wirelen, linktype) in enumerate(frames):
        batch.offset[index], batch.caplen[index] = at, len(frame)
        batch.wirelen[index], batch.linktype[index] = wirelen, linktype
        at += len(frame)
    batch.count = len(frames)
    return batch


def _run(decoder_class: type, frames: list[tuple[bytes, int, int]]) -> tuple[Any, ...]:
    decoder = decoder_class(by_vlan=True, by_tunnel=True)
    out = SegmentBatch(len(frames))
    assert decoder.decode(_batch(frames), 0, out) == len(frames)
    assert out.count + sum(decoder.counts.values()) == len(frames)
    assert decoder.counts.keys() <= REASONS.keys()
    columns = [list(getattr(out, name)[: out.count]) for name in COLUMN_TYPES]
    return columns, out.icmp_sender, decoder.counts, decoder.scopes, decoder.malformed_options


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bytes, int, int]:
    """A seed with some bytes changed, cut somewhere, under Ethernet or another link type."""
    frame = bytearray(draw(st.sampled_from(SEEDS)))
    for place, value in draw(st.lists(st.tuples(st.integers(0, len(frame) - 1), st.integers(0, 255)), max_size=6)):
        frame[place] = value
    length = draw(st.one_of(st.just(len(frame)), st.integers(0, len(frame))))
    linktype = draw(st.one_of(st.just(1), st.sampled_from(LINKTYPES)))
    start = 14 if linktype != 1 and draw(st.booleans()) else 0
    cut = bytes(frame[min(start, length) : length])
    return cut, draw(st.sampled_from([len(cut), len(frame), 0, 0xFFFFFFFF])), linktype


random_frame = st.tuples(
    st.binary(max_size=200), st.integers(0, 0xFFFFFFFF), st.one_of(st.sampled_from(LINKTYPES), st.integers(0, 0xFFFF))
)


@slow_but_fine
@given(frames=st.lists(random_frame, min_size=1, max_size=20))
def test_random_bytes_under_every_link_type_are_accounted_for(frames: Any, decoder_class: type) -> None:
    _run(decoder_class, frames)


@slow_but_fine
@given(frames=st.lists(mutated(), min_size=1, max_size=20))
def test_mutated_frames_are_accounted_for(frames: Any, decoder_class: type) -> None:
    _run(decoder_class, frames)


@slow_but_fine
@given(body=st.binary(max_size=120), layer=st.sampled_from(sorted(rare._CODECS)))
def test_no_codec_raises_or_goes_back(body: bytes, layer: int) -> None:
    data = b"\xff" * 5 + body
    opened = rare.open_layer(data, layer, 5, len(data))
    if isinstance(opened, str):
        assert opened in REASONS
    else:
        assert opened.at >= 5


def _random_frames(count: int, seed: int) -> list[tuple[bytes, int, int]]:
    dice = random.Random(seed)
    frames = []
    for _ in range(count):
        frame = bytearray(dice.choice(SEEDS))
        for _ in range(dice.randrange(4)):
            frame[dice.randrange(len(frame))] = dice.choice([0, 1, 4, 6, 0x45, 0x60, 0x81, 0xFF, dice.randrange(256)])
        cut = bytes(frame[: dice.randrange(len(frame) + 1)]) if dice.random() < 0.3 else bytes(frame)
        frames.append((cut, len(frame), 1 if dice.random() < 0.8 else dice.choice(LINKTYPES)))
    return frames


def test_compiled_and_uncompiled_give_the_same_answers(implementations: dict[str, Any]) -> None:
    if len(implementations) == 1:
        pytest.skip("the compiled module is not installed")
    frames = _random_frames(5000, seed=9502)
    answers = [_run(module.Decoder, frames) for module in implementations.values()]
    assert answers[0] == answers[1]
