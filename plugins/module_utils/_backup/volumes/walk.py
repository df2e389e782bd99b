# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder as an inventory: each entry with its mode, owner, times, links, attributes and content, in one order, in constant memory."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import told
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, NotProven

FOLDER, FILE, LINK, FIFO, SOCKET, DEVICE = "folder", "file", "link", "fifo", "socket", "device"
# An engine writes whole blocks where a source had a hole of a few bytes.
_SPARSE_FACTOR, _SPARSE_ROOM = 1.05, 1 << 20
_CHUNK = 1 << 20
_BLOCK = 512
# NFS keeps these while somebody has a deleted file open.
SILLY = ".nfs"


class Entry(NamedTuple):
    """One name below a folder; the folder itself is ``.``. Sizes in bytes, times in nanoseconds since 1970.

    ``target`` is that of a link or the number of a device, ``group`` the first name of what has several, ``attributes`` the extended attributes in
    hexadecimal, access lists among them, ``digest`` the SHA-256 of a file, ``allocated`` what a file takes on the disk.
    """

    path: str
    kind: str
    mode: int
    user: int
    owners: int
    size: int
    modified: int
    target: str
    group: str
    attributes: Dict[str, str]
    digest: str
    allocated: int

    def line(self) -> bytes:
        return json.dumps(list(self), sort_keys=True).encode("ascii") + b"\n"


class Stamp(NamedTuple):
    """By what a change of an entry is noticed: its number, its size, and the times of its content and of its state."""

    path: str
    inode: int
    size: int
    modified: int
    changed: int


@dataclass(frozen=True)
class Difference:
    """Something that came back otherwise: the path, the field, and what was expected and found."""

    path: str
    field: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: {self.field} is {self.found}, not {self.expected}"


def names(folder: str) -> Iterator[Tuple[str, os.stat_result]]:
    """Yield every path below a folder with its state, the folder itself first, in the order of ``order``.

    Other file systems mounted there are named, not entered. Raises Forbidden for what cannot be entered, Unavailable for a disk that fails.
    """
    with told("looked at", folder):
        about = os.lstat(folder)
    yield ".", about
    # A folder and the names in it that are still to come, the innermost last.
    left: List[Tuple[str, Iterator[str]]] = [("", iter(_listed(folder)))]
    while left:
        above, coming = left[-1]
        name = next(coming, None)
        if name is None:
            left.pop()
            continue
        path = f"{above}{name}"
        place = os.path.join(folder, path)
        try:
            seen = os.lstat(place)
        except FileNotFoundError:
            continue
        yield path, seen
        if stat.S_ISDIR(seen.st_mode) and seen.st_dev == about.st_dev:
            left.append((f"{path}/", iter(_listed(place))))


def _listed(folder: str) -> List[str]:
    with told("listed", folder):
        try:
            return sorted(os.listdir(folder), key=os.fsencode)
        except FileNotFoundError:
            return []


def stamps(folder: str) -> Iterator[Stamp]:
    """Yield what tells whether something changes, for everything below a folder."""
    for path, about in names(folder):
        yield Stamp(path, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def entries(folder: str) -> Iterator[Entry]:
    """Yield everything below a folder, contents read. A file that changes under the reader has a digest that nothing will match, and is found by stamps."""
    first: Dict[Tuple[int, int], str] = {}
    for path, about in names(folder):
        place = os.path.join(folder, path)
        kind = _kind(about.st_mode)
        group = ""
        if kind != FOLDER and about.st_nlink > 1:
            group = first.setdefault((about.st_dev, about.st_ino), path)
        target = ""
        try:
            if kind == LINK:
                target = os.readlink(place)
            elif kind == DEVICE:
                target = f"{'block' if stat.S_ISBLK(about.st_mode) else 'character'} {os.major(about.st_rdev)}:{os.minor(about.st_rdev)}"
            digest = _digest(place) if kind == FILE else ""
            attributes = _attributes(place)
        except FileNotFoundError:
            continue
        yield Entry(
            path,
            kind,
            stat.S_IMODE(about.st_mode),
            about.st_uid,
            about.st_gid,
            about.st_size if kind == FILE else 0,
            about.st_mtime_ns,
            target,
            group,
            attributes,
            digest,
            about.st_blocks * _BLOCK if kind == FILE else 0,
        )


def _kind(mode: int) -> str:
    tests: Tuple[Tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISDIR, FOLDER),
        (stat.S_ISREG, FILE),
        (stat.S_ISLNK, LINK),
        (stat.S_ISFIFO, FIFO),
        (stat.S_ISSOCK, SOCKET),
    )
    return next((kind for test, kind in tests if test(mode)), DEVICE)


