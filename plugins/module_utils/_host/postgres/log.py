# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places in the write-ahead log, the timelines that a server went through, and where two servers that were one went apart. Pure."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

DEFAULT_SEGMENT = 16 << 20
_SWITCH = re.compile(r"\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)(?:\s.*)?")
# A page of the log begins with a header, which no record has bytes in; that of a segment's first page is longer.
_PAGE, _HEADER, _LONG_HEADER = 8192, 24, 40
_ALIGNED = 8

PAST_OPTIONS: Dict[str, Any] = {
    "identifier": {"type": "str", "required": True},
    "timeline": {"type": "int", "required": True},
    "switches": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"timeline": {"type": "int", "required": True}, "end": {"type": "str", "required": True}},
    },
    "oldest": {"type": "str", "default": ""},
}


def lsn_of(text: str) -> int:
    """Read a position as PostgreSQL writes it, for example 16/B374D848. Raises Invalid."""
    found = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text)
    if not found:
        raise Invalid(f"{text!r} is no position in the write-ahead log.", "Give it as PostgreSQL writes it, for example 16/B374D848.", "lsn")
    return (int(found.group(1), 16) << 32) | int(found.group(2), 16)


def lsn_text(lsn: int) -> str:
    """Return a position as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def segment_name(timeline: int, number: int, segment_size: int = DEFAULT_SEGMENT) -> str:
    """Return the file name of a segment, counted from 0 on."""
    per_log = (1 << 32) // segment_size
    return f"{timeline:08X}{number // per_log:08X}{number % per_log:08X}"


def segment_of(name: str, segment_size: int = DEFAULT_SEGMENT) -> Optional[Tuple[int, int]]:
    """Return the timeline and the number of a segment from its file name, or None when it is no segment's."""
    if not re.fullmatch(r"[0-9A-F]{24}", name):
        return None
    return int(name[:8], 16), int(name[8:16], 16) * ((1 << 32) // segment_size) + int(name[16:], 16)


def switches_in(own: int, text: str) -> Tuple[Tuple[int, int], ...]:
    """Read a history file: the timelines that lead to ``own``, each with the position where it was left. Raises Invalid with what is wrong."""
    switches: List[Tuple[int, int]] = []
    hint = "Bring the file back from the archive or from another host."
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = _SWITCH.fullmatch(line)
        parent, lsn = (int(entry.group(1)), lsn_of(entry.group(2))) if entry else (0, 0)
        if entry is None or not 0 < parent < own or (switches and (parent <= switches[-1][0] or lsn < switches[-1][1])):
            raise Invalid(repr(line.strip()[:60]), hint, "history")
        switches.append((parent, lsn))
    if not switches:
        raise Invalid("it names no timeline", hint, "history")
    return tuple(switches)


def record_end(start: int, length: int, segment_size: int = DEFAULT_SEGMENT) -> int:
    """Return where a record of so many bytes ends, the headers of the pages that it runs over counted."""
    position, left = start, length
    while left > _PAGE - position % _PAGE:
        left -= _PAGE - position % _PAGE
        position += _PAGE - position % _PAGE
        position += _HEADER if position % segment_size else _LONG_HEADER
    return -(-(position + left) // _ALIGNED) * _ALIGNED


class Past(NamedTuple):
    """The timelines that a server went through: those that it left, each with the position, and the one that it writes now.

    ``identifier`` is what initdb gave to it and all its copies; ``oldest`` is where the log begins that it still has, 0 when that is not known.
    """

    identifier: str
    timeline: int
    switches: Tuple[Tuple[int, int], ...] = ()
    oldest: int = 0

    def as_data(self) -> Dict[str, Any]:
        """Return it as the option takes it."""
        switches = [{"timeline": timeline, "end": lsn_text(end)} for timeline, end in self.switches]
        return {"identifier": self.identifier, "timeline": self.timeline, "switches": switches, "oldest": lsn_text(self.oldest)}

    def begin(self) -> int:
        """Return where its timeline begins."""
        return self.switches[-1][1] if self.switches else 0


def past_of(given: Optional[Mapping[str, Any]]) -> Optional[Past]:
    """Return the past that another host told, or None. Raises Invalid."""
    if not given or not given["identifier"]:
        return None
    switches = tuple((int(one["timeline"]), lsn_of(one["end"])) for one in given["switches"])
    return Past(given["identifier"], given["timeline"], switches, lsn_of(given["oldest"]) if given["oldest"] else 0)


class Fork(NamedTuple):
    """Where two servers went apart: on which timeline, at which position, and where the log of this one ends. ``same``: they are on one timeline."""

    timeline: int
    at: int
    end: int
    same: bool

    @property
    def lost(self) -> int:
        """How many bytes of log this one wrote after that."""
        return max(0, self.end - self.at)


def fork_of(mine: Past, end: int, theirs: Past) -> Optional[Fork]:
    """Return where a server whose log ends at ``end`` went apart from another, or None when they never were one. Pure."""
    here, there = _stretches(mine, end), _stretches(theirs, None)
    common = 0
    while common < min(len(here), len(there)) and here[common][:2] == there[common][:2]:
        common += 1
    if mine.identifier != theirs.identifier or not common:
        return None
    timeline, _begin, left_here = here[common - 1]
    left_there = there[common - 1][2]
    at = min(position for position in (left_here, left_there, end) if position is not None)
    return Fork(timeline, at, end, len(here) == len(there) == common)


def _stretches(past: Past, end: Optional[int]) -> List[Tuple[int, int, Optional[int]]]:
    """Return each timeline with where it begins and ends; one that is still written to has no end."""
    found: List[Tuple[int, int, Optional[int]]] = []
    begin = 0
    for timeline, left in past.switches:
        found.append((timeline, begin, left))
        begin = left
    return [*found, (past.timeline, begin, end)]
