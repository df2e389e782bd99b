# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A recovery point is restored now, out of the files that lie there, and compared with what was signed. The verb of workflow_restore_drill.

It knows no way to what is live: what it starts stands in folders of its own, and goes with them.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.kind import proved as buckets_proved
from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue, Listing
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.age import find as find_age
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.age import look_at
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.kind import FILE as SECRETS_FILE
from ansible_collections.paas.hardening.plugins.module_utils._backup.duration import seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.content import Content
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.kind import FILE as ETCD_FILE
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import find as find_etcd
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.proof import Expected
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.proof import prove as prove_etcd
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.snapshot import bump_for, read_snapshot, revision_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import IDENTIFIER, Manifest, moment, sequence_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.metrics import check_path, of_drill, write
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects import apiserver
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.collect import Collected, kinds_in, served_kinds
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.kind import digest_of_files, read_objects
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.proof import prove_empty
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.engine import CONFIG as PGBACKREST_CONFIG
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.kind import drilled as archive_drilled
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.kind import is_archived
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.kind import kept, proved_in
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.proof import digest_of as digest_of_rows
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import KINDS, REPOSITORY_ARGUMENTS, repository
from ansible_collections.paas.hardening.plugins.module_utils._backup.retention import SKEW
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.engine import find as find_restic
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.kind import compare as compare_volume
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.kind import require_root
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.kind import restore as restore_volume
from ansible_collections.paas.hardening.plugins.module_utils._core.arguments import merge
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, NotFound, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import so_far
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Look, Verb
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import find as find_client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.scratch import account_of, find_server, private_folder

ARGUMENTS: Dict[str, Any] = merge(
    REPOSITORY_ARGUMENTS,
    {
        "point": {"type": "str"},
        "max_age": {"type": "str"},
        "kinds": {"type": "list", "elements": "str", "choices": sorted(KINDS), "default": []},
        "scratch_folder": {"type": "path", "default": "/var/tmp"},
        "timeout": {"type": "int", "default": 3600},
        "etcd_programs": {"type": "path"},
        "client_folder": {"type": "path"},
        "server_folder": {"type": "path"},
        "server_account": {"type": "str"},
        **apiserver.ARGUMENTS,
        "age": {"type": "path"},
        "identity_file": {"type": "path", "no_log": False},
        "restic": {"type": "path"},
        "metrics_file": {"type": "path"},
        "pgbackrest": {"type": "path"},
        "pgbackrest_config": {"type": "path", "default": PGBACKREST_CONFIG},
    },
)

_NOT_HERE = {
    "objects": "the objects were read, but not made: that takes an apiserver_folder, or an empty_server",
    "secrets": "the Secrets were not decrypted: that takes the identity_file of one of their recipients",
}


@dataclass(frozen=True)
class Drilled:
    """What a drill of one kind showed, and the seconds that it took to have it back."""

    checks: Tuple[Check, ...]
    seconds: float
    untried: str = ""


@dataclass(frozen=True)
class Observed:
    """One point, drilled at one moment, in seconds since 1970."""

    now: float
    point: Manifest
    kinds: Mapping[str, Drilled]


