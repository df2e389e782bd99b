# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A former primary, as its files tell: where its log ends, what of it no other host has, and whether it can be rewound."""

from __future__ import annotations

import os
import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host import files
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import Layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import (
    DEFAULT_SEGMENT,
    Fork,
    Past,
    fork_of,
    lsn_of,
    lsn_text,
    record_end,
    segment_name,
    segment_of,
    switches_in,
)
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.sql import as_account

# Lines of pg_controldata.
IDENTIFIER, TIMELINE, STATE = "Database system identifier", "Latest checkpoint's TimeLineID", "Database cluster state"
_CHECKPOINT, _REDO, _SEGMENT = "Latest checkpoint location", "Latest checkpoint's REDO location", "Bytes per WAL segment"
_LAST = re.compile(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+)")
_GONE = re.compile(r"could not (?:find|open) file \"(?:[^\"]*/)?([0-9A-F]{24})\"")
_LENGTH = re.compile(r"len \(rec/tot\):\s*\d+/\s*(\d+)")
_COMMIT, _CHECKPOINTED = "desc: COMMIT", "desc: CHECKPOINT_"
# Seconds: a log of many gigabytes is read from end to end.
_READ = 1800.0


class Former(NamedTuple):
    """A data directory that a primary wrote, and how it stands to the primary of now.

    ``fork`` is None when the two were never one, or where its log ends cannot be told (``unread`` says why). ``commits`` are those that nobody else has.
    ``obstacle`` says why it cannot be rewound, and is empty when it can. ``slots`` are those that it had for its standbys; a rewind removes them.
    """

    past: Past
    fork: Optional[Fork]
    commits: int
    segment_size: int
    clean: bool
    unread: str
    obstacle: str
    aside: str
    slots: Tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """Where they went apart, in words."""
        if self.fork is None:
            return ""
        fork = self.fork
        return (
            f"they went apart at {lsn_text(fork.at)} of timeline {fork.timeline}, and since then it wrote {fork.lost} bytes of log, up to {lsn_text(fork.end)}"
            f", with {self.commits} commits, that no other host has"
        )


def past_of_files(layout: Layout, control: Mapping[str, str], timeline: int = 0) -> Past:
    """Return the past of a data directory. ``timeline`` is the one that the server says it writes now; 0: as the files tell. Raises Invalid."""
    size = segment_size_of(control)
    there = segments(layout, size)
    # What was begun last may not stand in pg_control yet: a promotion is not waited for by a checkpoint.
    timeline = timeline or max([int(control.get(TIMELINE, "1")), *(own for own, _number in there)])
    name = f"{timeline:08X}.history"
    text = files.look(f"{layout.log}/{name}").text
    try:
        switches = switches_in(timeline, text) if text is not None else ()
    except Invalid as failure:
        raise Invalid(f"{name} is damaged: {failure.message}.", failure.hint, name) from None
    oldest = min((number for _own, number in there), default=0)
    return Past(control.get(IDENTIFIER, ""), timeline, switches, oldest * size)


def segment_size_of(control: Mapping[str, str]) -> int:
    """Return how many bytes a segment of the log has."""
    size = control.get(_SEGMENT, "")
    return int(size) if size.isdigit() else DEFAULT_SEGMENT


def segments(layout: Layout, size: int) -> List[Tuple[int, int]]:
    """Return the segments of the log that are there, each as timeline and number."""
    names = os.listdir(layout.log) if os.path.isdir(layout.log) else ()
    return sorted(found for found in (segment_of(name, size) for name in names) if found)


def look(layout: Layout, control: Mapping[str, str], theirs: Past) -> Former:
    """Look at the files of a former primary that does not run. Raises Failure."""
    size = segment_size_of(control)
    past = past_of_files(layout, control)
    end, unread = _end(layout, control, past, size)
    fork = fork_of(past, end, theirs) if end else None
    commits = _commits(layout, past, fork) if fork and fork.lost else 0
    slots = tuple(sorted(os.listdir(f"{layout.data}/pg_replslot")))
    aside = f"{nameless(layout)}.{past.timeline}.{(end or _position(control, _CHECKPOINT)):016X}"
    return Former(past, fork, commits, size, control.get(STATE) == "shut down", unread, _obstacle(layout, control, past, fork, size), aside, slots)


def nameless(layout: Layout) -> str:
    """Return where data goes whose log cannot be read, without the end that tells what it is."""
    return f"{layout.data}.given-up"


