# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every point that retention keeps is in a bucket, whole and locked; what no rule keeps any more goes from there when its lock has run out."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue, Listing
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.age import check_recipients
from ansible_collections.paas.hardening.plugins.module_utils._backup.duration import seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest, StoredFile, moment
from ansible_collections.paas.hardening.plugins.module_utils._backup.metrics import Copies, check_path, of_copy, write
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.options import ALL, REQUIRED, locking_of, place_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.send import Sender
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.there import Blob, Copy, There, contents_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.kind import is_archived
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import held_of, policy_of, repository
from ansible_collections.paas.hardening.plugins.module_utils._backup.retention import Decision, decide
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden, Invalid, NotFound, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Finding, Proof, Source, status_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.objects_api import Lock, Upload, Version

SOURCE = Source(
    "Amazon S3 User Guide, Locking objects with Object Lock",
    "Introduction",
    "Object Lock can help prevent Amazon S3 objects from being deleted or overwritten for a fixed amount of time or indefinitely.",
)
_CONTROL, _TITLE = "recovery-point-copy", "Recovery points are in another place, whole, and nobody can delete them there"
_API, _COPY, _IDENTITY, _LEFTOVER = "paas.hardening/v1", "Copy", "CopiedRepository", "Leftover"
_PARTS, _CONTENT = "unfinished uploads", "content that no copy names"
# Seconds for which another run's work is left alone, and by which clocks may differ.
_LEFT_ALONE, _SKEW = 86400.0, 300.0
# Seconds after which the newest copy is too old when nobody said otherwise.
_INTERVAL = 2 * 86400.0
_SHOWN = 5


@dataclass(frozen=True)
class Observed:
    """Both sides at one moment. ``spoilt`` says, by name, what is wrong with content there; ``orphans`` and ``uploads`` are left over and may go."""

    listing: Listing
    there: There
    spoilt: Mapping[str, str]
    orphans: Tuple[Version, ...] = ()
    uploads: Tuple[Upload, ...] = ()


