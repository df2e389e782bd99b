# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind volumes: folders of this host, such as what an NFS server exports, kept by restic, restored, and compared entry by entry with what was there."""

from __future__ import annotations

import fnmatch
import json
import os
import socket
import time
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, Sequence, Set, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import FOLDER_MODE, digest_of, free_bytes, told, write_file
from ansible_collections.paas.hardening.plugins.module_utils._backup.kind import Clock, Scratch, Taken
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes import walk
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.engine import Engine, find
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.walk import SILLY, SOCKET, Entry, Stamp
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import so_far
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

STORE = "restic"
ARGUMENTS: Dict[str, Any] = {
    "folders": {"type": "list", "elements": "path", "default": []},
    "changing": {"type": "list", "elements": "str", "default": []},
    "databases": {"type": "list", "elements": "path", "default": []},
    "restic": {"type": "path"},
    "timeout": {"type": "int", "default": 7200},
}
_LEFT_OUT = "sockets, and what NFS keeps of deleted files that are open (.nfs*)"
# What a database that is at work has in its folder: a copy of it is none that can be started for sure.
_DATABASES = ("PG_VERSION", "ibdata1", "WiredTiger", "appendonlydir", "appendonly.aof", "node.lock", "*.mv.db")
_SHOWN = 5
_BESIDE = 64 << 20

# Returns the folder of this kind in the newest point of the same host and folders, or nothing.
Earlier = Callable[[str, Sequence[str]], str]


def host() -> str:
    """Return whose folders they are."""
    return socket.gethostname()


class Volumes:
    """The folders at work. ``options`` are those of ARGUMENTS, as checked by Ansible."""

    name = "volumes"

    def __init__(self, options: Mapping[str, Any], earlier: Earlier) -> None:
        self._options = options
        self._earlier = earlier
        self._folders: List[str] = [os.path.normpath(folder) for folder in options["folders"]]
        if options["timeout"] < 1:
            raise Invalid(f"volumes.timeout is {options['timeout']}.", "Give seconds, 1 or more.", "volumes.timeout")
        if not self._folders:
            raise Invalid("volumes.folders is empty.", "Name the folders, for example /srv/nfs.", "volumes.folders")
        for folder in self._folders:
            if not os.path.isabs(folder) or folder == "/" or any(ord(letter) < 32 for letter in folder):
                raise Invalid(f"volumes.folders has {folder!r}.", "Give whole paths of folders.", "volumes.folders")
            if any(other != folder and f"{folder}/".startswith(f"{other}/") for other in self._folders) or self._folders.count(folder) > 1:
                raise Invalid(f"{folder} is in volumes.folders twice.", "It lies in another one: name only that.", "volumes.folders")

    def look(self, repository: str) -> None:
        """See that all of it may be read, holds no database that nobody named, and fits. Writes nothing. Raises Refused, Forbidden, Invalid."""
        find(self._options["restic"] or "")
        require_root()
        place = f"{os.path.realpath(repository)}/"
        size = 0
        for folder in self._folders:
            if not os.path.isdir(folder) or os.path.islink(folder):
                raise Invalid(f"{folder} is no folder.", "Name the folder itself.", "volumes.folders")
            if place.startswith(f"{os.path.realpath(folder)}/"):
                raise Refused(f"The repository lies in {folder}.", "Each point would hold the ones before it: give another place.", "repository")
            size += self._judged(folder)
        needed = 2 * size + _BESIDE
        free = free_bytes(repository)
        if free < needed:
            raise Refused(f"{repository} has {free >> 20} MiB free; the folders and their proof take {needed >> 20} MiB.", "Make room there.", "repository")

    def _judged(self, folder: str) -> int:
        """Return the bytes that a folder takes on the disk. Raises Refused for a database in it."""
        known = {os.path.normpath(path) for path in self._options["databases"]}
        size = 0
        for path, about in walk.names(folder):
            size += about.st_blocks * 512
            name = path.rpartition("/")[2]
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in _DATABASES) or path.endswith("member/snap/db"):
                place = os.path.normpath(os.path.join(folder, path))
                if not any(f"{place}/".startswith(f"{one}/") for one in known):
                    raise Refused(
                        f"{place} is of a database, and a copy of its files while it runs is no backup.",
                        "Dump it instead, and leave it out; or name its folder in volumes.databases, when it stands still during the copy.",
                        "volumes.databases",
                    )
        return size

    def take(self, folder: str, scratch: Scratch) -> Taken:
        deadline = Deadline(self._options["timeout"])
        steps: Dict[str, float] = {}
        clock = Clock(steps)
        engine = find(self._options["restic"] or "")
        self.look(folder)
        store = os.path.join(folder, STORE)
        earlier = self._earlier(host(), self._folders)
        before = engine.prepare(store, os.path.join(earlier, STORE) if earlier else "", deadline)
        clock.done("look")
        instant = time.time()
        about: Dict[str, Dict[str, Any]] = {}
        for number, source in enumerate(self._folders):
            so_far(f"the folder {source} is kept")
            with scratch() as place:
                about[source] = self._kept(engine, store, source, folder, number, place, deadline)
        clock.done("keep")
        engine.forget(store, before, deadline)
        clock.done("forget")
        begun = time.monotonic()
        checks: List[Check] = []
        with scratch() as place:
            for source, kept in about.items():
                so_far(f"the folder {source} is restored, and compared")
                target = os.path.join(place, str(kept["number"]))
                restore(engine, folder, source, kept, target, deadline)
                checks += compare(folder, source, kept, target)
        seconds = time.monotonic() - begun
        clock.done("prove")
        proof = Proof(tuple(checks))
        if proof.verdict != PASS:
            raise NotProven(f"What was restored is not what was there: {proof}.", "The point is not published; look at the disks.", "volumes")
        tools = {"restic": ".".join(map(str, engine.version))}
        return Taken({"host": host(), "folders": about, "left_out": _LEFT_OUT}, tools, instant, proof, seconds, steps)

    def _kept(self, engine: Engine, store: str, source: str, folder: str, number: int, place: str, deadline: Deadline) -> Dict[str, Any]:
        """Keep one folder, and say what it held. Raises Refused when something changed meanwhile that was not named as changing."""
        noted = os.path.join(place, "stamps")
        with told("written", noted), open(noted, "w", encoding="ascii") as file:
            file.writelines(f"{json.dumps(stamp)}\n" for stamp in walk.stamps(source))
        count, size, digest = walk.write_inventory(source, os.path.join(folder, f"{number}.inventory"), left_out)
        snapshot, added = engine.keep(store, source, deadline)
        with told("read", noted), open(noted, encoding="ascii") as file:
            moving = list(walk.changed((Stamp(*json.loads(line)) for line in file), walk.stamps(source)))
        stray = unexpected(moving, self._options["changing"])
        if stray:
            more = f" and {len(stray) - _SHOWN} more" if len(stray) > _SHOWN else ""
            raise Refused(
                f"{source} changed while it was read: {', '.join(stray[:_SHOWN])}{more}.",
                "Let its writers stand still, name a snapshot of its file system instead, or name in volumes.changing what need not be whole.",
                "volumes.changing",
            )
        write_file(os.path.join(folder, f"{number}.moving"), json.dumps(moving).encode("ascii") + b"\n")
        return {"number": number, "snapshot": snapshot, "entries": count, "bytes": size, "content": digest, "moving": len(moving), "added_bytes": added}