def free(path: str) -> str:
    """Return the path, or one like it where nothing lies yet."""
    number, found = 1, path
    while os.path.exists(found):
        number += 1
        found = f"{path}.{number}"
    return found


def _position(control: Mapping[str, str], line: str) -> int:
    try:
        return lsn_of(control.get(line, ""))
    except Invalid:
        return 0


def _end(layout: Layout, control: Mapping[str, str], past: Past, size: int) -> Tuple[int, str]:
    """Return where the last whole record of the log ends; 0, and why, when that cannot be told.

    pg_control knows the last checkpoint only, and what a crash has left behind it is what matters here. So the log is read to its end.
    """
    start = max(_position(control, _REDO), past.begin())
    said = _read(layout, past.timeline, start, ["--quiet"])[1]
    last = _LAST.search(said)
    if not last:
        gone = _GONE.search(said)
        found = segment_of(gone.group(1), size) if gone else None
        # The last record may end where its segment does.
        return (found[1] * size, "") if found and found[1] * size > start else (0, said.strip()[-300:] or "the log has no end")
    record = lsn_of(last.group(1))
    length = _LENGTH.search(_read(layout, past.timeline, record, ["--limit=1"])[0])
    return (record_end(record, int(length.group(1)), size), "") if length else (0, said.strip()[-300:])


def _commits(layout: Layout, past: Past, fork: Fork) -> int:
    start = max(fork.at, past.begin())
    return _read(layout, past.timeline, start, ["--rmgr=Transaction"])[0].count(_COMMIT)


def _read(layout: Layout, timeline: int, start: int, more: List[str]) -> Tuple[str, str]:
    words = [layout.program("pg_waldump"), f"--path={layout.log}", f"--timeline={timeline}", f"--start={lsn_text(start)}", *more]
    ended = as_account(words, seconds=_READ)
    return ended.output, ended.complaint


def _obstacle(layout: Layout, control: Mapping[str, str], past: Past, fork: Optional[Fork], size: int) -> str:
    """Say why it cannot be rewound, as far as its files tell that; a try that writes nothing comes before the real one."""
    if control.get("Data page checksum version", "0") == "0" and control.get("wal_log_hints setting") != "on":
        return "it has neither checksums nor wal_log_hints, so its log does not tell which blocks changed"
    if fork is None or not fork.lost:
        return ""
    there = set(segments(layout, size))
    lines: Dict[int, int] = {timeline: end for timeline, end in past.switches if timeline >= fork.timeline}
    lines[past.timeline] = fork.end
    first = fork.at // size
    for timeline, end in sorted(lines.items()):
        last = (end - 1) // size if timeline == past.timeline else end // size - 1
        for number in range(first, last + 1):
            if (timeline, number) not in there and not has_archive(layout):
                return f"of its log since then {segment_name(timeline, number, size)} is not there any more, and no restore_command brings it back"
        first = max(first, end // size)
    return "" if has_archive(layout) or _begins_before(layout, past, fork, size) else "the log from the last checkpoint before that on is not there any more"


def _begins_before(layout: Layout, past: Past, fork: Fork, size: int) -> bool:
    """Tell whether a checkpoint from before the fork is in the log that is there: a rewind begins with it."""
    begin = max([end for timeline, end in past.switches if timeline < fork.timeline], default=0)
    numbers = [number for timeline, number in segments(layout, size) if timeline == fork.timeline]
    if not numbers or begin > min(numbers) * size:
        # It may be on the timeline before; then the try tells.
        return True
    words = [f"--end={lsn_text(fork.at)}", "--rmgr=XLOG"]
    return _CHECKPOINTED in _read(layout, fork.timeline, min(numbers) * size, words)[0]


def has_archive(layout: Layout) -> bool:
    """Tell whether the server has a restore_command that pg_rewind can use, which reads it from a configuration outside of the data since 15."""
    if layout.major < 15:
        return False
    ended = as_account([layout.program("postgres"), "-D", layout.data, "-c", f"config_file={layout.main_file}", "-C", "restore_command"])
    return ended.status == 0 and bool(ended.output.strip())


def require_state(layout: Layout, wanted: str) -> None:
    """Raise Failure unless pg_controldata says that the cluster is in this state."""
    said = as_account([layout.program("pg_controldata"), layout.data]).output
    state = re.search(rf"^{STATE}:\s*(.*)$", said, re.MULTILINE)
    if not state or state.group(1).strip() != wanted:
        now = state.group(1).strip() if state else "unknown"
        raise Failure(f"The state of {layout.data} is {now}, not {wanted}.", "Nothing was rewound. Look at the server's log.", layout.data)
