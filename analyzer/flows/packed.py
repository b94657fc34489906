# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`PackedRows`: rows of facts in a tenth of their room, read like the flat array that they were.

Owns the form: chunks of rows, in each a column as its least value and what is above that in 0 to 8 bytes. Most
facts of a chunk are alike or near one another: the connections of a flood take 60 to 90 bytes of 824. Ordinary Python
that Cython compiles; both give the same numbers.
"""

from __future__ import annotations

try:
    import cython
except ModuleNotFoundError:
    from analyzer import _shadow as cython

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from sys import getsizeof
from typing import Any, NamedTuple

#: rows of a chunk: enough to make its 103 columns cheap, few enough to span little time
CHUNK_ROWS = 8192

_SLOTS = cython.declare(cython.Py_ssize_t, 256)  # a power of 2
_ODD = cython.declare(cython.ulonglong, 0x9E37_79B9_7F4A_7C15)
_M64 = cython.declare(cython.ulonglong, 0xFFFF_FFFF_FFFF_FFFF)


@cython.final
@cython.cclass
class _Chunk:
    """Rows `start` to `stop`: of each column its least value, how many bytes hold what is above it, and where.

    The bytes of a value are in `data` from `begins[column] + place * sizes[column]` on, the least significant first.
    """

    start: cython.Py_ssize_t
    stop: cython.Py_ssize_t
    parts: tuple
    least: cython.ulonglong[::1]
    sizes: cython.uchar[::1]
    begins: cython.uint[::1]
    data: cython.uchar[::1]

    def __init__(self, start: cython.Py_ssize_t, stop: cython.Py_ssize_t, parts: tuple) -> None:
        self.start = start
        self.stop = stop
        self.hold(parts)

    @cython.cfunc
    def hold(self, parts: tuple) -> cython.void:
        """Take over `least`, `sizes`, `begins` and `data`."""
        self.parts = parts
        self.least, self.sizes, self.begins, self.data = parts

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def value(self, column: cython.Py_ssize_t, place: cython.Py_ssize_t) -> cython.ulonglong:
        """The value of a column in a row, `place` counted from `start`."""
        size: cython.Py_ssize_t = self.sizes[column]
        at: cython.Py_ssize_t = self.begins[column] + place * size
        above: cython.ulonglong = 0
        byte: cython.Py_ssize_t
        part: cython.ulonglong
        for byte in range(size):
            part = self.data[at + byte]
            above |= part << (8 * byte)
        return self.least[column] + above


@cython.final
@cython.cclass
class PackedRows:
    """Rows of `width` unsigned 64-bit numbers.

    `rows[i]`, `rows[first:last]` and one column as `rows[i::width]` (also from a row to a row) are what the flat array
    of them has; a column can be set as a whole. Slices are copies.
    """

    _width: cython.Py_ssize_t
    _all: object
    _count: cython.Py_ssize_t
    _chunks: list
    _starts: list
    _latest: _Chunk

    def __init__(self, width: cython.Py_ssize_t) -> None:
        self._width = width
        self._all = array("I", range(width))
        self._count = 0
        self._chunks = []
        self._starts = []
        self._latest = _Chunk(0, 0, (array("Q", (0,)), bytearray(1), array("I", (0,)), bytearray(1)))

    def __len__(self) -> int:
        return self._count * self._width

    def __sizeof__(self) -> int:
        chunk: _Chunk
        size = object.__sizeof__(self)
        for chunk in self._chunks:
            size += sum(map(getsizeof, chunk.parts))
        return size

    def append(self, flat: Any) -> None:
        """Take rows over from a flat array('Q')."""
        rows: cython.Py_ssize_t = len(flat) // self._width
        first: cython.Py_ssize_t
        for first in range(0, rows, CHUNK_ROWS):
            count = min(rows - first, CHUNK_ROWS)
            self._add(count, _packed(flat, first, count, self._width))

    def extend(self, other: PackedRows) -> None:
        """Append the rows of another."""
        chunk: _Chunk
        for chunk in other._chunks:
            self._add(chunk.stop - chunk.start, chunk.parts)

    def _add(self, count: cython.Py_ssize_t, parts: tuple) -> None:
        self._starts.append(self._count)
        self._chunks.append(_Chunk(self._count, self._count + count, parts))
        self._count += count

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return self._slice(key)
        index: cython.Py_ssize_t = key
        if index < 0:
            index += self._count * self._width
        if index < 0 or index >= self._count * self._width:
            raise IndexError(key)
        place: cython.Py_ssize_t = index // self._width
        chunk: _Chunk = self._chunk(place)
        return chunk.value(index - place * self._width, place - chunk.start)

    @cython.cfunc
    def _chunk(self, place: cython.Py_ssize_t) -> _Chunk:
        """The chunk that holds a row."""
        if not (self._latest.start <= place < self._latest.stop):
            self._latest = self._chunks[bisect_right(self._starts, place) - 1]
        return self._latest

    def _slice(self, key: slice) -> array[int]:
        start, stop, step = key.indices(self._count * self._width)
        if start >= stop:
            return array("Q")
        if step == 1:
            first = start // self._width
            rows = self.unpacked(first, -(-stop // self._width))
            whole = start == first * self._width and stop % self._width == 0
            return rows if whole else rows[start - first * self._width : stop - first * self._width]
        if step != self._width:
            raise ValueError(f"rows are read by row or by column, not in steps of {step}")
        first = start // self._width
        return self._column(start % self._width, first, first - (start - stop) // step)

    def unpacked(self, first: cython.Py_ssize_t, last: cython.Py_ssize_t) -> array[int]:
        """The rows from `first` to before `last`, flat."""
        made = array("Q", bytes(8 * self._width * max(last - first, 0)))
        if made:
            self.fill(made, first, last, self._all)
        return made

    def fill(self, flat: Any, first: cython.Py_ssize_t, last: cython.Py_ssize_t, columns: Any) -> None:
        """Write `columns`, an array('I'), of the rows from `first` to before `last` to a flat array('Q') of rows."""
        out: cython.ulonglong[::1] = flat
        wanted: cython.uint[::1] = columns
        count: cython.Py_ssize_t = len(columns)
        number: cython.Py_ssize_t
        row: cython.Py_ssize_t
        place: cython.Py_ssize_t
        to: cython.Py_ssize_t = 0
        rows: cython.Py_ssize_t
        chunk: _Chunk
        while first < last:
            chunk = self._chunk(first)
            place = first - chunk.start
            rows = min(last, chunk.stop) - first
            for number in range(count):
                for row in range(rows):
                    out[to + row * self._width + wanted[number]] = chunk.value(wanted[number], place + row)
            to += rows * self._width
            first += rows

    def _column(self, at: cython.Py_ssize_t, first: cython.Py_ssize_t, last: cython.Py_ssize_t) -> array[int]:
        """One column from row `first` to before row `last`."""
        made = array("Q", bytes(8 * max(last - first, 0)))
        if not made:
            return made
        out: cython.ulonglong[::1] = made
        place: cython.Py_ssize_t
        chunk: _Chunk
        for place in range(first, last):
            chunk = self._chunk(place)
            out[place - first] = chunk.value(at, place - chunk.start)
        return made

    def __setitem__(self, key: slice, values: Any) -> None:
        start, stop, step = key.indices(self._count * self._width)
        if step != self._width or start >= step or len(values) != self._count or stop < self._count * self._width:
            raise ValueError("a column is set as a whole")
        chunk: _Chunk
        for chunk in self._chunks:
            count = chunk.stop - chunk.start
            (low,), (size,), _, added = _packed(array("Q", values[chunk.start : chunk.stop]), 0, count, 1)
            least, sizes, begins, data = (part[:] for part in chunk.parts)
            least[start], sizes[start], begins[start] = low, size, len(data)
            chunk.hold((least, sizes, begins, data + added))

    def __iter__(self) -> Iterator[int]:
        for first in range(0, self._count, CHUNK_ROWS):
            yield from self.unpacked(first, min(first + CHUNK_ROWS, self._count))

    def __reduce__(self) -> Any:
        chunk: _Chunk
        parts = []
        for chunk in self._chunks:
            parts.append((chunk.stop - chunk.start, chunk.parts))
        return _restored, (self._width, parts)


def gathered(
    rows: Any, width: cython.Py_ssize_t, order: Any, chosen: Sequence[int], columns: Sequence[int]
) -> array[int]:
    """Some columns of the `chosen` rows, flat, in that order; row i is at `order[i]`, of an array('Q').

    `rows`: a flat array('Q') or `PackedRows`.
    """
    where: cython.ulonglong[::1] = order or array("Q", (0,))
    count: cython.Py_ssize_t = len(chosen)
    wanted: cython.uint[::1] = array("I", columns)
    wide: cython.Py_ssize_t = len(columns)
    made = array("Q", bytes(8 * wide * count))
    out: cython.ulonglong[::1] = made or array("Q", (0,))
    packed: cython.bint = isinstance(rows, PackedRows)
    flat: cython.ulonglong[::1] = array("Q", (0,)) if packed else rows or array("Q", (0,))
    source: PackedRows = rows if packed else PackedRows(width)
    chunk: _Chunk
    row: cython.Py_ssize_t
    number: cython.Py_ssize_t
    place: cython.Py_ssize_t
    to: cython.Py_ssize_t = 0
    for row in chosen:
        place = where[row]
        if packed:
            chunk = source._chunk(place)
            for number in range(wide):
                out[to + number] = chunk.value(wanted[number], place - chunk.start)
        else:
            for number in range(wide):
                out[to + number] = flat[place * width + wanted[number]]
        to += wide
    return made


def in_order(values: Any) -> array[int]:
    """The places of an array('Q') of values, in order of these."""
    count: cython.Py_ssize_t = len(values)
    numbers: cython.ulonglong[::1] = values or array("Q", (0,))
    most: cython.ulonglong = 0
    place: cython.Py_ssize_t
    slot: cython.Py_ssize_t
    to: cython.Py_ssize_t = 0
    for place in range(count):
        if numbers[place] > most:
            most = numbers[place]
    if most < 4 * count + _SLOTS:
        # Flow numbers leave out little: each place is put where its value says, and the gaps are closed.
        place_of: cython.longlong[::1] = array("q", (-1,)) * (most + 1)
        for place in range(count):
            place_of[numbers[place]] = place
        made = array("Q", bytes(8 * count))
        out: cython.ulonglong[::1] = made or array("Q", (0,))
        for slot in range(most + 1):
            if place_of[slot] >= 0:
                out[to] = place_of[slot]
                to += 1
        if to == count:  # else a value comes twice
            return made
    return array("Q", sorted(range(count), key=values.__getitem__))


def times(values: Any, factor: cython.ulonglong) -> array[int]:
    """Each value of an array('Q') so many times."""
    made = values[:]
    out: cython.ulonglong[::1] = made or array("Q", (0,))
    place: cython.Py_ssize_t
    for place in range(len(values)):
        out[place] *= factor
    return made


class Kinds(NamedTuple):
    """Rows by what they hold in some columns: the kind of each, and of each kind how many and which is the first."""

    kind_of: array[int]
    counts: array[int]
    first: array[int]


def kinds(rows: Any, width: cython.Py_ssize_t, places: Any, columns: Sequence[int]) -> Kinds:
    """Sort the rows at `places` by what they hold in `columns`. `rows`: a flat array('Q') or `PackedRows`."""
    where: cython.ulonglong[::1] = places if isinstance(places, array) else array("Q", places)
    count: cython.Py_ssize_t = len(places)
    kind_of = array("I", bytes(4 * count))
    kind: cython.uint[::1] = kind_of
    wanted: cython.uint[::1] = array("I", columns)
    wide: cython.Py_ssize_t = len(columns)
    held = array("Q", bytes(8 * wide))
    values: cython.ulonglong[::1] = held
    packed: cython.bint = isinstance(rows, PackedRows)
    flat: cython.ulonglong[::1] = array("Q", (0,)) if packed else rows or array("Q", (0,))
    source: PackedRows = rows if packed else PackedRows(width)
    chunk: _Chunk
    known: dict = {}
    counts = array("Q")
    first = array("Q")
    # In front of the dict, for as many kinds as most captures have: a slot's values, and their kind.
    slot_values: cython.ulonglong[::1] = array("Q", bytes(8 * wide * _SLOTS))
    slot_kind: cython.longlong[::1] = array("q", (-1,)) * _SLOTS
    row: cython.Py_ssize_t
    number: cython.Py_ssize_t
    place: cython.Py_ssize_t
    slot: cython.Py_ssize_t
    mixed: cython.ulonglong
    for row in range(count):
        place = where[row]
        mixed = 0
        if packed:
            chunk = source._chunk(place)
        for number in range(wide):
            if packed:
                values[number] = chunk.value(wanted[number], place - chunk.start)
            else:
                values[number] = flat[place * width + wanted[number]]
            mixed = ((mixed ^ values[number]) * _ODD) & _M64
            mixed ^= mixed >> 32
        slot = mixed & (_SLOTS - 1)
        number = 0
        if slot_kind[slot] >= 0:
            while number < wide and values[number] == slot_values[slot * wide + number]:
                number += 1
        if number < wide:
            key = held.tobytes()
            found = known.get(key)
            if found is None:
                found = known[key] = len(counts)
                counts.append(0)
                first.append(row)
            slot_kind[slot] = found
            for number in range(wide):
                slot_values[slot * wide + number] = values[number]
        kind[row] = slot_kind[slot]
    tally: cython.ulonglong[::1] = counts or array("Q", (0,))
    for row in range(count):
        tally[kind[row]] += 1
    return Kinds(kind_of, counts, first)


def of_kinds(found: Kinds, wanted: Sequence[bool]) -> list[int]:
    """Which of the rows that were sorted are of a wanted kind, in order."""
    kind: cython.uint[::1] = found.kind_of or array("I", (0,))
    is_wanted: cython.uchar[::1] = bytearray(wanted) or bytearray(1)
    at: cython.Py_ssize_t
    made: list = []
    for at in range(len(found.kind_of)):
        if is_wanted[kind[at]]:
            made.append(at)
    return made


def _restored(width: int, chunks: list[tuple[int, tuple[Any, ...]]]) -> PackedRows:
    made = PackedRows(width)
    for count, parts in chunks:
        made._add(count, parts)
    return made


def _packed(
    flat: Any, first: cython.Py_ssize_t, count: cython.Py_ssize_t, width: cython.Py_ssize_t
) -> tuple[Any, Any, Any, Any]:
    """The parts of a chunk of `count` rows, from row `first` on."""
    values: cython.ulonglong[::1] = flat
    least_of = array("Q", bytes(8 * width))
    sizes_of = bytearray(width)
    begins_of = array("I", bytes(4 * width))
    least: cython.ulonglong[::1] = least_of
    sizes: cython.uchar[::1] = sizes_of
    begins: cython.uint[::1] = begins_of
    most: cython.ulonglong[::1] = array("Q", bytes(8 * width))
    moving_of = array("I", bytes(4 * width))  # columns whose values differ
    moving: cython.uint[::1] = moving_of
    movers: cython.Py_ssize_t = 0
    row: cython.Py_ssize_t
    _row: cython.Py_ssize_t
    column: cython.Py_ssize_t
    mover: cython.Py_ssize_t
    _byte: cython.Py_ssize_t
    at: cython.Py_ssize_t = first * width
    to: cython.Py_ssize_t = 0
    number: cython.ulonglong
    size: cython.Py_ssize_t
    # Row by row, as they lie in memory.
    for column in range(width):
        least[column] = most[column] = values[at + column]
    for _row in range(count):
        for column in range(width):
            number = values[at + column]
            if number < least[column]:
                least[column] = number
            elif number > most[column]:
                most[column] = number
        at += width
    for column in range(width):
        number = most[column] - least[column]
        size = 0
        while number:
            size += 1
            number >>= 8
        sizes[column] = size
        begins[column] = to
        to += size * count
        if size:
            moving[movers] = column
            movers += 1
    data_of = bytearray(to + 1)  # never empty
    data: cython.uchar[::1] = data_of
    at = first * width
    for row in range(count):
        for mover in range(movers):
            column = moving[mover]
            number = values[at + column] - least[column]
            size = sizes[column]
            to = begins[column] + row * size
            for _byte in range(size):
                data[to + _byte] = number & 0xFF
                number >>= 8
        at += width
    return least_of, sizes_of, begins_of, data_of
