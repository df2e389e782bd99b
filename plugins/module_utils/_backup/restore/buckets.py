# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets come back in new buckets of a store that is named: each object out of the point's packs, and then read from there and held against its SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from typing import Any, Dict, Iterator, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.pack import INVENTORY, Packs, read_inventory
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.batches import Batches
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.restorer import API, CONTENT, Outcome
from ansible_collections.paas.hardening.plugins.module_utils._backup.store_keys import read_store_keys
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotFound, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import counted, so_far
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.scratch import private_folder
from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.access import check_access
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import list_bucket
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine, find
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

ARGUMENTS: Dict[str, Any] = {
    "endpoint": {"type": "str"},
    "region": {"type": "str", "default": "us-east-1"},
    "keys_file": {"type": "path", "no_log": False},
    "ca_file": {"type": "path"},
    "names": {"type": "dict", "default": {}},
    "rclone": {"type": "path"},
    "scratch_folder": {"type": "path", "default": "/var/tmp"},
}
_REMOTE = "store"
_PARALLEL = 8
_LINE = re.compile(rb"([0-9a-f]{64})  (.+)")
_PARTLY = "a part of it"
_SWITCH = (
    "Nothing uses these buckets yet: name them, and the store, to the platform (role object_storage). Types of content, older versions, tags and policies"
    " are not in a point: set again what the platform's buckets had of them."
)


