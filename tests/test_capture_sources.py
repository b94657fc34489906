"""Where captures come from: compressed, piped, in directories, rotated, overlapping."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from functools import partial

import lz4.frame
import pytest

from analyzer.capture import open_capture
from analyzer.capture.compression import Decompressed
from analyzer.errors import AnalyzerError, CaptureError, MissingReaderError, NotACaptureError, UsageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FRAME = bytes(range(60))


def pcap(*seconds, tag=0, size=60):
    """A little-endian microsecond pcap with one frame a time; a frame is `tag`, its number, and filling."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for number, second in enumerate(seconds):
        whole, micros = divmod(round(second * 10**6), 10**6)
        out.append(struct.pack("<IIII", whole, micros, size, size) + struct.pack("<BH", tag, number) + bytes(size - 3))
    return b"".join(out)


def tags(capture):
    """(tag, number) of each frame, after checking that packet numbers run on from 1."""
    got = []
    for batch in capture:
        assert batch.first_packet == len(got) + 1
        got.extend(struct.unpack_from("<BH", batch.data, batch.offset[i]) for i in range(batch.count))
    return got


COMPRESS = {
    "gzip": gzip.compress,
    "zstd": partial(zstd.compress, options={zstd.CompressionParameter.content_size_flag: 0}),
    "xz": lzma.compress,
    "lz4": lz4.frame.compress,
    "bzip2": bz2.compress,
}
PLAIN = pcap(*range(3000))
WANTED = [(0, number) for number in range(3000)]


@pytest.mark.parametrize("kind", COMPRESS)
def test_compressed_captures_are_opened_as_they_are(kind):
    capture = open_capture([io.BytesIO(COMPRESS[kind](PLAIN))])
    assert tags(capture) == WANTED
    assert (capture.health.files[0].compression, capture.health.notes) == (kind, [])


