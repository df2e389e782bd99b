# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind buckets: every object of the platform's buckets in the cluster, by content. Only what has changed since the last point is read from the store."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any, Callable, Dict, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.fetch import Bucket, Fetched
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.pack import INVENTORY, Packs, read_inventory
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.source import Source
from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import free_bytes
from ansible_collections.paas.hardening.plugins.module_utils._backup.kind import Clock, Scratch, Taken
from ansible_collections.paas.hardening.plugins.module_utils._backup.needs import secrets_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.site import Site
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotFound, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import peek
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine, find
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

ARGUMENTS: Dict[str, Any] = {
    "rclone": {"type": "path"},
    "timeout": {"type": "int", "default": 7200},
}
# What rclone's listing does not carry.
_LEFT_OUT = "older versions, tags, locks and policies"
# Bytes that have to be free for lists and a first batch.
_BESIDE = 64 << 20

# Returns the folder of this kind in the newest point of the same store, or nothing.
Earlier = Callable[[str], str]


class Buckets:
    """The buckets at work. ``options`` are those of ARGUMENTS, as checked by Ansible."""

    name = "buckets"

    def __init__(self, options: Mapping[str, Any], site: Site, earlier: Earlier) -> None:
        self._options = options
        self._site = site
        self._earlier = earlier
        if options["timeout"] < 1:
            raise Invalid(f"buckets.timeout is {options['timeout']}.", "Give seconds, 1 or more.", "buckets.timeout")

    def look(self, repository: str) -> None:
        """See that the store in use is the one in the cluster, and that its buckets can be listed. Writes nothing."""
        engine, source = find(self._options["rclone"]), Source(self._site)
        source.check_in_use()
        self._site.require_way_in()
        with source.opened() as store:
            _there(engine, store, source)
        if free_bytes(repository) < _BESIDE:
            raise Refused(f"{repository} has no {_BESIDE >> 20} MiB free.", "Make room, or give another folder.", "repository")

    def take(self, folder: str, scratch: Scratch) -> Taken:
        deadline = Deadline(self._options["timeout"])
        steps: Dict[str, float] = {}
        clock = Clock(steps)
        engine, source = find(self._options["rclone"]), Source(self._site)
        source.check_in_use()
        before = self._earlier(source.name)
        fetched: Dict[str, Fetched] = {}
        instant = time.time()
        with source.opened() as store:
            there, missing = _there(engine, store, source)
            clock.done("look")
            for role, bucket in there.items():
                place = os.path.join(folder, role)
                os.mkdir(place, 0o700)
                with scratch() as working:
                    fetched[role] = Bucket(engine, store, bucket, place, working, os.path.join(before, role) if before else "", deadline).run()
            clock.done("fetch")
        begun = time.monotonic()
        checks: List[Check] = []
        about: Dict[str, Any] = {}
        for role, entry in fetched.items():
            held, digest = proved(os.path.join(folder, role))
            # The listing, not the inventory, says how many there have to be; but those that were deleted before they could be read.
            wanted = entry.listing.objects - entry.vanished
            checks.append(Check.equal(f"objects of {there[role]} whose bytes in the point are those that were read", wanted, held))
            about[role] = {
                "bucket": there[role],
                "objects": entry.objects,
                "bytes": entry.bytes,
                "deleted_meanwhile": entry.vanished,
                "content": digest,
                "fetched_objects": entry.fetched_objects,
                "fetched_bytes": entry.fetched_bytes,
                "passes": entry.passes,
            }
        restored_in = time.monotonic() - begun
        clock.done("prove")
        proof = Proof(tuple(checks))
        if proof.verdict != PASS:
            raise NotProven(f"The point does not hold what the store does: {proof}.", "The point is not published; look at the disk.", "buckets")
        return Taken(
            about={"store": source.name, "buckets": about, "not_there": missing, "left_out": _LEFT_OUT},
            tools={"rclone": ".".join(map(str, engine.version))},
            instant=min([instant, *(entry.listing.begun for entry in fetched.values())]),
            proof=proof,
            restored_in=restored_in,
            steps=steps,
            needs=(secrets_of(self._site.namespace),),
        )


def proved(folder: str) -> Tuple[int, str]:
    """Read every object of a bucket's files back; return how many are what they should be, and one number for keys and contents of those."""
    held, summed = 0, hashlib.sha256()
    with Packs(folder) as packs:
        for kept in read_inventory(os.path.join(folder, INVENTORY)):
            if packs.holds(kept):
                held += 1
                summed.update(kept.key + b"\0" + kept.digest.encode("ascii") + b"\n")
    return held, summed.hexdigest()


def _there(engine: Engine, store: Store, source: Source) -> Tuple[Dict[str, str], List[str]]:
    """Return the buckets that the store has, by role, and the names of those that it has not. Raises NotFound when it has none."""
    there: Dict[str, str] = {}
    missing: List[str] = []
    for role, bucket in source.buckets().items():
        try:
            peek(engine, store, bucket, 1)
            there[role] = bucket
        except NotFound:
            missing.append(bucket)
    if not there:
        raise NotFound(f"{source.name} has none of the platform's buckets.", "Has the platform ever started?", source.name)
    return there, missing
