# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where something of a host is restored to: a new folder beside the one in use, proved there, then put in its place by two renames that keep the old one."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import move, remove_tree, told, write_file
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.restorer import API, CONTENT, USE, Outcome
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Ref

# Says who works in a folder now, or nothing.
Busy = Callable[[str], str]


@dataclass(frozen=True)
class Record:
    """What was restored and proved: the point, the folder by its number in the file system, the checks, and the seconds until it could be used."""

    point: str
    inode: int
    checks: Tuple[Dict[str, str], ...]
    seconds: float

    def proof(self) -> Proof:
        return Proof(tuple(Check(one["what"], one["expected"], one["observed"], one["verdict"]) for one in self.checks))


@dataclass(frozen=True)
class Found:
    """What is there: the proved folder (``fresh``) or the remains of a restore (``remains``), what is in use (``live``), and the old one (``kept``).

    ``swapped`` means that what is in use is what was restored. ``busy`` says of the folder in use before a swap, and of the new one, who works there.
    """

    record: Optional[Record]
    fresh: bool
    remains: bool
    live: bool
    kept: bool
    swapped: bool
    busy: Mapping[str, str]


@dataclass(frozen=True)
class Place:
    """One folder of this host and its restore from one point. ``live`` is the folder that is, or will be, in use."""

    live: str
    point: str
    keys: KeyRing

    @property
    def fresh(self) -> str:
        return f"{self.live}.restored-{self.point}"

    @property
    def kept(self) -> str:
        return f"{self.live}.before-{self.point}"

    @property
    def _record(self) -> str:
        return f"{self.fresh}.proof"

    def look(self, busy: Busy) -> Found:
        """See how far a restore is. Raises Refused for a folder that cannot be swapped by renames."""
        if os.path.islink(self.live) or os.path.ismount(self.live):
            what = "a link" if os.path.islink(self.live) else "a file system of its own"
            raise Refused(
                f"{self.live} is {what}, which no rename can swap.", "Name the folder itself, or another one beside it, and point its user there.", self.live
            )
        above = os.path.dirname(self.live)
        if not os.path.isdir(above):
            raise Invalid(f"{above} is not there.", "Make it first: it belongs to whoever runs this host.", self.live)
        record = self._read()
        fresh, live = os.path.lexists(self.fresh), os.path.isdir(self.live)
        proved = fresh and record is not None and _inode(self.fresh) == record.inode
        swapped = live and record is not None and _inode(self.live) == record.inode
        looked = [self.live] * (live and not swapped) + [self.fresh] * fresh
        workers = {folder: worker for folder, worker in ((folder, busy(folder)) for folder in looked) if worker}
        return Found(record, proved, fresh and not proved, live, os.path.lexists(self.kept), swapped, workers)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other restores out of the folder above, however we end. Raises Conflict when one is at work."""
        above = os.path.dirname(self.live)
        with told("opened", above):
            descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"Another restore works in {above}.", "Let it end.", above) from None
            yield
        finally:
            os.close(descriptor)

    def clear(self, found: Found) -> None:
        """Remove what an interrupted restore left of the new folder. Raises Refused when somebody uses it."""
        if self.fresh in found.busy:
            raise Refused(f"{self.fresh} is in use: {found.busy[self.fresh]}.", "It was never proved: find out who started that.", self.fresh)
        remove_tree(self.fresh)

    def publish(self, folder: str, proof: Proof, seconds: float) -> None:
        """Give a proved folder its name, and note what was proved."""
        record = Record(self.point, _inode(folder), tuple(proof.as_data()["checks"]), seconds)
        body = json.dumps(asdict(record), sort_keys=True).encode("utf-8") + b"\n"
        unnamed = f"{self._record}.new"
        with told("removed", unnamed):
            if os.path.lexists(unnamed):
                os.unlink(unnamed)
        write_file(unnamed, self.keys.current.sign(body))
        # The folder first: a record without a folder counts for nothing, and a folder without a record is made anew.
        move(folder, self.fresh)
        move(unnamed, self._record)

    def swap(self, busy: Busy) -> None:
        """Put the proved folder in the place of the one in use, which is kept under another name. Raises Refused."""
        with self.alone():
            found = self.look(busy)
            self.require_swappable(found)
            if found.live:
                move(self.live, self.kept)
            move(self.fresh, self.live)

    def require_swappable(self, found: Found) -> None:
        """Raises Refused for a folder that somebody works in, and for old data that would be lost."""
        for folder, worker in found.busy.items():
            raise Refused(f"{folder} is in use: {worker}.", "Stop it first, on every member: nothing that is live is ever swapped.", folder)
        if found.live and found.kept:
            raise Refused(f"{self.kept} is there already.", "It is what was in use before: look at it, and move it away yourself.", self.kept)

    def _read(self) -> Optional[Record]:
        try:
            with open(self._record, "rb") as file:
                data: Any = json.loads(self.keys.opened(file.read(), self._record))
            record = Record(str(data["point"]), int(data["inode"]), tuple(dict(one) for one in data["checks"]), float(data["seconds"]))
        except FileNotFoundError:
            return None
        except (Failure, OSError, KeyError, TypeError, ValueError):
            # Whoever wrote that, it proves nothing.
            return None
        return record if record.point == self.point else None


def changes_of(place: Place, found: Found, title: str, why: str, swap: bool) -> List[Change]:
    """Return what is still to be done for a folder whose new one is called ``title``. Raises Refused when it may not be swapped."""
    changes: List[Change] = []
    if not found.fresh and not found.swapped:
        before: Any = "remains of a restore that was interrupted" if found.remains else ABSENT
        changes.append(Change(Ref(API, title, place.fresh), CONTENT, before, place.point, why))
    if swap and not found.swapped:
        place.require_swappable(found)
        before = f"the old one, from then on {place.kept}" if found.live else ABSENT
        changes.append(Change(Ref(API, "Data folder", place.live), USE, before, place.point, "this host was named, and nobody works in the folder"))
    return changes


def outcome_of(place: Place, found: Found, todo: Sequence[str]) -> Outcome:
    """Return how far a folder is, and what is then to be done by hand."""
    record = found.record if found.fresh or found.swapped else None
    return Outcome(
        (place.live if found.swapped else place.fresh,),
        record.proof() if record else Proof(),
        record.seconds if record else 0.0,
        found.swapped,
        place.kept if found.kept else "",
        tuple(todo),
    )


def _inode(path: str) -> int:
    with told("looked at", path):
        return os.lstat(path).st_ino


def identity() -> str:
    """Return by which name this host knows itself; whoever swaps has to type it."""
    return socket.gethostname()


def require_confirmation(given: str, what: str) -> None:
    """Raises Refused unless the identity of this very host was typed."""
    if given != identity():
        said = f"confirm is {given!r}" if given else "confirm is missing"
        raise Refused(f"{said}, and this host is {identity()!r}.", f"Give its name when {what} is to be put in use here; without that nothing is.", "confirm")