@pytest.mark.parametrize("kind", COMPRESS)
def test_members_one_after_the_other_are_one_file(kind):
    pieces = [PLAIN[:1000], PLAIN[1000:50_001], PLAIN[50_001:]]
    capture = open_capture([io.BytesIO(b"".join(COMPRESS[kind](piece) for piece in pieces))])
    assert tags(capture) == WANTED
    assert capture.health.notes == []


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_cut_compressed_stream_is_kept_as_far_as_it_goes(kind):
    noise = random.Random(1)
    count = 1500
    out = [pcap()]
    for number in range(count):  # longer than one block of bzip2, and not to be compressed
        out += [struct.pack("<IIIIBH", number, 0, 1000, 1000, 0, number), noise.randbytes(997)]
    whole = COMPRESS[kind](b"".join(out))
    capture = open_capture([io.BytesIO(whole[: len(whole) * 9 // 10])])
    got = tags(capture)
    assert got == [(0, number) for number in range(len(got))]
    assert count // 2 < len(got) < count
    assert "data is cut off" in capture.health.files[0].truncated


def test_a_cut_gzip_gives_what_zlib_gives():
    whole = gzip.compress(PLAIN)
    capture = open_capture([io.BytesIO(whole[: len(whole) // 2])])
    inflated = zlib.decompressobj(wbits=31).decompress(whole[: len(whole) // 2])
    assert len(tags(capture)) == (len(inflated) - 24) // 76


def test_a_damaged_gzip_trailer_loses_no_frame():
    whole = bytearray(gzip.compress(PLAIN))
    whole[-8] ^= 0xFF
    capture = open_capture([io.BytesIO(bytes(whole))])
    assert tags(capture) == WANTED
    assert "the gzip data is damaged" in capture.health.notes[0]


def test_damage_in_zstd_data_costs_two_of_its_blocks_at_most():
    noise = random.Random(1)
    count = 20_000  # of 76 bytes, most of which zstd cannot shorten by much
    out = [pcap()]
    for number in range(count):
        out += [struct.pack("<IIIIBH", number, 0, 60, 60, 0, number), bytes(noise.choices(b"0123456789", k=57))]
    whole = COMPRESS["zstd"](b"".join(out))
    at = len(whole) * 4 // 5
    capture = open_capture([io.BytesIO(whole[:at] + bytes(2000) + whole[at + 2000 :])])
    got = tags(capture)
    assert got == [(0, number) for number in range(len(got))]
    assert count * 4 // 5 - 2 * (128 << 10) // 76 < len(got) < count * 5 // 6  # RFC 8878, 3.1.1.2.4: 128 KiB a block
    assert "the zstd data is damaged" in capture.health.files[0].truncated


@pytest.mark.parametrize("kind", COMPRESS)
def test_damage_anywhere_in_compressed_data_never_raises_from_the_loop(kind):
    whole = COMPRESS[kind](pcap(*range(50)))
    for at in range(0, len(whole), max(len(whole) // 60, 1)):
        blob = whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]
        try:
            capture = open_capture([io.BytesIO(blob)])
        except NotACaptureError:
            continue
        tags_or_damage = sum(batch.count for batch in capture)
        assert tags_or_damage <= 51 * 76 // 16


def test_other_bytes_after_the_compressed_ones_are_left_out_and_noted():
    capture = open_capture([io.BytesIO(gzip.compress(PLAIN) + b"a signature")])
    assert tags(capture) == WANTED
    assert "what follows the gzip data is not gzip" in capture.health.notes[0]
    assert not capture.health.truncated


def test_skippable_frames_of_zstd_are_passed_over_wherever_they_are():
    skippable = bytes.fromhex("5d2a4d18 04000000 01020304".replace(" ", ""))  # RFC 8878, section 3.1.2
    pieces = [skippable, COMPRESS["zstd"](PLAIN[:1000]), skippable * 2, COMPRESS["zstd"](PLAIN[1000:]), skippable]
    capture = open_capture([io.BytesIO(b"".join(pieces))])
    assert tags(capture) == WANTED
    assert (capture.health.files[0].compression, capture.health.notes) == ("zstd", [])


def test_what_a_decoder_holds_back_when_there_is_no_more_is_asked_for():
    """The last ten bytes of bzip2 data are a mark and a checksum: without them every block is there."""
    data = bytes(random.Random(1).choices(b"0123456789abcdef", k=1_000_000))
    cut = Decompressed(io.BytesIO(bz2.compress(data)[:-10]), "bzip2")
    assert b"".join(iter(partial(cut.read, 1 << 18), b"")) == data
    assert cut.damage == "the bzip2 data is cut off"


def test_zero_padding_after_compressed_data_is_nothing():
    capture = open_capture([io.BytesIO(gzip.compress(PLAIN) + bytes(512))])
    tags(capture)
    assert capture.health.notes == []


def test_compressed_twice_is_read_and_more_often_is_not():
    twice = lzma.compress(gzip.compress(PLAIN))
    capture = open_capture([io.BytesIO(twice)])
    assert tags(capture) == WANTED
    assert capture.health.files[0].compression == "gzip in xz"
    with pytest.raises(NotACaptureError, match="over and over"):
        open_capture([io.BytesIO(gzip.compress(twice))])


def test_what_takes_too_much_memory_to_undo_is_not_called_damaged():
    options = {zstd.CompressionParameter.window_log: 28, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)
    for kind, most, blob in (
        ("zstd", 128, compressor.compress(PLAIN) + compressor.flush()),
        ("xz", 256, lzma.compress(PLAIN, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}])),
    ):
        with pytest.raises(NotACaptureError, match=f"the {kind} data takes more than {most} MiB of memory to undo"):
            open_capture([io.BytesIO(blob)])


def test_what_is_compressed_and_no_capture_says_both(tmp_path):
    path = tmp_path / "solaris.gz"
    path.write_bytes(gzip.compress(b"snoop\0\0\0" + bytes(100)))
    with pytest.raises(NotACaptureError, match=r"inside gzip, is a snoop capture"):
        open_capture([path])


def test_a_decompression_bomb_takes_no_memory():
    bomb = io.BytesIO()
    with gzip.open(bomb, "wb") as stream:
        stream.write(pcap())
        for _ in range(256):
            stream.write(bytes(1 << 20))  # zeros are frames of length 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bomb.seek(0)
    with open_capture([bomb]) as capture:
        for batch in capture:
            if batch.first_packet > 2_000_000:
                break
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


class Trickle(io.RawIOBase):
    """A pipe that gives at most `step` bytes a read."""

    def __init__(self, data, step):
        self._data, self._step = io.BytesIO(data), step

    def readable(self):
        return True

    def readinto(self, buffer):
        piece = self._data.read(min(self._step, len(buffer)))
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("step", [1, 7, 23, 76, 4096])
def test_short_reads_change_nothing(step):
    assert tags(open_capture([Trickle(pcap(*range(200)), step)])) == WANTED[:200]


def test_a_pipe_gives_frames_before_it_is_closed():
    out, into = os.pipe()
    with open(out, "rb", buffering=0) as reading, open(into, "wb", buffering=0) as writing:
        writing.write(pcap(1, 2))
        batch = next(iter(open_capture([reading])))
        assert batch.count == 2


def test_dash_is_standard_input():
    program = (
        "from analyzer.capture import open_capture; c = open_capture(['-']);"
        "print(sum(b.count for b in c), c.health.files[0].name)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=pcap(1, 2, 3), capture_output=True, check=True)
    assert done.stdout.split(maxsplit=1) == [b"3", b"standard input\n"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_read_once(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(pcap(1, 2, 3),))
    writer.start()
    assert len(tags(open_capture([path]))) == 3
    writer.join()


def test_a_file_opened_as_text_is_wrong_usage():
    with pytest.raises(UsageError, match="binary"):
        open_capture([io.StringIO("text")])


def test_a_directory_is_every_capture_in_it_and_nothing_else(tmp_path):
    (tmp_path / "b.pcap").write_bytes(pcap(1, tag=1))
    (tmp_path / "a.gz").write_bytes(gzip.compress(pcap(2, tag=2)))
    (tmp_path / "notes.txt").write_text("not a capture")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.pcap").write_bytes(pcap(3, tag=3))
    capture = open_capture([tmp_path])
    assert tags(capture) == [(1, 0), (2, 0)]
    assert [os.path.basename(file.name) for file in capture.health.files] == ["a.gz", "b.pcap"]


def test_an_empty_directory_is_no_capture(tmp_path):
    with pytest.raises(NotACaptureError, match="directory with no file in it"):
        open_capture([tmp_path])


def test_a_directory_without_a_capture_is_no_capture(tmp_path):
    (tmp_path / "notes.txt").write_text("not a capture")
    with pytest.raises(NotACaptureError, match="no file there is a capture"):
        open_capture([tmp_path])


def test_a_file_named_among_others_must_be_a_capture(tmp_path):
    (tmp_path / "a.pcap").write_bytes(pcap(1))
    (tmp_path / "b.txt").write_text("not a capture")
    with pytest.raises(NotACaptureError, match=r"b\.txt is text"):
        open_capture([tmp_path / "a.pcap", tmp_path / "b.txt"])


def test_a_pattern_that_the_shell_left_is_expanded(tmp_path):
    for name in ("r1.pcap", "r2.pcap", "other.pcap"):
        (tmp_path / name).write_bytes(pcap(1))
    assert len(tags(open_capture([str(tmp_path / "r*.pcap")]))) == 2
    with pytest.raises(CaptureError, match="no file matches"):
        open_capture([str(tmp_path / "x*.pcap")])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    (tmp_path / "r[1].pcap").write_bytes(pcap(1))
    (tmp_path / "r1.pcap").write_bytes(pcap(1, 2))
    assert len(tags(open_capture([str(tmp_path / "r[1].pcap")]))) == 1


def merged(tmp_path, *times):
    paths = []
    for tag, seconds in enumerate(times):
        paths.append(tmp_path / f"{tag}.pcap")
        paths[-1].write_bytes(pcap(*seconds, tag=tag))
    return open_capture(paths)


def test_files_are_read_in_order_of_time_not_of_name(tmp_path):
    assert tags(merged(tmp_path, [30, 40], [10, 20])) == [(1, 0), (1, 1), (0, 0), (0, 1)]


def test_overlapping_files_are_merged_frame_by_frame(tmp_path):
    assert tags(merged(tmp_path, [1, 4, 5, 9], [2, 3, 6])) == [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2), (0, 3)]


def test_equal_times_keep_the_order_the_files_were_named_in(tmp_path):
    assert tags(merged(tmp_path, [1, 2, 2], [2, 2, 3])) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_files_without_frames_take_part(tmp_path):
    capture = merged(tmp_path, [], [1], [])
    assert tags(capture) == [(1, 0)]
    assert [file.packets for file in capture.health.files] == [0, 1, 0]


def test_frames_out_of_order_inside_a_file_keep_their_order(tmp_path):
    assert tags(merged(tmp_path, [10, 5, 20], [7, 12])) == [(1, 0), (0, 0), (0, 1), (1, 1), (0, 2)]


def by_head(times):
    """The rule of the merge, said plainly: of the files' next frames the earliest goes, then the file named first."""
    at = [0] * len(times)
    order = []
    while any(here < len(seconds) for here, seconds in zip(at, times, strict=True)):
        heads = [(times[tag][here], tag) for tag, here in enumerate(at) if here < len(times[tag])]
        _, tag = min(heads)
        order.append((tag, at[tag]))
        at[tag] += 1
    return order


@pytest.mark.parametrize("seed", range(30))
def test_any_overlap_goes_by_the_earliest_head(tmp_path, monkeypatch, seed):
    monkeypatch.setattr("analyzer.capture.merge.LEAST_CHUNK_BYTES", 100)
    monkeypatch.setattr("analyzer.capture.merge.CHUNK_BYTES", 300)
    draw = random.Random(seed)
    times = []
    for _ in range(draw.randint(2, 5)):
        base = draw.choice([0, 0, 50, 100])
        seconds = [base + draw.randint(0, draw.choice([5, 60])) for _ in range(draw.randint(0, 30))]
        times.append(sorted(seconds) if draw.random() < 0.6 else seconds)
    assert tags(merged(tmp_path, *times)) == by_head(times)


def test_long_files_interleaved_one_by_one(tmp_path):
    count = 20_000
    capture = merged(tmp_path, [i * 2 / 1000 for i in range(count)], [(i * 2 + 1) / 1000 for i in range(count)])
    assert tags(capture) == [(i % 2, i // 2) for i in range(2 * count)]
    assert capture.health.disordered == 0


def test_hundreds_of_overlapping_files_do_not_exhaust_descriptors(tmp_path):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = len(descriptors())  # by other tests in this process
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 120, hard[1]))
    try:
        files = 250
        for tag in range(files):
            seconds = [number * files + tag for number in range(40)]
            (tmp_path / f"{tag:03}.pcap").write_bytes(pcap(*seconds, tag=tag, size=1400))
        got = tags(open_capture([tmp_path]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, hard)
    assert got == [(tag, number) for number in range(40) for tag in range(files)]


def test_rotated_files_are_open_one_at_a_time(tmp_path):
    for tag in range(5):
        (tmp_path / f"{tag}.pcap").write_bytes(pcap(tag * 10, tag * 10 + 1, tag=tag))
    opened = []
    for _ in open_capture([tmp_path]):
        opened.append(sum(str(tmp_path) in name for name in descriptors()))
    assert max(opened) <= 1


def descriptors():
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    names = []
    for number in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return names


def test_closing_early_leaves_nothing_open(tmp_path):
    (tmp_path / "a.pcap").write_bytes(pcap(*range(50_000)))
    (tmp_path / "b.pcap").write_bytes(pcap(*range(50_000), tag=1))
    with open_capture([tmp_path]) as capture:
        next(iter(capture))
    assert not any(str(tmp_path) in name for name in descriptors())


def test_health_after_an_early_end_tells_what_was_seen(tmp_path):
    (tmp_path / "a.pcap").write_bytes(pcap(*range(50_000)))
    capture = open_capture([tmp_path])
    for batch in capture:
        seen = batch.count
        break
    capture.close()
    assert capture.health.packets >= seen


@pytest.mark.parametrize(("kind", "module"), [("zstd", zstd.__name__), ("lz4", "lz4.frame")])
def test_a_missing_library_is_named_with_the_file(tmp_path, monkeypatch, kind, module):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "x").write_bytes(COMPRESS[kind](PLAIN))
    with pytest.raises(MissingReaderError, match=f"x: {kind} data is read by"):
        open_capture([tmp_path / "x"])


def test_gzip_is_read_without_the_quicker_library_too(monkeypatch):
    whole = gzip.compress(PLAIN)
    damaged = whole[: len(whole) // 2] + bytes(99) + whole[len(whole) // 2 + 99 :]
    known = []
    for _ in range(2):
        captures = [open_capture([io.BytesIO(blob)]) for blob in (whole, whole[:-2000], damaged)]
        known.append([(tags(capture), capture.health.files[0].truncated) for capture in captures])
        monkeypatch.setitem(sys.modules, "zlib_ng", None)
    assert known[0] == known[1]
    assert [bool(truncated) for _, truncated in known[0]] == [False, True, True]


def test_a_capture_is_read_once():
    capture = open_capture([io.BytesIO(pcap(1))])
    list(capture)
    with pytest.raises(UsageError, match="only once"):
        list(capture)


def test_progress_ends_at_the_stored_size(tmp_path):
    told = []
    (tmp_path / "a.pcap.gz").write_bytes(gzip.compress(pcap(*range(9000))))
    (tmp_path / "b.pcap").write_bytes(pcap(1, 2))
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    list(open_capture([tmp_path], progress=lambda *step: told.append(step)))
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_progress_of_a_stream_has_no_total():
    told = []
    list(open_capture([io.BytesIO(pcap(1))], progress=lambda *step: told.append(step)))
    assert told[-1] == (len(pcap(1)), None)


def test_nothing_named_is_wrong_usage():
    with pytest.raises(AnalyzerError, match="no capture named"):
        open_capture([])


@pytest.mark.peer
@pytest.mark.skipif(not shutil.which("mergecap"), reason="needs mergecap")
def test_packet_numbers_are_mergecaps(tmp_path):
    times = [[1, 8, 3, 12, 40], [2, 9, 2.5, 30, 31], [11, 50, 51], [0.5, 45]]
    mine = tags(merged(tmp_path, *times))
    out = tmp_path / "merged"
    subprocess.run(["mergecap", "-w", out, *sorted(tmp_path.glob("*.pcap"))], check=True, capture_output=True)
    assert mine == tags(open_capture([out]))


@pytest.mark.parametrize("seam", [1, 17, 1000, 5000])
def test_a_record_across_two_chunks_is_whole_however_little_is_joined(seam, monkeypatch):
    """1,416 bytes a record: joined with less than its rest, with its rest, and with more than one record."""
    monkeypatch.setattr("analyzer.capture.reader.SEAM_BYTES", seam)
    assert tags(open_capture([io.BytesIO(pcap(*range(1500), size=1400))])) == [(0, number) for number in range(1500)]
