# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder comes back beside the one in use, is compared entry by entry, and takes its place by two renames when nobody works in either."""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Any, Dict, Iterator, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import free_bytes, remove_tree
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.place import Found, Place
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.restorer import API, CONTENT, USE, Outcome
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.engine import find
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.kind import compare, require_root, restore
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

ARGUMENTS: Dict[str, Any] = {
    "folders": {"type": "dict", "default": {}},
    "restic": {"type": "path"},
}
_BESIDE = 64 << 20
# Where the kernel's NFS server says what it has given to whom.
_EXPORTS = "/var/lib/nfs/etab"


class VolumesRestore:
    """Folders of a point. ``folder`` is where it has them."""

    name, swaps = "volumes", True

    def __init__(self, options: Mapping[str, Any], point: Manifest, folder: str, keys: KeyRing) -> None:
        require_root()
        there: Mapping[str, Any] = point.kinds["volumes"]["folders"]
        wanted: Dict[str, str] = {str(source): os.path.normpath(str(target)) for source, target in (options["folders"] or {one: one for one in there}).items()}
        for source, target in wanted.items():
            if source not in there:
                raise Invalid(f"The point has no folder {source}.", f"It has {', '.join(there)}.", "volumes.folders")
            if not os.path.isabs(target) or target == "/":
                raise Invalid(f"volumes.folders gives {target!r} to {source}.", "Give a whole path.", "volumes.folders")
        if len(set(wanted.values())) < len(wanted):
            raise Invalid("volumes.folders gives two folders one place.", "Give each its own.", "volumes.folders")
        self._point, self._folder, self._restic = point, folder, options["restic"] or ""
        self._kept = there
        self._places = {source: Place(target, point.identifier, keys) for source, target in wanted.items()}
        self._found: Dict[str, Found] = {}

    def look(self) -> None:
        self._found = {source: place.look(busy) for source, place in self._places.items()}

    def changes(self, swap: bool) -> List[Change]:
        changes: List[Change] = []
        for source, place in self._places.items():
            found = self._found[source]
            if not found.fresh and not found.swapped:
                before: Any = "remains of a restore that was interrupted" if found.remains else ABSENT
                changes.append(Change(Ref(API, "Restored folder", place.fresh), CONTENT, before, place.point, "it is restored to a new place, and compared"))
            if swap and not found.swapped:
                place.require_swappable(found)
                before = f"the old one, from then on {place.kept}" if found.live else ABSENT
                changes.append(Change(Ref(API, "Folder", place.live), USE, before, place.point, "this host was named, and nobody works in the folder"))
        return changes

    def restore(self, change: Change, deadline: Deadline) -> None:
        source = next(source for source, place in self._places.items() if place.fresh == change.ref.name)
        place, kept, engine = self._places[source], self._kept[source], find(self._restic)
        above = os.path.dirname(place.live)
        needed = int(kept["bytes"]) + _BESIDE
        if free_bytes(above) < needed:
            raise Refused(f"{above} has no {needed >> 20} MiB free.", "Make room there: the old data stay, too.", place.live)
        unproved = f"{place.fresh}.unproved"
        with place.alone(), contextlib.ExitStack() as ends:
            place.clear(self._found[source])
            remove_tree(unproved)
            ends.callback(remove_tree, unproved)
            begun = time.monotonic()
            restore(engine, self._folder, source, kept, unproved, deadline)
            seconds = time.monotonic() - begun
            proof = Proof(tuple(compare(self._folder, source, kept, unproved)))
            if proof.verdict != PASS:
                raise NotProven(
                    f"What was restored is not what the point holds: {proof}.", "Look at this disk and at what its file system can keep.", place.fresh
                )
            place.publish(unproved, proof, seconds)

    def swap(self, change: Change) -> None:
        next(place for place in self._places.values() if place.live == change.ref.name).swap(busy)

    def outcome(self) -> Outcome:
        records = [found.record for found in self._found.values() if found.record and (found.fresh or found.swapped)]
        whole = len(records) == len(self._places)
        swapped = all(found.swapped for found in self._found.values())
        todo = ["Export the folders again (exportfs -ra), mount them anew where they were mounted, and start who uses them."]
        if not swapped:
            todo.insert(0, "Stop who uses the folders, take their exports back (exportfs -u), then run again with state=swapped; or use the new folders.")
        return Outcome(
            tuple(place.live if self._found[source].swapped else place.fresh for source, place in self._places.items()),
            Proof(tuple(check for record in records for check in record.proof().checks)) if whole else Proof(),
            sum(record.seconds for record in records),
            swapped,
            ", ".join(place.kept for source, place in self._places.items() if self._found[source].kept),
            tuple(todo),
        )


def busy(folder: str) -> str:
    """Say who works in a folder: a process with its folder or a file there, or the kernel's NFS server; nothing when nobody does."""
    real = os.path.realpath(folder)
    for process in _processes():
        for name in ("cwd", "root"):
            if _below(_pointed(f"/proc/{process}/{name}"), real):
                return f"process {process} stands in it"
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{process}/fd"):
                if _below(_pointed(f"/proc/{process}/fd/{number}"), real):
                    return f"process {process} has a file in it open"
    with contextlib.suppress(OSError), open(_EXPORTS, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            export = line.split(None, 1)[0] if line.strip() else ""
            if export and (_below(export, real) or _below(real, export)):
                return f"it is exported by NFS as {export}"
    return _mounted(real)


def _mounted(folder: str) -> str:
    """Say where a folder, or one below it, is mounted once more: here, or in the mount namespace of a container."""
    own = _mounts("self")
    around = max((mount for mount in own if _below(folder, mount[2])), key=lambda mount: len(mount[2]), default=None)
    if around is None:
        return ""
    device, root, point = around
    inside = os.path.normpath(f"{root.rstrip('/')}/{os.path.relpath(folder, point)}")
    namespaces = {_pointed(f"/proc/{process}/ns/mnt"): process for process in [*_processes(), "self"]}
    for process in namespaces.values():
        for other, path, where in _mounts(process):
            if (other == device and _below(path, inside)) or (process == "self" and _below(where, folder)):
                return f"{path} is mounted at {where} of process {process}"
    return ""


def _mounts(process: str) -> List[Tuple[str, str, str]]:
    """Return device, path in the file system, and mount point of what a process sees mounted."""
    found: List[Tuple[str, str, str]] = []
    with contextlib.suppress(OSError), open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            found.append((fields[2], _unescaped(fields[3]), _unescaped(fields[4])))
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), text)


def _processes() -> Iterator[str]:
    yield from (name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())


def _pointed(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")
