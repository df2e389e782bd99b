# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records sorted by key in files, for collections that are too large for memory. A record is a line: the key, then its fields, with NUL between them."""

from __future__ import annotations

import contextlib
import heapq
import os
from typing import Iterable, Iterator, List, Optional, Sequence, Tuple

# A key holds neither: rclone spells control characters with symbols. NUL sorts before everything, so lines sort as their keys do.
SEPARATOR, END = b"\0", b"\n"
_CHUNK_BYTES = 4 << 20
_MOST_RUNS = 64

Record = Tuple[bytes, ...]


class Sorter:
    """Takes records in any order and leaves a sorted file. Memory stays at a few MiB, whatever comes; what comes sorted is never merged."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._chunk: List[bytes] = []
        self._size = 0
        self._runs: List[str] = []
        self._last = b""
        self._made = 0

    def add(self, *fields: bytes) -> None:
        """Take one record; the first field is its key."""
        line = SEPARATOR.join(fields) + END
        self._chunk.append(line)
        self._size += len(line)
        if self._size >= _CHUNK_BYTES:
            self._flush()

    def finish(self) -> None:
        """Write the sorted file under its name, all of it or nothing."""
        self._flush()
        if not self._runs:
            self._runs.append(self._fresh())
            open(self._runs[0], "wb").close()
        while len(self._runs) > 1:
            some, self._runs = self._runs[:_MOST_RUNS], self._runs[_MOST_RUNS:]
            self._runs.append(self._merge(some))
        os.replace(self._runs[0], self._path)
        self._runs = []

    def discard(self) -> None:
        """Remove what was written, when there will be no finish."""
        for run in self._runs:
            if os.path.exists(run):
                os.unlink(run)
        self._runs, self._chunk = [], []

    def _flush(self) -> None:
        if not self._chunk:
            return
        self._chunk.sort()
        goes_on = bool(self._runs) and self._chunk[0] >= self._last
        if not goes_on:
            self._runs.append(self._fresh())
        with open(self._runs[-1], "ab") as file:
            file.writelines(self._chunk)
        self._last = self._chunk[-1]
        self._chunk, self._size = [], 0

    def _fresh(self) -> str:
        self._made += 1
        return f"{self._path}.run{self._made}"

    def _merge(self, runs: Sequence[str]) -> str:
        target = self._fresh()
        with contextlib.ExitStack() as files, open(target, "wb") as out:
            out.writelines(heapq.merge(*[files.enter_context(open(run, "rb")) for run in runs]))
        for run in runs:
            os.unlink(run)
        return target


def read(path: str) -> Iterator[Record]:
    """Yield the records of a sorted file in order; of one that does not exist, nothing."""
    if not os.path.exists(path):
        return
    with open(path, "rb") as file:
        for line in file:
            yield tuple(line[:-1].split(SEPARATOR))


def aligned(*sources: Iterable[Record]) -> Iterator[Tuple[bytes, List[Optional[Record]]]]:
    """Yield every key that is in one of the sources, with the record of each source or None. The sources are sorted and hold a key once."""
    iterators = [iter(source) for source in sources]
    heads: List[Optional[Record]] = [next(iterator, None) for iterator in iterators]
    while True:
        waiting = [head[0] for head in heads if head is not None]
        if not waiting:
            return
        key = min(waiting)
        found = [head if head is not None and head[0] == key else None for head in heads]
        yield key, found
        for number, head in enumerate(found):
            if head is not None:
                heads[number] = next(iterators[number], None)