def require_root() -> None:
    """Raises Forbidden for who could neither read nor give back what belongs to others: restic would not say so."""
    if os.geteuid() != 0:
        raise Forbidden("Only root can keep and restore files with their owners.", "Run the task with become.", "volumes")


def left_out(entry: Entry) -> bool:
    """Tell what is in no inventory."""
    return entry.kind == SOCKET or entry.path.rpartition("/")[2].startswith(SILLY)


def unexpected(moving: Sequence[str], patterns: Sequence[str]) -> List[str]:
    """Return what changed though nobody said that it may: a folder may when something in it may. Pure."""
    allowed: Set[str] = {path for path in moving if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)}
    above = {path.rpartition("/")[0] or "." for path in allowed}
    return [path for path in moving if path not in allowed and path not in above and not path.rpartition("/")[2].startswith(SILLY)]


def restore(engine: Engine, folder: str, source: str, kept: Mapping[str, Any], target: str, deadline: Deadline) -> None:
    """Restore what a point keeps of a folder into a new one, with the mode, owner, attributes and times of the folder itself."""
    whole = next(walk.read_inventory(os.path.join(folder, f"{kept['number']}.inventory")))
    with told("made", target):
        os.mkdir(target, FOLDER_MODE)
    engine.restore(os.path.join(folder, STORE), str(kept["snapshot"]), source, target, deadline)
    with told("set up", target):
        os.chown(target, whole.user, whole.owners)
        os.chmod(target, whole.mode)
        for name, value in whole.attributes.items():
            os.setxattr(target, name, bytes.fromhex(value))
        os.utime(target, ns=(whole.modified, whole.modified))


def compare(folder: str, source: str, kept: Mapping[str, Any], target: str) -> List[Check]:
    """Hold a restored folder against the inventory in the point. What moved when it was taken is looked at by nobody."""
    path = os.path.join(folder, f"{kept['number']}.inventory")
    with told("read", folder), open(os.path.join(folder, f"{kept['number']}.moving"), "rb") as file:
        moving: FrozenSet[str] = frozenset(json.load(file))

    def skipped(entry: Entry) -> bool:
        return entry.path in moving or left_out(entry)

    found: List[str] = []
    count, differing = [0], 0
    for difference in walk.differences(_counted(walk.read_inventory(path), count), walk.entries(target), skipped):
        differing += 1
        found = [*found, str(difference)][:_SHOWN]
    return [
        Check.equal(f"entries of {source} in the inventory", str(kept["entries"]), str(count[0])),
        Check.equal(f"SHA-256 of the inventory of {source}", str(kept["content"]), digest_of(path)),
        Check.equal(f"entries of {source} that are not compared, since they were written at", str(kept["moving"]), str(len(moving))),
        Check(f"differences between {source} and what was restored", "none", "; ".join(found) or "none", PASS if not differing else FAIL),
    ]


def _counted(entries: Iterator[Entry], count: List[int]) -> Iterator[Entry]:
    for entry in entries:
        count[0] += 1
        yield entry


def folders_of(about: Mapping[str, Any]) -> Tuple[str, ...]:
    """Return the folders that a point has."""
    return tuple(about["folders"])
