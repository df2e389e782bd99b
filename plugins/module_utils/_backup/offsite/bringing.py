# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository comes back from its copy in a bucket, onto a host that may be empty: each file is held against what was signed before its point counts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue, Listing, Stage, Writer
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody import age
from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import digest_of, free_bytes, told, write_pieces
from ansible_collections.paas.hardening.plugins.module_utils._backup.duration import seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest, StoredFile, moment, sequence_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.options import ALL, place_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.there import Blob, Copy, There, contents_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import repository
from ansible_collections.paas.hardening.plugins.module_utils._backup.retention import SKEW
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotFound, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import counted
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

_API, _POINT = "paas.hardening/v1", "RecoveryPoint"
# Seconds that the decryption of one file may take.
_OPENING = 6 * 3600
_NOT_THERE = "Is it the bucket, and the prefix, that the copy was made to?"


@dataclass(frozen=True)
class Observed:
    """Both sides at one moment, and the points that are to be here, what each stands on before it."""

    listing: Listing
    there: There
    wanted: Tuple[Manifest, ...]


@dataclass
class Brought:
    """What came, and what was here already: files and bytes."""

    objects: int = 0
    bytes: int = 0
    reused_objects: int = 0
    reused_bytes: int = 0


class Bringing:
    """One bucket and one repository."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._catalogue: Catalogue = repository(params)
        self._place = place_of(params, self._catalogue.keys)
        self._max_age = seconds_of(params["max_age"], "max_age") if params["max_age"] else 0.0
        self._point, self._everything = str(params["point"] or ""), params["points"] == ALL
        self._known = _sequence(params["known_point"]) if params["known_point"] else 0
        self._age, self._identity_file = params["age"] or "", params["identity_file"] or ""
        self._lock_timeout = params["lock_timeout"]
        self._brought = Brought()
        # Where a content lies here already, by its SHA-256.
        self._here: Dict[str, str] = {}

    def observe(self) -> Observed:
        """Look at both sides. Raises NotFound and NotProven when what is asked for is not there, not whole, or older than it has to be."""
        there = self._place.read()
        if not there.identity:
            raise NotFound(f"{self._place.name} at {self._place.api.where} holds no copy of a repository.", _NOT_THERE, "prefix")
        listing = self._catalogue.read()
        if listing.identity and listing.identity != there.identity:
            raise Refused(f"{self._catalogue.folder} is another repository than the one in {self._place.name}.", "Give an empty folder.", "repository")
        return Observed(listing, there, tuple(self._wanted(there)))

    def _wanted(self, there: There) -> List[Manifest]:
        """The points that are asked for, with all that they stand on."""
        newest = self._newest(there)
        if self._point:
            asked = [copy for copy in there.copies if copy.point.identifier == self._point]
            if not asked:
                damaged = next((entry.reason for entry in there.damaged if entry.name == self._point), "")
                if damaged:
                    raise NotProven(f"The copy {self._point} is damaged: {damaged}", "Take another point.", self._point)
                raise NotFound(f"{self._place.name} has no point {self._point}.", f"It has {_names(there.copies)}.", "point")
        else:
            asked = list(there.copies) if self._everything else [newest]
        wanted: Dict[str, Manifest] = {}

        def add(point: Manifest) -> None:
            for parent in point.parents:
                copy = there.copy_of(parent)
                if copy is None:
                    raise NotProven(f"{point.identifier} stands on {parent}, which is not in {self._place.name}.", "Take another point.", point.identifier)
                add(copy.point)
            wanted.setdefault(point.identifier, point)

        for copy in asked:
            add(copy.point)
        for point in wanted.values():
            lacking = there.lacking(point)
            if lacking:
                raise NotProven(
                    f"The copy {point.identifier} is not whole: {self._place.plain_key(lacking[0].sha256)}, its {lacking[0].path}, is not there"
                    f" ({len(lacking)} of {len(contents_of(point))} contents).",
                    f"Take another point with the option point: {_names(there.copies)}.",
                    point.identifier,
                )
        return list(wanted.values())

    def _newest(self, there: There) -> Copy:
        """Return the newest copy, if it can be the newest. Raises NotProven when somebody may have taken a newer one away."""
        if not there.copies and not there.damaged:
            raise NotFound(f"{self._place.name} holds no point.", _NOT_THERE, "prefix")
        newest = there.copies[-1] if there.copies else None
        later = [entry for entry in there.damaged if newest is None or entry.name > newest.point.identifier]
        if (later and not self._point) or newest is None:
            entry = (later or list(there.damaged))[-1]
            raise NotProven(f"A newer copy is damaged: {entry.reason}", f"Take an older point by its name, with point: {_names(there.copies)}.", entry.name)
        if newest.point.sequence < self._known:
            raise NotProven(
                f"The newest point in {self._place.name} is {newest.point.identifier}, but number {self._known} is known to have been there.",
                "Newer ones were taken away, or this is an older state of the bucket.",
                "known_point",
            )
        old = there.now - newest.point.instant
        if self._max_age and old < -SKEW:
            raise NotProven(
                f"The newest point in {self._place.name} is of {moment(newest.point.instant)}, which is still to come: max_age says nothing of it.",
                "It was made under a clock that was wrong. Name a point that is not, or leave max_age out.",
                "max_age",
            )
        if self._max_age and old > self._max_age:
            raise NotProven(
                f"The newest point in {self._place.name} is of {moment(newest.point.instant)}, older than max_age.",
                "Copies are not made any more, or newer ones were taken away. Without max_age it is taken.",
                "max_age",
            )
        return newest

    def plan(self, observed: Observed) -> Plan:
        here = {point.identifier: point for point in observed.listing.points}
        numbers = {point.sequence: point.identifier for point in observed.listing.points}
        changes: List[Change] = []
        for point in observed.wanted:
            if here.get(point.identifier) == point:
                continue
            if numbers.get(point.sequence, point.identifier) != point.identifier or point.identifier in here:
                raise Refused(
                    f"{self._catalogue.folder} has another point with the number {point.sequence}.", "Bring the copy to an empty folder.", "repository"
                )
            why = f"{len(point.files)} files of {point.size} bytes, each held against its SHA-256"
            changes.append(Change(Ref(_API, _POINT, point.identifier, self._catalogue.folder), ("state",), ABSENT, "here, as it was signed", why))
        damaged = {entry.name for entry in observed.listing.damaged} & {change.ref.name for change in changes}
        if damaged:
            raise Refused(
                f"{self._catalogue.folder} has the point {sorted(damaged)[0]}, damaged.", "Move it away, or bring the copy to an empty folder.", "repository"
            )
        return Plan(tuple(changes))

    def apply(self, plan: Plan) -> None:
        """Bring one point. Raises NotProven when a content is not what was signed: then it does not count here."""
        there = self._place.read()
        copy = there.copy_of(plan.changes[0].ref.name)
        if copy is None:
            raise NotFound(f"The copy {plan.changes[0].ref.name} went while it was brought.", "Run again.", plan.changes[0].ref.name)
        point = copy.point
        # Its parent has to be there: what a host without anything has is a file system, and no folders of ours.
        with told("made", self._catalogue.folder):
            os.makedirs(os.path.dirname(self._catalogue.folder), exist_ok=True)
        needed = sum(file.size for file in contents_of(point))
        with self._catalogue.writing(Deadline(self._lock_timeout), there.identity) as writer:
            listing = self._catalogue.read()
            self._here = {file.sha256: self._catalogue.path_of(other, file) for other in listing.points for file in other.files}
            needed -= sum(file.size for file in contents_of(point) if file.sha256 in self._here)
            if needed > free_bytes(self._catalogue.folder):
                raise Refused(f"{self._catalogue.folder} has no room for {needed} bytes.", "Give a folder on a larger file system.", "repository")
            with writer.stage(point.identifier) as stage:
                for number, file in enumerate(point.files):
                    counted(f"files of {point.identifier} that are here", number, len(point.files))
                    self._bring(there, writer, stage, file)
                writer.publish(stage, point)

    def _bring(self, there: There, writer: Writer, stage: Stage, file: StoredFile) -> None:
        target = os.path.join(stage.folder, file.path)
        with told("made", target):
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        known = self._here.get(file.sha256)
        if known is not None and digest_of(known) == file.sha256:
            with told("linked", target):
                os.link(known, target, follow_symlinks=False)
            self._brought.reused_objects += 1
            self._brought.reused_bytes += file.size
            return
        reason: Optional[NotProven] = None
        # What can be read without a key is tried first.
        for blob in sorted(there.blobs[file.sha256], key=lambda blob: blob.sealed):
            for version in blob.versions:
                try:
                    self._read(blob, version, writer, target)
                except NotProven as failure:
                    reason = failure
                    continue
                if digest_of(target) == file.sha256:
                    self._here[file.sha256] = target
                    self._brought.objects += 1
                    self._brought.bytes += file.size
                    return
                with told("removed", target):
                    os.unlink(target)
        raise reason or self._place.spoilt(there.blobs[file.sha256][0], "another content")

    def _read(self, blob: Blob, version: str, writer: Writer, target: str) -> None:
        """Read one version into a new file. Raises NotProven, and leaves no file, when it is not what its name says."""
        if not blob.sealed:
            self._fetched(blob, version, target)
            return
        if not self._identity_file:
            raise Invalid("The copy is encrypted.", "Give identity_file: the private key, on paper perhaps, of one of its recipients.", "identity_file")
        with writer.scratch() as folder:
            sealed = os.path.join(folder, "sealed")
            self._fetched(blob, version, sealed)
            age.find(self._age).decrypt_file(sealed, self._identity_file, target, Deadline(_OPENING))

    def _fetched(self, blob: Blob, version: str, target: str) -> None:
        with write_pieces(target) as write:
            content = self._place.api.fetch(blob.key, version, write)
        if (content.size, content.sha256) != (blob.size, blob.stored):
            with told("removed", target):
                os.unlink(target)
            raise self._place.spoilt(blob, f"{content.size} bytes of another content")

    def settle(self, observed: Observed, plan: Plan) -> float:
        return 0.0

    def abandon(self) -> str:
        return ""

    def conclude(self, first: Observed, last: Observed, plan: Plan, enforced: bool) -> Dict[str, Any]:
        newest = last.wanted[-1]
        checks = [Check(f"the point {point.identifier}", "as it was signed", "as it was signed", PASS) for point in last.wanted if point in last.listing.points]
        return {
            "point": newest.as_data(),
            "brought": [point.identifier for point in last.wanted],
            "rpo_seconds": round(last.there.now - newest.instant),
            "fetched": {"objects": self._brought.objects, "bytes": self._brought.bytes},
            "reused": {"objects": self._brought.reused_objects, "bytes": self._brought.reused_bytes},
            "problems": [*last.there.problems, *(f"the copy {entry.name}: {entry.reason}" for entry in last.there.damaged)],
            "proof": Proof(tuple(checks)).as_data(),
            "warnings": [*last.there.problems, *(f"the copy {entry.name}: {entry.reason}" for entry in last.there.damaged)],
        }


def _names(copies: Tuple[Copy, ...]) -> str:
    return ", ".join(copy.point.identifier for copy in copies[-5:]) or "nothing"


def _sequence(identifier: str) -> int:
    try:
        return sequence_of(identifier)
    except ValueError:
        raise Invalid(f"known_point is {identifier!r}.", "Give the identifier of a point: 00000012-b0240411.", "known_point") from None
