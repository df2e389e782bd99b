"""Holes in an archive of the write-ahead log: random trees of timelines with random segments taken out, against the tree that is known."""

from __future__ import annotations

import os
import random
import re
import time
from dataclasses import dataclass, field

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.wal import MIB, Continuity, Position, prove_wal
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import lsn_of, segment_name
from tests.perf import figures
from tests.proof import Measured

# `make proof-backup` tries all of them.
PATTERNS = 10_000 if os.environ.get("PAAS_BACKUP_PROOF") else 1000
SIZES = (MIB, 16 * MIB, 16 * MIB, 64 * MIB, 1024 * MIB)


@dataclass
class Line:
    """One timeline as it was written: from a segment to a segment, and how it came about."""

    number: int
    first: int
    last: int
    parent: Line | None = None
    switch: int = 0
    taken: set[int] = field(default_factory=set)

    def history(self) -> list[tuple[int, int]]:
        return [] if self.parent is None else [*self.parent.history(), (self.parent.number, self.switch)]

    def history_file(self) -> str:
        return "\n".join(f"{timeline}\t{lsn >> 32:X}/{lsn & 0xFFFFFFFF:08X}\tno recovery target specified\n" for timeline, lsn in self.history())


def tree(chance: random.Random, size: int) -> list[Line]:
    """A first timeline and up to four that branched off, each from any that was there."""
    start = chance.choice([0, 1, 200, (1 << 32) // size - 3, (7 << 32) // size - 2])
    lines = [Line(1, start, start + chance.randrange(0, 40))]
    number = 1
    for _branch in range(chance.choice([0, 0, 1, 1, 2, 4])):
        parent = chance.choice(lines)
        number += chance.choice([1, 1, 1, 3])
        # Within a segment, or at its very start.
        left = chance.randrange(parent.first, parent.last + 1)
        switch = left * size + chance.choice([0, 8, size // 2, size - 8])
        if parent.parent is not None:
            switch = max(switch, parent.switch)
        lines.append(Line(number, switch // size, switch // size + chance.randrange(0, 40), parent, switch))
    return lines


def archived(chance: random.Random, lines: list[Line], size: int) -> list[str]:
    """The names of what is in the archive: a parent may go on after it was left, and the segment in which it was left may be there or not."""
    names: list[str] = []
    for line in lines:
        suffix = chance.choice(["", "", ".gz", f"-{chance.getrandbits(160):040x}.zst"])
        names += [segment_name(line.number, number, size) + suffix for number in range(line.first, line.last + 1) if number not in line.taken]
        if line.parent is not None:
            names.append(f"{line.number:08X}.history")
            names.append(segment_name(line.parent.number, line.first, size) + ".partial")
    names.append(segment_name(1, lines[0].first, size) + ".00000028.backup")
    chance.shuffle(names)
    return names


def take_out(chance: random.Random, lines: list[Line]) -> None:
    for line in lines:
        everything = range(line.first, line.last + 1)
        kind = chance.choice(["none", "one", "some", "run", "last", "first"])
        if kind == "one":
            line.taken = {chance.choice(everything)}
        elif kind == "some":
            line.taken = {number for number in everything if chance.random() < 0.2}
        elif kind == "run":
            begin = chance.choice(everything)
            line.taken = set(range(begin, min(line.last, begin + chance.randrange(1, 20)) + 1))
        elif kind == "last":
            line.taken = {line.last}
        elif kind == "first":
            line.taken = {line.first}


def expected(lines: list[Line], since: Position | None, through: Position | None, size: int) -> set[tuple[int, int]]:
    """What must be found: everything taken out that something which is there, a branch or ``through`` lies behind."""
    left = {line.number: [number for number in range(line.first, line.last + 1) if number not in line.taken] for line in lines}
    seen = [line for line in lines if left[line.number] or (through and through.timeline == line.number)]
    oldest = min((min(numbers) for numbers in left.values() if numbers), default=0)
    found: set[tuple[int, int]] = set()
    for line in lines:
        end = max(left[line.number], default=line.first - 1)
        for child in seen:
            ends = [lsn // size - 1 for ancestor, lsn in child.history() if ancestor == line.number]
            end = max([end, *ends])
        if through and through.timeline == line.number:
            end = max(end, (through.lsn - 1) // size)
        # Without the segment in which it began, a base backup is worth nothing.
        if since and since.timeline == line.number:
            end = max(end, since.lsn // size)
        for number in line.taken:
            found |= {(line.number, number)} if number <= end else set()
    if since is None:
        # Nothing says that anything before the oldest segment was ever wanted.
        return {(timeline, number) for timeline, number in found if number >= oldest and _begun(lines, left, timeline, number)}
    return {(timeline, number) for timeline, number in found if _reachable(lines, timeline, number, since, size)}


def _begun(lines: list[Line], left: dict[int, list[int]], timeline: int, number: int) -> bool:
    (line,) = [line for line in lines if line.number == timeline]
    return line.parent is not None or (bool(left[timeline]) and number >= min(left[timeline]))


def _reachable(lines: list[Line], timeline: int, number: int, since: Position, size: int) -> bool:
    (line,) = [line for line in lines if line.number == timeline]
    start = since.lsn // size
    if timeline == since.timeline:
        return number >= start
    return any(ancestor == since.timeline and lsn // size >= start for ancestor, lsn in line.history())


def found_in(result: Continuity, size: int) -> set[tuple[int, int]]:
    per_log = (1 << 32) // size
    holes: set[tuple[int, int]] = set()
    for hole in result.holes:
        first = int(hole.first[8:16], 16) * per_log + int(hole.first[16:], 16)
        assert segment_name(hole.timeline, first + hole.count - 1, size) == hole.last
        holes |= {(hole.timeline, first + step) for step in range(hole.count)}
    assert sum(hole.count for hole in result.holes) == len(holes)
    return holes


def test_random_patterns_none_missed_none_invented(measured: Measured) -> None:
    with_holes = 0
    missed: list[int] = []
    invented: list[int] = []
    for seed in range(PATTERNS):
        chance = random.Random(seed)
        size = chance.choice(SIZES)
        lines = tree(chance, size)
        leaf = chance.choice(lines)
        since = through = None
        if chance.random() < 0.5:
            base = chance.choice(lines)
            since = Position(base.number, chance.randrange(base.first, base.last + 1) * size + chance.choice([0, 40]))
        if chance.random() < 0.5:
            through = Position(leaf.number, leaf.last * size + chance.choice([1, size // 2, size]))
        take_out(chance, lines)
        names = archived(chance, lines, size)
        if through and since and not _passes(lines, leaf, since, size):
            through = None
        histories = {f"{line.number:08X}.history": line.history_file() for line in lines if line.parent is not None}
        result = prove_wal(names, histories, since, through, size)
        wanted = expected(lines, since, through, size)
        assert result.problems == (), f"seed {seed}"
        found = found_in(result, size)
        with_holes += bool(wanted)
        missed += [seed] if wanted - found else []
        invented += [seed] if found - wanted else []
    assert with_holes > PATTERNS // 4
    measured(
        figures.at_most("patterns of the log with a hole that is missed", len(missed), f"of {with_holes}", 0, f"seeds {missed[:9]}" if missed else "", seed=0),
        figures.at_most("patterns of the log with a hole invented", len(invented), f"of {PATTERNS}", 0, f"seeds {invented[:9]}" if invented else "", seed=0),
    )


def _passes(lines: list[Line], leaf: Line, since: Position, size: int) -> bool:
    """Whether the way to a leaf leads over a base backup: else nobody would ask for it."""
    return leaf.number == since.timeline or _reachable(lines, leaf.number, leaf.first, since, size)


def names_of(timeline: int, numbers: range | list[int]) -> list[str]:
    return [segment_name(timeline, number) for number in numbers]


def test_a_dropped_run_is_named() -> None:
    result = prove_wal(names_of(1, [1, 2, 3, 15, 16]), {})
    assert [str(hole) for hole in result.holes] == ["11 segments are missing, 000000010000000000000004 to 00000001000000000000000E"]
    assert not result.whole
    assert str(prove_wal(names_of(1, [1, 3]), {}).holes[0]) == "000000010000000000000002 is missing"


def test_log_files_have_256_segments_of_16_mib() -> None:
    assert prove_wal(names_of(1, range(250, 260)), {}).whole
    assert segment_name(1, 255) == "0000000100000000000000FF"
    assert segment_name(1, 256) == "000000010000000100000000"
    # The last of each log was left out before PostgreSQL 9.3 only.
    assert not prove_wal([name for name in names_of(1, range(250, 260)) if not name.endswith("FF")], {}).whole


def test_the_end_is_seen_only_by_who_knows_it() -> None:
    names = names_of(1, range(5))
    assert prove_wal(names, {}).whole
    assert prove_wal(names, {}, through=Position(1, lsn_of("0/5000000"))).whole
    assert [hole.first for hole in prove_wal(names, {}, through=Position(1, lsn_of("0/5000001"))).holes] == ["000000010000000000000005"]


def test_a_branch_that_was_never_archived_is_missing() -> None:
    result = prove_wal(names_of(1, range(5)), {"00000002.history": "1\t0/4500000\treason\n"}, through=Position(2, lsn_of("0/6000001")))
    assert [str(hole) for hole in result.holes] == ["3 segments are missing, 000000020000000000000004 to 000000020000000000000006"]


@pytest.mark.parametrize(
    ("names", "histories", "said"),
    [
        (names_of(2, [3, 4]), {}, r"00000002\.history is missing"),
        (names_of(2, [3, 4]), {"00000002.history": "garbage\n"}, "is damaged"),
        (names_of(2, [3, 4]), {"00000002.history": ""}, "names no timeline"),
        (names_of(2, [3, 4]), {"00000002.history": "2\t0/3000000\tx\n"}, "is damaged"),
        (names_of(2, [2, 3]), {"00000002.history": "1\t0/3000000\tx\n"}, "two servers were promoted to timeline 2"),
        (names_of(3, [4]), {"00000002.history": "1\t0/3000000\tx\n", "00000003.history": "1\t0/2000000\tx\n2\t0/4000000\tx\n"}, "tells another past"),
        ([f"{segment_name(1, 1)}-{'a' * 40}.gz", f"{segment_name(1, 1)}-{'b' * 40}.gz"], {}, "twice with different content"),
        (["00000001000000000000FFFF"], {}, "cannot be a segment"),
        (["000000010000000000000001.tmp"], {}, "no name of the write-ahead log"),
        ([segment_name(1, 1), "latest"], {"2.history": ""}, "no name of a history file"),
    ],
)
def test_what_is_no_hole_but_doubtful_is_said(names: list[str], histories: dict[str, str], said: str) -> None:
    result = prove_wal(names, histories)
    assert any(re.search(said, problem) for problem in result.problems), result.problems
    assert not result.whole


def test_history_with_blank_lines_and_remarks_is_read() -> None:
    text = "# made by hand\n\n1\t0/3000000\tno recovery target specified\n\n"
    assert prove_wal([*names_of(1, [1, 2]), *names_of(2, [3, 4])], {"00000002.history": text}).whole


@pytest.mark.parametrize("size", [0, 1, 3 * MIB, MIB // 2, 2048 * MIB])
def test_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(Invalid, match="segment_size"):
        prove_wal([], {}, segment_size=size)


def test_a_name_from_far_away_costs_nothing() -> None:
    result = prove_wal([*names_of(1, range(5)), "00000001FFFFFFFF000000FF"], {})
    assert [hole.count for hole in result.holes] == [(1 << 40) - 6]


def test_fast_enough() -> None:
    """At least 50,000 segments a second."""
    names = names_of(1, range(100_000))
    began = time.process_time()
    assert prove_wal(names, {}).segments == 100_000
    assert 100_000 / (time.process_time() - began) > 50_000
