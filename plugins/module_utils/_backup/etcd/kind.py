# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind etcd: a snapshot of one healthy member, restored, started and compared with what was live at that revision."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, Mapping, Optional

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import free_bytes
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.member import Access, Member, Status, troubles_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import Programs, check_server, find, text
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.proof import Expected, prove
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.snapshot import bump_for, read_snapshot, revision_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.kind import Clock, Scratch, Taken
from ansible_collections.paas.hardening.plugins.module_utils._backup.needs import encryption_key
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import so_far
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

FILE = "snapshot.db"
ARGUMENTS: Dict[str, Any] = {
    "endpoints": {"type": "list", "elements": "str", "default": ["https://127.0.0.1:2379"]},
    "ca_file": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "programs": {"type": "path"},
    "timeout": {"type": "int", "default": 600},
}
# Bytes that a restored etcd takes beside its database: it lays its log out in advance.
_BESIDE = 256 << 20
# How often members are asked for their hashes until they have compacted alike, and the seconds between.
_TRIES, _PAUSE = 5, 1.0


class Etcd:
    """etcd at work. ``options`` are those of ARGUMENTS, as checked by Ansible."""

    name = "etcd"

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._folder = options["programs"]
        self._timeout = options["timeout"]
        if self._timeout < 1:
            raise Invalid(f"etcd.timeout is {self._timeout}.", "Give seconds, 1 or more.", "etcd.timeout")
        self._access = Access(tuple(options["endpoints"]), options["ca_file"] or "", options["client_cert"] or "", options["client_key"] or "")
        self._found: Optional[Programs] = None

    def look(self, repository: str) -> None:
        """Ask every member how it is, and whether there is room. Raises Refused for a member in trouble, a version that cannot be trusted, a full disk."""
        deadline = Deadline(self._timeout)
        self._check(self._programs(deadline), self._statuses(deadline), repository)

    def take(self, folder: str, scratch: Scratch) -> Taken:
        deadline = Deadline(self._timeout)
        steps: Dict[str, float] = {}
        clock = Clock(steps)
        programs, statuses = self._programs(deadline), self._statuses(deadline)
        self._check(programs, statuses, folder)
        member = self._members(deadline)[self._access.endpoints[0]]
        self._agree(statuses, deadline)
        clock.done("look")
        instant = time.time()
        agreed = member.agreed_revision(deadline)
        path = os.path.join(folder, FILE)
        so_far("the snapshot of etcd is saved")
        member.save(path, deadline)
        snapshot = read_snapshot(path)
        revision = revision_of(programs, snapshot, deadline)
        if revision < agreed:
            raise NotProven(
                f"The snapshot of {member.endpoint} ends at revision {revision}, but {agreed} was acknowledged before it was taken.",
                "The member lags behind: name another one first in etcd.endpoints.",
                "etcd",
            )
        clock.done("save")
        so_far("the snapshot of etcd is restored, and every key compared")

        def live() -> Expected:
            return Expected(member.content(deadline, revision), revision, member.agreed_revision(deadline))

        with scratch() as place:
            proved = prove(programs, snapshot, live, bump_for(time.time() - instant), place, deadline)
        clock.done("prove")
        if proved.proof.verdict != PASS:
            raise NotProven(f"The restored etcd is not what was live: {proved.proof}.", "The point is not published; look at the member's disk.", "etcd")
        own, content = statuses[member.endpoint], proved.content
        about = {
            "cluster": own.cluster,
            "member": own.member,
            "endpoint": member.endpoint,
            "members_asked": len(statuses),
            "version": text(own.version),
            "revision": revision,
            "keys": content.keys,
            "content": content.digest,
            "encrypted_by": list(content.encrypted_by),
        }
        needs = tuple(map(encryption_key, content.encrypted_by))
        return Taken(about, programs.tools(), instant, proved.proof, proved.seconds, steps, needs)

    def _programs(self, deadline: Deadline) -> Programs:
        if self._found is None:
            self._found = find(self._folder, deadline)
        return self._found

    def _members(self, deadline: Deadline) -> Dict[str, Member]:
        programs, flags = self._programs(deadline), self._access.flags()
        return {endpoint: Member(programs, endpoint, flags) for endpoint in self._access.endpoints}

    def _statuses(self, deadline: Deadline) -> Dict[str, Status]:
        return {endpoint: member.status(deadline) for endpoint, member in self._members(deadline).items()}

    def _check(self, programs: Programs, statuses: Mapping[str, Status], folder: str) -> None:
        troubles = troubles_of(statuses)
        if troubles:
            raise Refused(f"No snapshot is taken now: {troubles[0]}.", "Heal the cluster first; the points that there are stay as they are.", "etcd")
        for status in statuses.values():
            check_server(programs, status.version)
        needed = 2 * max(status.size for status in statuses.values()) + _BESIDE
        free = free_bytes(folder)
        if free < needed:
            raise Refused(
                f"{folder} has {free >> 20} MiB free; a snapshot and its proof take {needed >> 20} MiB.", "Make room, or give another folder.", "repository"
            )

    def _agree(self, statuses: Mapping[str, Status], deadline: Deadline) -> None:
        """Compare etcd's own hashes of all members that were named. Raises Refused: one of them is corrupt, and nobody knows which."""
        if len(statuses) < 2:
            return
        members = self._members(deadline)
        for _try in range(_TRIES):
            revision = min(member.status(deadline).revision for member in members.values())
            try:
                hashes = {endpoint: member.hash_at(revision, deadline) for endpoint, member in members.items()}
            except Conflict:
                hashes = {}
            if hashes and len({compacted for _hash, compacted in hashes.values()}) == 1:
                if len({found for found, _compacted in hashes.values()}) > 1:
                    raise Refused(f"The members differ in what they hold at revision {revision}.", "One is corrupt: see etcd's documentation.", "etcd")
                return
            if not deadline.pause(_PAUSE):
                break
        raise Refused("The members could not be compared: their history is compacted differently.", "Run again in a while.", "etcd")
