# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was proved, kept from run to run: for each object the state on both sides before it was read there, and what the reading said.

A record holds as long as a later listing shows both sides in the same state. Writing it is atomic: an interrupted run loses a batch, never the rest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Iterable, Iterator, List, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import SHOWN, Listing, seconds_of

DIFFERS = b"!"
_FIELDS = 8

MISSING, SIZE, CHANGED, CONTENT, UNREAD = "missing in the target", "of another size", "changed meanwhile", "of other content", "not read yet"
_TO_COPY = (MISSING, SIZE, CHANGED, CONTENT)
# Of these a copy may have been made within one tick of the target's clock, which then shows nothing.
_TO_READ = (CHANGED, CONTENT, UNREAD)
# So for these what was proved before must be forgotten before they are copied.
_LOST = (MISSING, SIZE)


@dataclass(frozen=True)
class Pair:
    """An object that is on both sides, of one size: its state there as the listings show it."""

    key: bytes
    size: bytes
    source: Tuple[bytes, bytes]
    target: Tuple[bytes, bytes]


@dataclass
class Plan:
    """What two listings and the inventory leave to do. ``doubts`` are the first few keys that are not proved, each with the reason."""

    objects: int = 0
    bytes: int = 0
    copies: int = 0
    copy_bytes: int = 0
    # Objects that the target has lost since they were proved.
    lost: int = 0
    unread: int = 0
    extra: int = 0
    extra_keys: List[str] = field(default_factory=list)
    doubts: List[str] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether every object of the source is proved to be in the target."""
        return not self.copies and not self.unread


@dataclass(frozen=True)
class Inventory:
    """The file of what was proved between one bucket and another."""

    path: str

    def begin(self, since: Optional[str], settled_seconds: float) -> None:
        """Take over what an earlier run proved, but for objects that were written shortly before they were read.

        A store may write an object again within one tick of its clock: only when the clock has surely moved on does the same time mean the same content.
        Raises Invalid when ``since`` is no file.
        """

        if since is not None and not os.path.isfile(since):
            raise Invalid(f"There is no inventory {since}.", "Give the path that an earlier move returned, or none.", "since")
        self._write(record for record in ordered.read(since or self.path) if _lasts(record, settled_seconds))

    def record(self, verdicts: str) -> None:
        """Add the records of a sorted file; they take the place of older ones with the same key."""
        merged = ordered.aligned(ordered.read(self.path), ordered.read(verdicts))
        self._write(new or old or () for _key, (old, new) in merged)

    def plan(self, source: Listing, target: Listing, copy_list: Optional[str] = None) -> Plan:
        """Compare two listings; write the keys to copy, one a line, to the file ``copy_list``."""
        plan = Plan()
        with open(copy_list or os.devnull, "wb") as keys:
            for key, mine, _theirs, reason, known in self._compared(source, target):
                if mine is None:
                    plan.extra += 1
                    if len(plan.extra_keys) < SHOWN:
                        plan.extra_keys.append(key.decode())
                    continue
                plan.objects += 1
                plan.bytes += int(mine[1])
                if not reason:
                    continue
                if len(plan.doubts) < SHOWN:
                    plan.doubts.append(f"{key.decode()} ({reason})")
                plan.lost += known is not None and reason in _LOST
                if reason in _TO_COPY:
                    plan.copies += 1
                    plan.copy_bytes += int(mine[1])
                    keys.write(key + ordered.END)
                else:
                    plan.unread += 1
        return plan

    def forget_lost(self, source: Listing, target: Listing) -> None:
        """Forget what was proved of objects that the target does not have any more, or in another size."""
        self._write(known for _key, _mine, _theirs, reason, known in self._compared(source, target) if known and reason not in _LOST)

    def unread(self, source: Listing, target: Listing) -> Iterator[Pair]:
        """Yield every object that is on both sides in one size and not known to be equal."""
        for key, mine, theirs, reason, _known in self._compared(source, target):
            if mine and theirs and reason in _TO_READ:
                yield Pair(key, mine[1], (mine[2], mine[3]), (theirs[2], theirs[3]))

    def keep_proved(self, source: Listing, target: Listing, path: str) -> None:
        """Write a file of exactly those objects of the source that are proved to be in the target, all of it or nothing."""
        records = (known for _key, mine, _theirs, reason, known in self._compared(source, target) if mine and known and not reason)
        Inventory(path)._write(records)

    def _compared(
        self, source: Listing, target: Listing
    ) -> Iterator[Tuple[bytes, Optional[ordered.Record], Optional[ordered.Record], str, Optional[ordered.Record]]]:
        sides = ordered.aligned(ordered.read(source.path), ordered.read(target.path), ordered.read(self.path))
        for key, (mine, theirs, known) in sides:
            if mine is None:
                if theirs is not None:
                    yield key, None, theirs, "", known
                continue
            yield key, mine, theirs, _reason(mine, theirs, known), known

    def _write(self, records: Iterable[ordered.Record]) -> None:
        fresh = f"{self.path}.new"
        with open(fresh, "wb") as file:
            for record in records:
                file.write(ordered.SEPARATOR.join(record) + ordered.END)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path)


def verdict_of(pair: Pair, mine: bytes, theirs: bytes, seen: float) -> ordered.Record:
    """Return the record of an object that was read on both sides, as two digests of its content; ``seen`` is when the source was listed before."""
    digest = mine if mine == theirs else DIFFERS
    return (pair.key, pair.size, *pair.source, *pair.target, digest, b"%.3f" % seen)


def _lasts(record: ordered.Record, settled_seconds: float) -> bool:
    try:
        return len(record) == _FIELDS and seconds_of(record[2].decode()) < float(record[7]) - settled_seconds
    except ValueError:
        return False  # not ours: the object is read again


def _reason(mine: ordered.Record, theirs: Optional[ordered.Record], known: Optional[ordered.Record]) -> str:
    """Return why an object is not proved; empty when it is."""
    if theirs is None:
        return MISSING
    if mine[1] != theirs[1]:
        return SIZE
    if known is None or len(known) != _FIELDS or known[4:6] != theirs[2:4]:
        return UNREAD
    if known[1:4] != mine[1:4]:
        return CHANGED
    return CONTENT if known[6] == DIFFERS else ""