class Drill(Look):
    """One drill."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._catalogue: Catalogue = repository(params)
        self._metrics = str(params["metrics_file"] or "")
        if self._metrics:
            check_path(self._metrics, "metrics_file")
        if params["timeout"] < 1:
            raise Invalid(f"timeout is {params['timeout']}.", "Give seconds, 1 or more.", "timeout")
        apiserver.check(params, "")
        self._max_age = seconds_of(params["max_age"], "max_age") if params["max_age"] else 0.0
        self._drills: Dict[str, Callable[[Manifest, str, Deadline], Drilled]] = {
            "buckets": self._buckets,
            "etcd": self._etcd,
            "objects": self._objects,
            "postgres": self._postgres,
            "secrets": self._secrets,
            "volumes": self._volumes,
        }

    def observe(self) -> Observed:
        """Read the point whole, and restore each of its kinds. Raises NotFound when there is no such point, NotProven for what is not as promised."""
        tried: Optional[Manifest] = None
        try:
            tried = self._point()
            seen = self._tried(tried)
            self._judge(seen)
        except Failure:
            self._measure(tried, {}, False)
            raise
        self._measure(tried, {kind: drilled.seconds for kind, drilled in seen.kinds.items()}, True)
        return seen

    def _measure(self, point: Optional[Manifest], seconds: Mapping[str, float], succeeded: bool) -> None:
        if self._metrics:
            write(self._metrics, of_drill(self._catalogue.folder, time.time(), point.instant if point else None, seconds, succeeded))

    def _tried(self, point: Manifest) -> Observed:
        self._catalogue.verify(point)
        folder, deadline = self._catalogue.folder_of(point), Deadline(self._params["timeout"])
        wanted = self._params["kinds"] or sorted(point.kinds)
        lacking = sorted(set(wanted) - set(point.kinds))
        if lacking:
            raise NotFound(f"The point {point.identifier} has no {', '.join(lacking)}.", f"It has {', '.join(sorted(point.kinds))}.", point.identifier)
        unknown = sorted(set(wanted) - set(self._drills))
        if unknown:
            raise NotProven(f"The point {point.identifier} has {', '.join(unknown)}, which is not known here.", "A newer collection made it.", point.identifier)
        found: Dict[str, Drilled] = {}
        for number, kind in enumerate(wanted, 1):
            so_far(f"{kind} is restored, and compared: {number} of {len(wanted)}")
            found[kind] = self._drills[kind](point, os.path.join(folder, kind), deadline)
        return Observed(time.time(), point, found)

    def _point(self) -> Manifest:
        """Choose the point. Without a name the newest, and none in its place: where that is damaged, or too old, it is not what a restore would need."""
        listing = self._catalogue.read()
        points = listing.points
        name = self._params["point"] or (points[-1].identifier if points else "")
        chosen = next((point for point in points if point.identifier == name), None)
        self._refuse_damage(listing, name, chosen)
        if chosen is None:
            there = ", ".join(point.identifier for point in points[-5:]) or "none"
            raise NotFound(f"There is no proved point {name or 'at all'} in {self._catalogue.folder}.", f"There are: {there}.", "point")
        age = time.time() - chosen.instant
        if self._max_age and not -SKEW <= age <= self._max_age:
            raise NotProven(
                f"The point {chosen.identifier} is of {moment(chosen.instant)}, {age:.0f} s ago, and max_age is {self._params['max_age']}.",
                "See why there is no newer one here, and whether the clocks are right.",
                chosen.identifier,
            )
        return chosen

    def _refuse_damage(self, listing: Listing, name: str, chosen: Optional[Manifest]) -> None:
        """Raises NotProven for the point that was named, or, where none was, for one that may be newer than the newest whole one."""
        for entry in listing.damaged:
            number = sequence_of(entry.name) if IDENTIFIER.fullmatch(entry.name) else None
            newer = chosen is None or number is None or number >= chosen.sequence
            if entry.name == name or (newer and not self._params["point"]):
                raise NotProven(
                    f"{entry.name} in {self._catalogue.folder} is damaged: {entry.reason}",
                    "Take a new point; name an older one to drill that, or move what is damaged elsewhere.",
                    entry.name,
                )

    @staticmethod
    def _judge(seen: Observed) -> None:
        point, proof = seen.point, _proof_of(seen)
        if proof.verdict != PASS:
            wrong = "; ".join(f"{check.what}: {check.observed}, not {check.expected}" for check in proof.checks if check.verdict != PASS)
            raise NotProven(
                f"The point {point.identifier} is not what was promised: {wrong}.", "Do not rely on it: take a new one, and find out why.", point.identifier
            )

    def conclude(self, first: Observed, last: Observed, plan: Plan, enforced: bool) -> Dict[str, Any]:
        point, kinds = first.point, first.kinds
        proof = _proof_of(first)
        untried = [drilled.untried for drilled in kinds.values() if drilled.untried]
        return {
            "point": point.as_data(),
            "proof": proof.as_data(),
            "rpo_seconds": round(first.now - point.instant),
            "rto_seconds": {kind: round(drilled.seconds, 3) for kind, drilled in kinds.items()},
            "untried": untried,
            "warnings": [f"Not all was tried: {what}." for what in untried],
        }

    def _etcd(self, point: Manifest, folder: str, deadline: Deadline) -> Drilled:
        about = point.kinds["etcd"]
        programs = find_etcd(self._params["etcd_programs"], deadline)
        snapshot = read_snapshot(os.path.join(folder, ETCD_FILE))
        expected = Expected(Content(int(about["keys"]), str(about["content"])), int(about["revision"]), int(about["revision"]))
        with private_folder(self._params["scratch_folder"], f"etcd drill of {self._catalogue.folder}") as above:
            # For the time of the drill this etcd hands every Secret to whoever reaches its socket.
            place = os.path.join(above, "etcd")
            os.mkdir(place, 0o700)
            proved = prove_etcd(programs, snapshot, lambda: expected, bump_for(time.time() - point.instant), place, deadline)
        held = Check.equal("revision of the snapshot", str(about["revision"]), str(revision_of(programs, snapshot, deadline)))
        return Drilled((*proved.proof.checks, held), proved.seconds)

    def _postgres(self, point: Manifest, folder: str, deadline: Deadline) -> Drilled:
        if is_archived(point.kinds["postgres"]):
            return Drilled(*archive_drilled(self._params, point.kinds["postgres"], folder, self._catalogue.folder, deadline))
        dumps, promises = kept(folder), point.kinds["postgres"]["databases"]
        databases = Check.equal("databases", ", ".join(sorted(promises)), ", ".join(sorted(dumps)))
        if databases.verdict != PASS:
            return Drilled((databases,), 0.0)
        there = find_server(self._params["server_folder"] or "", max(made.version for made, _expected in dumps.values()))
        client = find_client(self._params["client_folder"] or "", there.version)
        client.require(there.version)
        account = account_of(self._params["server_account"] or "")
        with private_folder(self._params["scratch_folder"], f"postgres drill of {self._catalogue.folder}") as place:
            proved = proved_in(there, client, dumps, place, account, deadline)
        checks = [databases]
        for role, (_made, expected) in dumps.items():
            # What the files say of themselves has to be what was signed when the point was made.
            held = digest_of_rows(expected.fingerprint)
            checks.append(Check.equal(f"SHA-256 over what {role} held when the point was made", str(promises[role]["content"]), held))
        checks += [check for entry in proved.values() for check in entry.proof.checks]
        return Drilled(tuple(checks), sum(entry.seconds for entry in proved.values()))

    def _buckets(self, point: Manifest, folder: str, deadline: Deadline) -> Drilled:
        begun, checks = time.monotonic(), []
        for role, about in sorted(point.kinds["buckets"]["buckets"].items()):
            held, digest = buckets_proved(os.path.join(folder, role))
            checks.append(Check.equal(f"objects of {about['bucket']} that come back", str(about["objects"]), str(held)))
            checks.append(Check.equal(f"SHA-256 over keys and contents of {about['bucket']}", str(about["content"]), digest))
        return Drilled(tuple(checks), time.monotonic() - begun)

    def _objects(self, point: Manifest, folder: str, deadline: Deadline) -> Drilled:
        begun, about = time.monotonic(), point.kinds["objects"]
        documents = read_objects(folder)
        checks: List[Check] = [
            Check.equal("objects in the files", str(about["objects"]), str(len(documents))),
            Check.equal("SHA-256 over all objects", str(about["content"]), digest_of_files(folder)),
        ]
        place = partial(private_folder, self._params["scratch_folder"], f"objects drill of {self._catalogue.folder}")
        with apiserver.empty_server(self._params, place, deadline) as empty:
            if empty is None:
                return Drilled(tuple(checks), time.monotonic() - begun, _NOT_HERE["objects"])
            kinds = {**kinds_in(documents), **{(kind.api_version, kind.kind): kind for kind in served_kinds(empty.connection)}}
            collected = Collected(tuple(documents), ("",) * len(documents), kinds, {})
            proof = prove_empty(None, empty, collected, int(about["objects"]), about["namespaces"], deadline)
        return Drilled((*checks, *proof.checks), time.monotonic() - begun)

    def _secrets(self, point: Manifest, folder: str, deadline: Deadline) -> Drilled:
        begun, about = time.monotonic(), point.kinds["secrets"]
        path = os.path.join(folder, SECRETS_FILE)
        checks = [Check.equal("keys of which each alone opens the Secrets", str(len(about["recipients"])), str(look_at(path).recipients))]
        identity = self._params["identity_file"]
        if not identity:
            return Drilled(tuple(checks), time.monotonic() - begun, _NOT_HERE["secrets"])
        found = find_age(self._params["age"] or "").digest_inside(path, identity, deadline)
        checks.append(Check.equal("SHA-256 of the decrypted Secrets", str(about["content"]), found))
        return Drilled(tuple(checks), time.monotonic() - begun)

    def _volumes(self, point: Manifest, folder: str, deadline: Deadline) -> Drilled:
        require_root()
        engine, checks, seconds = find_restic(self._params["restic"] or ""), [], 0.0
        with private_folder(self._params["scratch_folder"], f"volumes drill of {self._catalogue.folder}") as above:
            # Entered by nobody else: what lies in it has the modes of the originals.
            place = os.path.join(above, "volumes")
            os.mkdir(place, 0o700)
            for source, kept in point.kinds["volumes"]["folders"].items():
                target, begun = os.path.join(place, str(kept["number"])), time.monotonic()
                restore_volume(engine, folder, source, kept, target, deadline)
                seconds += time.monotonic() - begun
                checks += compare_volume(folder, source, kept, target)
        return Drilled(tuple(checks), seconds)


def _proof_of(seen: Observed) -> Proof:
    return Proof(tuple(check for drilled in seen.kinds.values() for check in drilled.checks))


VERB = Verb(ARGUMENTS, Drill)