class Copying:
    """One repository and one bucket."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._metrics = str(params["metrics_file"] or "")
        if self._metrics:
            check_path(self._metrics, "metrics_file")
        self._max_age = seconds_of(params["max_age"], "max_age") if params["max_age"] else 0.0
        if params["sample"] < 0:
            raise Invalid(f"sample is {params['sample']}.", "Give a number of objects, 0 or more.", "sample")
        if params["recipients"]:
            check_recipients(params["recipients"], "recipients")
        self._catalogue: Catalogue = repository(params)
        self._policy = policy_of(params["retention"])
        self._lock_required = params["object_lock"] == REQUIRED
        self._locking = locking_of(params)
        self._place = place_of(params, self._catalogue.keys)
        self._sender = Sender(self._place, self._catalogue, self._locking, params["recipients"], params["age"] or "", params["scratch_folder"])
        self._whole, self._sample = params["verify"] == ALL, int(params["sample"])
        self._seed = int(params["seed"]) if params["seed"] is not None else random.randrange(1 << 31)
        self._judged: Dict[str, str] = {}
        self._tried = self._locks = False
        self._refused: Dict[str, str] = {}

    def observe(self) -> Observed:
        """Look at both sides. Raises Refused for a bucket of another repository, or without locks where they are required."""
        try:
            return self._seen()
        except Failure:
            self._measure(None)
            raise

    def _seen(self) -> Observed:
        listing = self._catalogue.read()
        there = self._place.read(listing.points)
        if there.identity and listing.identity and there.identity != listing.identity:
            raise Refused(f"{self._place.name} holds the copy of another repository.", "Give each repository a prefix of its own.", "prefix")
        if self._lock_required and not there.protection.locks:
            raise Refused(
                f"The bucket {self._place.api.where} has no object lock: whoever has the keys can delete every copy.",
                "Make one with object lock (it cannot be had later everywhere), or say object_lock=available to do without.",
                "object_lock",
            )
        if abs(there.now - time.time()) > _SKEW:
            raise Refused(
                f"The clock of {self._place.api.where} and ours are {abs(there.now - time.time()):.0f} s apart.",
                "Set the wrong one: locks end by it.",
                "bucket",
            )
        self._locks = there.protection.locks
        if not self._tried:
            self._try_out(there)
            self._tried = True
        return Observed(listing, there, {**self._judged, **self._odd(there)}, self._orphans(listing, there), self._stale(there))

    def _try_out(self, there: There) -> None:
        """Read some of what counts there, or all of it, and note what is not as it has to be."""
        blobs = {blob.key: blob for copy in there.copies for file in copy.point.files for blob in there.blobs.get(file.sha256, ())}
        keys = sorted(blobs)
        chosen = keys if self._whole else sorted(random.Random(self._seed).sample(keys, min(self._sample, len(keys))))
        for key in chosen:
            try:
                self._place.compare(blobs[key])
                self._sender.sent.read_back += 1
                self._sender.sent.proved.add(key)
            except (NotProven, NotFound) as failure:
                self._judged[key] = failure.message

    def _odd(self, there: There) -> Dict[str, str]:
        """What is of another size than it has to be, and manifests that are none."""
        found = {key: f"{key} in {self._place.api.where} is not of the size that was stored" for key in there.spoilt.values()}
        return {**found, **{entry.name: f"the copy {entry.name}: {entry.reason}" for entry in there.damaged}}

    def _orphans(self, listing: Listing, there: There) -> Tuple[Version, ...]:
        """Content that no copy names and no point here needs, old enough to be of no run at work, and not locked."""
        named = {file.sha256 for copy in there.copies for file in copy.point.files}
        named |= {file.sha256 for point in listing.points for file in point.files}
        # What a manifest names that cannot be read, nobody knows.
        if there.damaged:
            return ()
        strays = [blob for sha256, forms in there.blobs.items() if sha256 not in named for blob in forms]
        found: List[Version] = []
        for blob in strays:
            for version in there.objects[self._relative(blob)]:
                if there.now - version.written > _LEFT_ALONE and (version.marker or not self._locked(self._lock(version), there.now)):
                    found.append(version)
        return tuple(found)

    def _lock(self, version: Version) -> Lock:
        return self._place.api.lock_of(version.key, version.name) if self._locks else Lock()

    @staticmethod
    def _locked(lock: Lock, now: float) -> bool:
        return lock.held or lock.until > now

    @staticmethod
    def _stale(there: There) -> Tuple[Upload, ...]:
        return tuple(upload for upload in there.uploads if there.now - upload.began > _LEFT_ALONE)

    def _ref(self, kind: str, name: str) -> Ref:
        return Ref(_API, kind, name, self._place.name)

    def decisions(self, observed: Observed) -> List[Decision]:
        """What retention says of every point on either side."""
        points = {point.identifier: point for point in (*observed.listing.points, *(copy.point for copy in observed.there.copies))}
        return decide([held_of(point) for point in points.values()], self._policy, observed.there.now)

    def _due(self, observed: Observed) -> List[Tuple[Manifest, List[StoredFile]]]:
        """The points that are not there, or not whole, with what each of them adds: the newest first, what it stands on before it."""
        kept = {decision.identifier for decision in self.decisions(observed) if decision.kept}
        points = {point.identifier: point for point in observed.listing.points if point.identifier in kept}
        ordered: Dict[str, Manifest] = {}

        def add(point: Manifest) -> None:
            for parent in point.parents:
                if parent in points and parent not in ordered:
                    add(points[parent])
            ordered.setdefault(point.identifier, point)

        for point in sorted(points.values(), key=lambda point: -point.sequence):
            add(point)
        coming: Set[str] = set()
        due: List[Tuple[Manifest, List[StoredFile]]] = []
        for point in ordered.values():
            copy = observed.there.copy_of(point.identifier)
            if copy is None and any(entry.name == point.identifier for entry in observed.there.damaged):
                continue
            if copy is None:
                missing = [file for file in contents_of(point) if self._sender.fitting(observed.there, file.sha256) is None]
            else:
                missing = observed.there.lacking(point)
            missing = [file for file in missing if file.sha256 not in coming and file.sha256 not in observed.there.spoilt]
            if copy is None or missing:
                due.append((point, missing))
                coming |= {file.sha256 for file in missing}
        return due

    def plan(self, observed: Observed) -> Plan:
        changes: List[Change] = []
        listing, there = observed.listing, observed.there
        if listing.identity and not there.identity:
            changes.append(Change(self._ref(_IDENTITY, self._place.name), ("identity",), ABSENT, listing.identity, "there is no copy of this repository yet"))
        for point, missing in self._due(observed):
            why = f"{len(missing)} files of {sum(file.size for file in missing)} bytes are not there"
            if there.copy_of(point.identifier) is None:
                changes.append(Change(self._ref(_COPY, point.identifier), ("state",), ABSENT, "copied and read back", why))
            else:
                changes.append(Change(self._ref(_COPY, point.identifier), ("files",), "some are missing", "all are there", why))
        if observed.uploads:
            changes.append(Change(self._ref(_LEFTOVER, _PARTS), ("count",), len(observed.uploads), 0, "interrupted runs did not come to their end"))
        for copy in self._unwanted(observed):
            if not self._locked(copy.lock, there.now) and copy.point.identifier not in self._refused:
                changes.append(Change(self._ref(_COPY, copy.point.identifier), ("state",), "copied", ABSENT, "no rule of retention keeps it"))
        if observed.orphans and _CONTENT not in self._refused:
            changes.append(Change(self._ref(_LEFTOVER, _CONTENT), ("count",), len(observed.orphans), 0, "no copy needs it"))
        return Plan(tuple(changes))

    def _unwanted(self, observed: Observed) -> List[Copy]:
        """The copies that no rule keeps, the newest first."""
        gone = {decision.identifier for decision in self.decisions(observed) if not decision.kept}
        return [copy for copy in reversed(observed.there.copies) if copy.point.identifier in gone]

    def apply(self, plan: Plan) -> None:
        """Do one piece of the plan: look again at what it is about, since a long run has passed since."""
        ref, after = plan.changes[0].ref, plan.changes[0].after
        listing = self._catalogue.read()
        there = self._place.read(listing.points)
        if ref.kind == _IDENTITY:
            self._sender.found(there)
        elif ref.kind == _LEFTOVER:
            self._clear(ref.name, listing, there)
        elif after is ABSENT:
            self._remove(ref.name, there)
        else:
            point = next((point for point in listing.points if point.identifier == ref.name), None)
            # One that retention took away meanwhile is not missed.
            if point is not None:
                self._sender.send(point, there)

    def _clear(self, what: str, listing: Listing, there: There) -> None:
        if what == _PARTS:
            for upload in self._stale(there):
                self._place.api.abort(upload)
        else:
            self._delete(_CONTENT, list(self._orphans(listing, there)))

    def _remove(self, identifier: str, there: There) -> None:
        """Take a copy out of the list first, then what only it needed and is no longer locked."""
        copy = there.copy_of(identifier)
        if copy is None:
            return
        relative = f"points/{identifier}/manifest"
        if not self._delete(identifier, list(there.objects[relative])):
            return
        others = {file.sha256 for other in there.copies if other is not copy for file in other.point.files}
        mine = [blob for file in contents_of(copy.point) if file.sha256 not in others for blob in there.blobs.get(file.sha256, ())]
        versions = [version for blob in mine for version in there.objects[self._relative(blob)]]
        self._delete(identifier, [version for version in versions if version.marker or not self._locked(self._lock(version), there.now)])

    @staticmethod
    def _relative(blob: Blob) -> str:
        return f"data/{blob.key.rpartition('/')[2]}"

    def _delete(self, about: str, versions: Sequence[Version]) -> bool:
        """Delete versions for good. A store that refuses is right to do so: that is told, and asked no more in this run."""
        try:
            for version in versions:
                self._place.api.delete(version.key, version.name)
        except Forbidden as failure:
            self._refused[about] = failure.message
            return False
        return True

    def settle(self, observed: Observed, plan: Plan) -> float:
        return 0.0

    def abandon(self) -> str:
        self._measure(None)
        return ""

    def conclude(self, first: Observed, last: Observed, plan: Plan, enforced: bool) -> Dict[str, Any]:
        here = {point.identifier for point in last.listing.points}
        incomplete = [name for name in self._incomplete(last) if enforced or name not in here]
        self._measure(last)
        if last.spoilt or incomplete:
            wrong = [*last.spoilt.values(), *(f"the copy {name} is not whole" for name in incomplete)]
            more = f" And {len(wrong) - _SHOWN} more." if len(wrong) > _SHOWN else ""
            raise NotProven(
                f"{self._place.name} is not a whole copy: {'; '.join(wrong[:_SHOWN])}.{more}",
                "Find out who changed it. Delete there what is spoilt: the next run puts it anew where its point is still here.",
                self._place.name,
            )
        newest = self._newest(last)
        sent = self._sender.sent
        problems = [*last.there.problems, *(f"{name} was not deleted: {reason}" for name, reason in self._refused.items())]
        if self._max_age and newest is not None and not -_SKEW <= last.there.now - newest.point.instant <= self._max_age:
            problems.append(f"the newest copied point is of {moment(newest.point.instant)}")
        kept = [copy for copy in self._unwanted(last) if self._locked(copy.lock, last.there.now)]
        checks = [Check("objects read back and compared", "as stored", f"{sent.read_back} as stored", PASS)]
        proof = Proof(tuple(checks)) if enforced or not plan else Proof()
        return {
            "copies": [self._described(copy, last) for copy in last.there.copies],
            "newest": self._described(newest, last) if newest else {},
            "rpo_seconds": round(last.there.now - newest.point.instant) if newest else -1,
            "sent": {"objects": sent.objects, "bytes": sent.bytes},
            "reused": {"objects": sent.reused_objects, "bytes": sent.reused_bytes},
            "read_back": sent.read_back,
            "seed": self._seed,
            "locked": [f"{copy.point.identifier} is kept until {moment(copy.lock.until)}: it is locked" for copy in kept],
            "protection": {"versions": last.there.protection.versions, "object_lock": last.there.protection.locks},
            "uncovered": _uncovered(newest.point) if newest else [],
            "problems": problems,
            "findings": [self._finding(first, last, plan, enforced, proof).as_data()],
            "proof": proof.as_data(),
            "warnings": problems + (_uncovered(newest.point) if newest else []),
        }

    def _incomplete(self, observed: Observed) -> List[str]:
        return [copy.point.identifier for copy in observed.there.copies if observed.there.lacking(copy.point)]

    def _newest(self, observed: Observed) -> Optional[Copy]:
        """The newest copy that is whole."""
        return next((copy for copy in reversed(observed.there.copies) if not observed.there.lacking(copy.point)), None)

    @staticmethod
    def _described(copy: Copy, observed: Observed) -> Dict[str, Any]:
        point = copy.point
        return {
            "identifier": point.identifier,
            "instant": moment(point.instant),
            "size": point.size,
            "kinds": sorted(point.kinds),
            "whole": not observed.there.lacking(point),
            "here": any(other.identifier == point.identifier for other in observed.listing.points),
            "lock_mode": copy.lock.mode.lower(),
            "locked_until": moment(copy.lock.until) if copy.lock.until else "",
        }

    def _finding(self, first: Observed, last: Observed, plan: Plan, enforced: bool, proof: Proof) -> Finding:
        def told(observed: Observed) -> str:
            newest = self._newest(observed)
            return f"{len(observed.there.copies)} copies, the newest of {moment(newest.point.instant)}" if newest else "no copy"

        return Finding(
            control=_CONTROL,
            title=_TITLE,
            severity="critical",
            source=SOURCE,
            subject=self._place.name,
            status=status_of(bool(plan), enforced, proof, True),
            expected="every point that retention keeps, read back, and locked" if self._locking.mode else "every point that retention keeps, read back",
            observed=told(first),
            after=told(last),
            proof=proof,
        )

    def _measure(self, observed: Optional[Observed]) -> None:
        """Write what Prometheus is told; of a run that failed, only that."""
        if not self._metrics:
            return
        interval, seen = self._max_age or _INTERVAL, None
        if observed is not None:
            newest = self._newest(observed)
            lacking = {point.identifier for point, _files in self._due(observed)} | set(self._incomplete(observed)) | set(observed.spoilt)
            seen = Copies(len(lacking), newest.point.instant if newest else 0.0, newest.lock.until if newest else 0.0)
        write(self._metrics, of_copy(self._catalogue.folder, time.time(), interval, seen))


def _uncovered(point: Manifest) -> List[str]:
    """What of a point lies outside of the repository, and so is not in the copy."""
    if is_archived(point.kinds.get("postgres")):
        return ["The repository of pgBackRest is not in this copy: give pgBackRest a second repository (repo2) in another place."]
    return []
