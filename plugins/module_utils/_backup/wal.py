# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves that an archive of PostgreSQL's write-ahead log has no hole, from nothing but the names in it and its history files. Pure.

An engine's own check stays green over a hole, and a recovery that runs into one ends there without a word; so the segments are counted one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import DEFAULT_SEGMENT, segment_name, switches_in

MIB = 1 << 20
# As initdb allows them.
_SMALLEST, _LARGEST = MIB, 1024 * MIB
# With what engines put behind: a checksum (pgBackRest) and a compression.
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(?:-([0-9a-f]{40}))?(?:\.(?:gz|bz2|xz|zst|lz4|lzo|br|snappy))?")
_HISTORY = re.compile(r"([0-9A-F]{8})\.history")
_BESIDE = re.compile(r"[0-9A-F]{24}\.(?:[0-9A-F]{8}\.backup|partial)(?:\..*)?")


@dataclass(frozen=True)
class Position:
    """A place in the log: a timeline and a byte position (LSN) on it."""

    timeline: int
    lsn: int


@dataclass(frozen=True)
class Hole:
    """Segments that are not there: all of one timeline from ``first`` to ``last``, as file names."""

    timeline: int
    first: str
    last: str
    count: int

    def __str__(self) -> str:
        return f"{self.first} is missing" if self.count == 1 else f"{self.count} segments are missing, {self.first} to {self.last}"


@dataclass(frozen=True)
class Continuity:
    """What was found. ``problems`` are sentences about what is no hole, but makes the archive doubtful; ``segments`` were looked at."""

    holes: Tuple[Hole, ...]
    problems: Tuple[str, ...]
    segments: int

    @property
    def whole(self) -> bool:
        return not self.holes and not self.problems


def prove_wal(
    names: Iterable[str],
    histories: Mapping[str, str],
    since: Optional[Position] = None,
    through: Optional[Position] = None,
    segment_size: int = DEFAULT_SEGMENT,
) -> Continuity:
    """Find every hole in an archive.

    ``names`` are the file names in it, ``histories`` the content of its history files by name. Nothing is wanted before ``since``, the start of the oldest base
    backup (without it: before the first segment that is there). Everything is wanted up to ``through``, what the server was known to have written and
    archived; without it a hole at the very end cannot be seen, since nothing comes after it. ``segment_size`` is in bytes. Raises Invalid for a size that
    PostgreSQL does not have.
    """
    if segment_size & (segment_size - 1) or not _SMALLEST <= segment_size <= _LARGEST:
        raise Invalid(f"segment_size is {segment_size}.", "Give a power of two from 1 MiB to 1 GiB, as pg_controldata shows it.", "segment_size")
    problems: List[str] = []
    present = _segments(names, segment_size, problems)
    lines = _Lines(present, histories, since, segment_size, problems)
    if through is not None:
        lines.reach(through)
    holes = [hole for timeline in lines.timelines() for hole in _holes(timeline, lines.wanted(timeline), present.get(timeline, set()), segment_size)]
    return Continuity(tuple(holes), tuple(problems), sum(map(len, present.values())))


def _segments(names: Iterable[str], segment_size: int, problems: List[str]) -> Dict[int, Set[int]]:
    """Return the numbers of the segments by timeline; the same segment twice with different content, and names that cannot be, are problems."""
    per_log = (1 << 32) // segment_size
    present: Dict[int, Set[int]] = {}
    sums: Dict[Tuple[int, int], str] = {}
    for name in names:
        found = _SEGMENT.fullmatch(name)
        if found is None:
            if not _HISTORY.fullmatch(name) and not _BESIDE.fullmatch(name):
                problems.append(f"{name} has no name of the write-ahead log")
            continue
        timeline, log, low = (int(found.group(part), 16) for part in (1, 2, 3))
        if low >= per_log or timeline == 0:
            problems.append(f"{name} cannot be a segment of {segment_size // MIB} MiB")
            continue
        number = log * per_log + low
        checksum = found.group(4)
        if checksum is not None and sums.setdefault((timeline, number), checksum) != checksum:
            problems.append(f"{name[:24]} is there twice with different content: two servers archive to one place")
        present.setdefault(timeline, set()).add(number)
    return present