class BucketsRestore:
    """The buckets of a point. ``folder`` is where it has them."""

    name, swaps = "buckets", False

    def __init__(self, options: Mapping[str, Any], point: Manifest, folder: str) -> None:
        if not options["endpoint"]:
            raise Invalid("buckets.endpoint is missing.", "Give the URL of the store, and keys that may make buckets there.", "buckets.endpoint")
        keys = read_store_keys(options["keys_file"] or "", "buckets.keys_file")
        self._store = Store("s3", options["endpoint"], options["region"], *keys, ca_file=options["ca_file"] or "")
        self._about: Mapping[str, Any] = point.kinds["buckets"]["buckets"]
        strangers = sorted(set(options["names"]) - set(self._about))
        if strangers:
            raise Invalid(f"The point has no bucket of {strangers[0]}.", f"It has {', '.join(sorted(self._about))}.", "buckets.names")
        self._into = {role: str(options["names"].get(role) or f"{about['bucket']}-{point.sequence:08d}") for role, about in self._about.items()}
        if len(set(self._into.values())) < len(self._into):
            raise Invalid("buckets.names gives two buckets one name.", "Give each its own.", "buckets.names")
        for bucket in self._into.values():
            self._store.check_bucket(bucket, "buckets.names")
        self._point, self._folder = point, folder
        self._rclone, self._scratch = options["rclone"], options["scratch_folder"]
        self._states: Dict[str, str] = {}
        self._checks: Dict[str, Tuple[Check, ...]] = {}
        self._seconds: Dict[str, float] = {}

    def look(self) -> None:
        """See how far each bucket is: not there, a part, or all of it by content. Raises Refused for one that holds something else: it may be live."""
        engine = find(self._rclone)
        with self._working() as work:
            for role, bucket in self._into.items():
                self._states[role] = self._state(engine, role, bucket, work)

    @contextlib.contextmanager
    def _working(self) -> Iterator[str]:
        with private_folder(self._scratch, f"buckets of {self._point.identifier} to {self._store.name}") as above:
            # Entered by nobody else: what lies in it for a while are the platform's objects.
            work = os.path.join(above, "work")
            os.mkdir(work, 0o700)
            yield work

    def _inventory(self, role: str) -> str:
        return os.path.join(self._folder, role, INVENTORY)

    def _state(self, engine: Engine, role: str, bucket: str, work: str) -> str:
        if self._states.get(role) == self._point.identifier:
            return self._point.identifier
        try:
            listing = list_bucket(engine, self._store, bucket, work, f"listing-{role}")
        except NotFound:
            return ""
        whole = True
        for key, (mine, theirs) in ordered.aligned(_records(self._inventory(role)), ordered.read(listing.path)):
            if mine is None:
                raise Refused(
                    f"The bucket {bucket} at {self._store.name} is not empty: it holds {key.decode('utf-8', 'replace')!r}.",
                    "A restore goes to a new place: give another name in buckets.names.",
                    "buckets.names",
                )
            whole = whole and theirs is not None and theirs[1] == mine[1]
        if listing.odd:
            raise Refused(f"The bucket {bucket} holds keys that are not of a point.", "Give another name in buckets.names.", "buckets.names")
        if whole and self._compared(engine, role, bucket, Deadline(3600)):
            return self._point.identifier
        return _PARTLY

    def changes(self, swap: bool) -> List[Change]:
        changes: List[Change] = []
        for role, bucket in self._into.items():
            if self._states.get(role) != self._point.identifier:
                before: Any = self._states.get(role) or ABSENT
                why = f"{self._about[role]['bucket']} is restored to a new bucket, and each object compared there"
                changes.append(Change(Ref(API, "Bucket", bucket, self._store.name), CONTENT, before, self._point.identifier, why))
        return changes

    def restore(self, change: Change, deadline: Deadline) -> None:
        role = next(role for role, bucket in self._into.items() if bucket == change.ref.name)
        engine, bucket, begun = find(self._rclone), self._into[role], time.monotonic()
        check_access(engine, self._store, bucket, create=True)
        with self._working() as work, Packs(os.path.join(self._folder, role)) as packs:
            batches, place = Batches(packs, read_inventory(self._inventory(role))), os.path.join(work, "objects")
            sent, objects = 0, int(self._about[role]["objects"])
            for count in iter(lambda: batches.lay_out(place), 0):
                self._upload(engine, bucket, place, deadline)
                sent += count
                counted(f"objects in the bucket {bucket}", sent, objects)
        so_far(f"the bucket {bucket} is read, and compared")
        if not self._compared(engine, role, bucket, deadline):
            wrong = "; ".join(f"{check.what}: {check.observed}, not {check.expected}" for check in self._checks[role] if check.verdict != PASS)
            raise NotProven(f"The bucket {bucket} is not what the point holds: {wrong}.", "Do not use it: run again, and look at the store.", bucket)
        self._states[role], self._seconds[role] = self._point.identifier, time.monotonic() - begun

    def _upload(self, engine: Engine, bucket: str, place: str, deadline: Deadline) -> None:
        words = ["copy", place, f"{_REMOTE}:{bucket}", f"--transfers={_PARALLEL}", f"--checkers={_PARALLEL}", "--ignore-times"]
        engine.run(words, {_REMOTE: self._store}, seconds=max(deadline.left, 1.0))

    def _compared(self, engine: Engine, role: str, bucket: str, deadline: Deadline) -> bool:
        """Read every object of a bucket from the store, and compare. The bytes, not what the store says of them."""
        about = self._about[role]
        with self._working_beside(role) as work:
            path = os.path.join(work, "digests")
            sorter = ordered.Sorter(path)

            def take(line: bytes) -> None:
                found = _LINE.fullmatch(line)
                if found:
                    sorter.add(found.group(2), found.group(1))

            words = ["hashsum", "sha256", f"{_REMOTE}:{bucket}", "--download", f"--checkers={_PARALLEL}", f"--transfers={_PARALLEL}"]
            engine.run(words, {_REMOTE: self._store}, take, seconds=max(deadline.left, 1.0))
            sorter.finish()
            held, strangers, summed = 0, 0, hashlib.sha256()
            for key, (mine, theirs) in ordered.aligned(_records(self._inventory(role)), ordered.read(path)):
                strangers += mine is None
                if mine is not None and theirs is not None and mine[2] == theirs[1]:
                    held += 1
                    summed.update(key + b"\0" + theirs[1] + b"\n")
        self._checks[role] = (
            Check.equal(f"objects of {bucket} that have their SHA-256 in the store", str(about["objects"]), str(held)),
            Check.equal(f"SHA-256 over keys and contents of {bucket}", str(about["content"]), summed.hexdigest()),
            Check.equal(f"objects of {bucket} that are not in the point", "0", str(strangers)),
        )
        return all(check.verdict == PASS for check in self._checks[role])

    @contextlib.contextmanager
    def _working_beside(self, role: str) -> Iterator[str]:
        with private_folder(self._scratch, f"digests of {role} of {self._point.identifier} at {self._store.name}") as above:
            yield above

    def swap(self, change: Change) -> None:
        """Nothing is: whoever uses a bucket has to be told."""

    def outcome(self) -> Outcome:
        whole = all(self._states.get(role) == self._point.identifier for role in self._into)
        return Outcome(
            tuple(f"{bucket} at {self._store.name}" for bucket in self._into.values()),
            Proof(tuple(check for checks in self._checks.values() for check in checks)) if whole else Proof(),
            sum(self._seconds.values()),
            False,
            "",
            (_SWITCH,),
        )


def _records(inventory: str) -> Iterator[ordered.Record]:
    """Yield key, size and digest of what a point has, in the order of the keys."""
    for kept in read_inventory(inventory):
        yield (kept.key, str(kept.size).encode(), kept.digest.encode())
