# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A recovery point is restored to new places, proved there, and put in use only where the host was named. The verb of workflow_restore."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import digest_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.kind import is_archived
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import REPOSITORY_ARGUMENTS, repository
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.buckets import ARGUMENTS as BUCKETS_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.buckets import BucketsRestore
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.custody import ARGUMENTS as SECRETS_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.custody import SecretsRestore
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.etcd import ARGUMENTS as ETCD_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.etcd import EtcdRestore
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.objects import ARGUMENTS as OBJECTS_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.objects import ObjectsRestore
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.place import require_confirmation
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.postgres import ARGUMENTS as POSTGRES_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.postgres import PostgresRestore
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.postgres_files import ARGUMENTS as POSTGRES_FILES_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.postgres_files import PostgresFilesRestore
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.restorer import CONTENT, Outcome, Restorer
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.volumes import ARGUMENTS as VOLUMES_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.volumes import VolumesRestore
from ansible_collections.paas.hardening.plugins.module_utils._core.arguments import merge
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotFound, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change, Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb

RESTORED, SWAPPED = "restored", "swapped"
KINDS = ("buckets", "etcd", "objects", "postgres", "secrets", "volumes")
ARGUMENTS: Dict[str, Any] = merge(
    REPOSITORY_ARGUMENTS,
    {
        "state": {"type": "str", "choices": [RESTORED, SWAPPED], "default": RESTORED},
        "kinds": {"type": "list", "elements": "str", "choices": list(KINDS), "required": True},
        "point": {"type": "str"},
        "confirm": {"type": "str"},
        "buckets": {"type": "dict", "options": BUCKETS_ARGUMENTS, "apply_defaults": True},
        "etcd": {"type": "dict", "options": ETCD_ARGUMENTS, "apply_defaults": True},
        "objects": {"type": "dict", "options": OBJECTS_ARGUMENTS, "apply_defaults": True},
        "postgres": {"type": "dict", "options": {**POSTGRES_ARGUMENTS, **POSTGRES_FILES_ARGUMENTS}, "apply_defaults": True},
        "secrets": {"type": "dict", "options": SECRETS_ARGUMENTS, "apply_defaults": True, "no_log": False},
        "volumes": {"type": "dict", "options": VOLUMES_ARGUMENTS, "apply_defaults": True},
        "timeout": {"type": "int", "default": 3600},
    },
)


@dataclass(frozen=True)
class Observed:
    """What was left to do at one moment, in seconds since 1970, and how far each kind was."""

    now: float
    changes: Tuple[Change, ...]
    outcomes: Mapping[str, Outcome]