class _Lines:
    """The timelines of an archive: where each branched off, and which segments of it are wanted."""

    def __init__(
        self, present: Mapping[int, Set[int]], histories: Mapping[str, str], since: Optional[Position], segment_size: int, problems: List[str]
    ) -> None:
        self._size = segment_size
        self._problems = problems
        self._present = present
        self._since = since
        self._oldest = min((min(numbers) for numbers in present.values()), default=0)
        # The last segment that is wanted of each timeline, and the ancestors of each with the positions where they were left.
        self._last: Dict[int, int] = {timeline: max(numbers) for timeline, numbers in present.items()}
        self._switches: Dict[int, List[Tuple[int, int]]] = {}
        for name, text in sorted(histories.items()):
            self._read(name, text)
        for timeline, switches in sorted(self._switches.items()):
            self._agree(timeline, switches)
        for timeline in sorted(present):
            self._climb(timeline)
        if since is not None:
            self._want(since.timeline, since.lsn // segment_size)

    def _read(self, name: str, text: str) -> None:
        """Read one history file: the timelines that lead to its own, each with the position where it was left."""
        found = _HISTORY.fullmatch(name)
        if found is None:
            self._problems.append(f"{name} has no name of a history file")
            return
        own = int(found.group(1), 16)
        try:
            switches = list(switches_in(own, text))
        except Invalid as failure:
            self._problems.append(f"{name} is damaged: {failure.message}")
            return
        self._switches[own] = switches

    def _agree(self, timeline: int, switches: Sequence[Tuple[int, int]]) -> None:
        """The history of a timeline repeats that of its parent: where they differ, two servers were promoted to the same timeline."""
        parent = switches[-1][0]
        above = self._switches.setdefault(parent, list(switches[:-1])) if len(switches) > 1 else self._switches.get(parent, [])
        if above != list(switches[:-1]):
            self._problems.append(f"{timeline:08X}.history tells another past of timeline {parent} than {parent:08X}.history")

    def _climb(self, timeline: int) -> None:
        """Want of the ancestors of a timeline what leads to it: each up to where it was left, which its child holds in a segment of its own."""
        switches = self._switches.get(timeline)
        if not switches:
            # A timeline before the one where everything begins is nobody's way.
            if timeline > 1 and (self._since is None or timeline > self._since.timeline):
                self._problems.append(f"{timeline:08X}.history is missing: nothing says where timeline {timeline} begins")
            return
        begin = switches[-1][1] // self._size
        strangers = [number for number in self._present.get(timeline, ()) if number < begin]
        if strangers:
            name = segment_name(timeline, min(strangers), self._size)
            self._problems.append(f"{name} is older than its timeline: two servers were promoted to timeline {timeline}")
        for ancestor, lsn in switches:
            self._want(ancestor, lsn // self._size - 1)

    def _want(self, timeline: int, number: int) -> None:
        self._last[timeline] = max(self._last.get(timeline, -1), number)

    def reach(self, through: Position) -> None:
        """Want everything that lies before a position; one at the very start of a segment wants nothing of that segment."""
        if through.timeline not in self._present:
            self._climb(through.timeline)
        self._want(through.timeline, (through.lsn - 1) // self._size)

    def timelines(self) -> List[int]:
        return sorted(self._last)

    def wanted(self, timeline: int) -> Tuple[int, int]:
        """Return the first and the last segment that are wanted of a timeline; the first behind the last when none is."""
        last = self._last[timeline]
        switches = self._switches.get(timeline) or []
        if self._since is not None:
            since = self._since.lsn // self._size
            if timeline == self._since.timeline:
                return since, last
            # What does not come out of the timeline of the base backup, after it, cannot be reached from there.
            left = [lsn // self._size for ancestor, lsn in switches if ancestor == self._since.timeline]
            return (switches[-1][1] // self._size, last) if left and left[0] >= since else (last + 1, last)
        there = self._present.get(timeline)
        first = switches[-1][1] // self._size if switches else min(there) if there else last + 1
        return max(first, self._oldest), last


def _holes(timeline: int, wanted: Tuple[int, int], there: Set[int], segment_size: int) -> List[Hole]:
    """Return the runs of numbers between first and last that are not there. A damaged name may lie far out, so the numbers between are not walked."""
    first, last = wanted
    holes: List[Hole] = []
    expected = first
    for number in _within(sorted(there), first, last) + [last + 1]:
        if number > expected:
            name, end = segment_name(timeline, expected, segment_size), segment_name(timeline, number - 1, segment_size)
            holes.append(Hole(timeline, name, end, number - expected))
        expected = number + 1
    return holes


def _within(numbers: Sequence[int], first: int, last: int) -> List[int]:
    return [number for number in numbers if first <= number <= last]