def _digest(path: str) -> str:
    """Return the SHA-256 of a file. Opened so that a FIFO that took its place meanwhile hangs nobody."""
    summed = hashlib.sha256()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError:
        raise Forbidden(f"{path} cannot be read.", "Run as root, on the server of the files: an NFS export may refuse root.", path) from None
    with told("read", path), os.fdopen(descriptor, "rb", buffering=0) as file:
        while True:
            data = file.read(_CHUNK)
            if not data:
                return summed.hexdigest()
            summed.update(data)


def _attributes(path: str) -> Dict[str, str]:
    with told("looked at", path):
        return {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in sorted(os.listxattr(path, follow_symlinks=False))}


def read_inventory(path: str) -> Iterator[Entry]:
    """Yield the entries of an inventory. Raises NotProven for a line that is none."""
    with told("read", path), open(path, "rb") as file:
        for line in file:
            yield _entry(line, path)


def _entry(line: bytes, path: str) -> Entry:
    try:
        values: List[Any] = json.loads(line)
        return Entry(*values)
    except (ValueError, TypeError):
        raise NotProven(f"{path} is torn.", "The disk or somebody changed it: do not restore from it.", path) from None


def write_inventory(folder: str, path: str, leave_out: Callable[[Entry], bool]) -> Tuple[int, int, str]:
    """Write the inventory of a folder, flushed; return how many entries it has, their bytes, and the SHA-256 of the file."""
    count, size, summed = 0, 0, hashlib.sha256()
    with told("written", path), open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        for entry in entries(folder):
            if leave_out(entry):
                continue
            line = entry.line()
            file.write(line)
            summed.update(line)
            count += 1
            size += entry.size
        file.flush()
        os.fsync(file.fileno())
    return count, size, summed.hexdigest()


def differences(expected: Iterator[Entry], found: Iterator[Entry], leave_out: Callable[[Entry], bool]) -> Iterator[Difference]:
    """Compare two inventories in their order. What may be left out is so on both sides."""
    wanted, there = _next(expected, leave_out), _next(found, leave_out)
    while wanted is not None or there is not None:
        if there is None or (wanted is not None and order(wanted.path) < order(there.path)):
            yield Difference(str(wanted.path if wanted else ""), "entry", "there", "missing")
            wanted = _next(expected, leave_out)
        elif wanted is None or order(there.path) < order(wanted.path):
            yield Difference(there.path, "entry", "missing", "there")
            there = _next(found, leave_out)
        else:
            yield from compared(wanted, there)
            wanted, there = _next(expected, leave_out), _next(found, leave_out)


def compared(wanted: Entry, there: Entry) -> Iterator[Difference]:
    """Compare two entries of one path. A file may take a little more of the disk than it did: holes are written back as holes."""
    for name, expected, found in zip(Entry._fields, wanted, there):
        if name == "allocated":
            if wanted.allocated < wanted.size and there.allocated > wanted.allocated * _SPARSE_FACTOR + _SPARSE_ROOM:
                yield Difference(wanted.path, "bytes on the disk", str(expected), str(found))
        elif expected != found:
            shown = [json.dumps(value) if isinstance(value, dict) else f"{value:04o}" if name == "mode" else str(value) for value in (expected, found)]
            yield Difference(wanted.path, name, *shown)


def _next(source: Iterator[Entry], leave_out: Callable[[Entry], bool]) -> Optional[Entry]:
    for entry in source:
        if not leave_out(entry):
            return entry
    return None


def order(path: str) -> List[bytes]:
    """Return by what paths are ordered: a folder comes before what is in it, and that before the next name beside the folder."""
    return [] if path == "." else [os.fsencode(part) for part in path.split("/")]


def changed(before: Iterator[Stamp], now: Iterator[Stamp]) -> Iterator[str]:
    """Yield the paths that came, went or changed between two rows of stamps."""
    was, there = next(before, None), next(now, None)
    while was is not None or there is not None:
        if there is None or (was is not None and order(was.path) < order(there.path)):
            yield was.path if was is not None else ""
            was = next(before, None)
        elif was is None or order(there.path) < order(was.path):
            yield there.path
            there = next(now, None)
        else:
            if was != there:
                yield was.path
            was, there = next(before, None), next(now, None)