class Restore:
    """One point on its way back."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._catalogue: Catalogue = repository(params)
        self._swap = params["state"] == SWAPPED
        self._timeout = params["timeout"]
        self._confirm = params["confirm"] or ""
        if not params["kinds"]:
            raise Invalid("kinds is empty.", f"Name what is to come back, of {', '.join(KINDS)}.", "kinds")
        if self._timeout < 1:
            raise Invalid(f"timeout is {self._timeout}.", "Give seconds, 1 or more.", "timeout")
        self._point = self._chosen(params["point"] or "")
        lacking = sorted(set(params["kinds"]) - set(self._point.kinds))
        if lacking:
            raise NotFound(
                f"The point {self._point.identifier} has no {', '.join(lacking)}.", f"It has {', '.join(sorted(self._point.kinds))}.", self._point.identifier
            )
        self._restorers: Dict[str, Restorer] = {kind: self._restorer(kind, params) for kind in sorted(set(params["kinds"]))}
        if self._swap:
            unswapped = [kind for kind, restorer in self._restorers.items() if not restorer.swaps]
            if unswapped:
                raise Invalid(f"{', '.join(unswapped)} cannot be swapped from here.", "Restore it, and do by hand what the result says.", "state")
            if "objects" in self._restorers and len(self._restorers) > 1:
                raise Invalid("objects are put in use by themselves.", "A cluster is confirmed by another name than a host: use two tasks.", "kinds")
            if "objects" not in self._restorers:
                require_confirmation(self._confirm, f"the point {self._point.identifier}")
        self._owners: Dict[str, Restorer] = {}
        self._verified = False

    def _chosen(self, name: str) -> Manifest:
        points = self._catalogue.read().points
        found = next((point for point in points if point.identifier == (name or points[-1].identifier)), None)
        if found is None:
            there = ", ".join(point.identifier for point in points[-5:]) or "none"
            raise NotFound(f"There is no proved point {name or 'at all'} in {self._catalogue.folder}.", f"There are: {there}.", "point")
        return found

    def _restorer(self, kind: str, params: Mapping[str, Any]) -> Restorer:
        point, keys, folder = self._point, self._catalogue.keys, os.path.join(self._catalogue.folder_of(self._point), kind)
        if kind == "buckets":
            return BucketsRestore(params["buckets"], point, folder)
        if kind == "etcd":
            return EtcdRestore(params["etcd"], point, folder, keys)
        if kind == "objects":
            return ObjectsRestore(params["objects"], point, folder, self._confirm)
        if kind == "postgres" and is_archived(point.kinds["postgres"]):
            return PostgresFilesRestore(params["postgres"], point, keys)
        if kind == "postgres":
            return PostgresRestore(params["postgres"], point, folder)
        if kind == "volumes":
            return VolumesRestore(params["volumes"], point, folder, keys)
        return SecretsRestore(params["secrets"], point, folder, keys)

    def observe(self) -> Observed:
        """Look at every target. Raises Refused for one that is live, or that is not ours to change."""
        changes: List[Change] = []
        for restorer in self._restorers.values():
            restorer.look()
            mine = restorer.changes(self._swap)
            self._owners.update({str(change.ref): restorer for change in mine})
            changes += mine
        # New places first: what is in use is touched when all of them are proved.
        changes.sort(key=lambda change: change.path != CONTENT)
        return Observed(time.time(), tuple(changes), {kind: restorer.outcome() for kind, restorer in self._restorers.items()})

    def plan(self, observed: Observed) -> Plan:
        return Plan(observed.changes)

    def apply(self, plan: Plan) -> None:
        """Restore one thing, or put it in use. Raises NotProven when the point or the restored thing is not what was promised."""
        change = plan.changes[0]
        restorer = self._owners[str(change.ref)]
        if change.path != CONTENT:
            restorer.swap(change)
            return
        self._verify()
        restorer.restore(change, Deadline(self._timeout))

    def _verify(self) -> None:
        """Read what is to be restored, and hold it against what was signed; once a run."""
        if self._verified:
            return
        for file in self._point.files:
            if file.path.partition("/")[0] in self._restorers:
                path = self._catalogue.path_of(self._point, file)
                if digest_of(path) != file.sha256:
                    raise NotProven(f"{path} is not what was stored: its SHA-256 differs.", "The disk or somebody changed it: take an older point.", path)
        self._verified = True

    def settle(self, observed: Observed, plan: Plan) -> float:
        return 0.0

    def abandon(self) -> str:
        return "What was in use before is where it was, or beside it under a name that ends with .before- and the point." if self._swap else ""

    def conclude(self, first: Observed, last: Observed, plan: Plan, enforced: bool) -> Dict[str, Any]:
        outcomes = last.outcomes
        proof = Proof(tuple(check for outcome in outcomes.values() for check in outcome.proof.checks))
        if enforced and proof.verdict != PASS:
            raise NotProven(f"What was restored of {self._point.identifier} was not proved: {proof}.", "Run again.", self._point.identifier)
        return {
            "point": self._point.as_data(),
            "restored": {kind: outcome.as_data() for kind, outcome in outcomes.items()},
            "proof": proof.as_data(),
            "rpo_seconds": round(first.now - self._point.instant),
            "rto_seconds": {kind: round(outcome.seconds, 3) for kind, outcome in outcomes.items()},
            "remains_to_do": [step for outcome in outcomes.values() for step in outcome.remains_to_do],
        }


VERB = Verb(ARGUMENTS, Restore)
