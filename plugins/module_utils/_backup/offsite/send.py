# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A point goes to a bucket: what is not there yet of its content, read back from there, then its manifest. Nothing there is ever replaced."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Set

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody import age
from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import digest_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest, StoredFile
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.there import Blob, Place, There, contents_of, ignore
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import counted
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.scratch import private_folder
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.objects_api import COMPLIANCE, Lock, Protection

_DAY = 86400
# Seconds that the encryption of one file may take.
_SEALING = 6 * 3600
# Seconds by which a store may round the end of a lock.
_ROUNDED = 1.0


@dataclass
class Sent:
    """What went, and what was there: different contents and their bytes, of files and as they lie there."""

    objects: int = 0
    bytes: int = 0
    reused_objects: int = 0
    reused_bytes: int = 0
    read_back: int = 0
    # The names of all that was compared with its digest in this run.
    proved: Set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Locking:
    """How long what is copied is locked, in seconds, and in which mode; no mode: not at all."""

    mode: str
    seconds: float

    def of(self, protection: Protection, now: float) -> Lock:
        """Return the lock that an object gets now. Never a weaker or shorter one than the bucket gives by itself. Pure."""
        if not self.mode or not protection.locks:
            return Lock()
        mode = COMPLIANCE if COMPLIANCE in (self.mode, protection.mode) else self.mode
        until = now + max(self.seconds, protection.seconds)
        # To the end of the day, so that a run which is begun anew does not have to lock longer what it finds.
        return Lock(mode, -(-until // _DAY) * _DAY)


class Sender:
    """One run's way to a bucket. ``recipients``: for whom what goes there is encrypted; none: it goes as it is."""

    def __init__(self, place: Place, catalogue: Catalogue, locking: Locking, recipients: Sequence[str], engine: str, scratch: str) -> None:
        self._place, self._catalogue, self._locking = place, catalogue, locking
        self._recipients, self._scratch = list(recipients), scratch
        self._engine: Optional[age.Engine] = age.find(engine) if recipients else None
        self._blobs: Dict[str, Blob] = {}
        self.sent = Sent()

    @property
    def sealing(self) -> bool:
        """Whether what goes there is encrypted."""
        return self._engine is not None

    def fitting(self, there: There, sha256: str) -> Optional[Blob]:
        """Return the blob that a new point can stand on: encrypted if that is asked for."""
        found = (blob for blob in there.blobs.get(sha256, ()) if blob.sealed or not self.sealing)
        return self._blobs.get(sha256) or next(found, None)

    def found(self, there: There) -> None:
        """Say there which repository this is."""
        self._document(self._place.identity_key(), self._catalogue.signed_identity(), self._locking.of(there.protection, there.now))

    def send(self, point: Manifest, there: There) -> None:
        """Copy a point, its manifest last. Raises NotProven when something is not the same on either side, Conflict when it was removed here meanwhile."""
        lock = self._locking.of(there.protection, there.now)
        settled = {file.sha256 for copy in there.copies for file in copy.point.files}
        copy = there.copy_of(point.identifier)
        files = contents_of(point)
        for number, file in enumerate(files):
            counted(f"files of {point.identifier} that are there", number, len(files))
            blob = self.fitting(there, file.sha256)
            if copy is not None and blob is None and file.sha256 in there.blobs:
                # A point that counts already may stand on what was sent before somebody asked for encryption.
                continue
            if blob is None:
                self._blobs[file.sha256] = self._sent(point, file, lock)
                continue
            if file.sha256 not in settled and blob.key not in self.sent.proved:
                # Left by a run that never came to its end: it counts once it was seen.
                self._place.compare(blob)
                self._proved(blob.key)
            self.sent.reused_objects += 1
            self.sent.reused_bytes += blob.size
            self._lock_longer(blob, lock)
        if copy is None:
            self._document(self._place.manifest_key(point), self._of_catalogue(point), lock)

    def _proved(self, key: str) -> None:
        self.sent.read_back += 1
        self.sent.proved.add(key)

    def _of_catalogue(self, point: Manifest) -> bytes:
        try:
            return self._catalogue.signed_manifest(point)
        except Failure as failure:
            raise self._gone(point, failure) from None

    def _gone(self, point: Manifest, failure: Failure) -> Failure:
        """Return the failure that it is when a file of a point cannot be read: somebody else removed the point, or what was said."""
        if not os.path.lexists(self._catalogue.folder_of(point)):
            return Conflict(f"The point {point.identifier} was removed while it was copied.", "Run again.", point.identifier)
        return failure

    def _sent(self, point: Manifest, file: StoredFile, lock: Lock) -> Blob:
        source = self._catalogue.path_of(point, file)
        try:
            if digest_of(source) != file.sha256:
                raise NotProven(f"{source} is not what was stored: its SHA-256 differs.", "The disk or somebody changed it: it is not copied.", source)
        except Failure as failure:
            raise self._gone(point, failure) from None
        if self._engine is None:
            return self._put(Blob(self._place.plain_key(file.sha256), file.sha256, file.sha256, file.size, False, ("",)), source, lock)
        with private_folder(self._scratch, f"copy of {self._catalogue.folder} to {self._place.name}") as folder:
            sealed = os.path.join(folder, "sealed")
            self._engine.encrypt_file(source, self._recipients, sealed, Deadline(_SEALING))
            age.look_at(sealed)
            stored, size = digest_of(sealed), os.path.getsize(sealed)
            key = self._place.sealed_key(file.sha256, stored, size)
            return self._put(Blob(key, file.sha256, stored, size, True, ("",)), sealed, lock)

    def _put(self, blob: Blob, path: str, lock: Lock) -> Blob:
        """Put a file, and see what lies there then."""
        version = ""
        try:
            version = self._place.api.put(blob.key, path, lock)
            self.sent.objects += 1
            self.sent.bytes += blob.size
        except Conflict:
            # Another run was quicker, or the answer to our own request was lost: what counts is what lies there.
            self.sent.reused_objects += 1
            self.sent.reused_bytes += blob.size
        content = self._place.api.fetch(blob.key, version, ignore)
        if (content.size, content.sha256) != (blob.size, blob.stored):
            raise self._place.spoilt(blob, f"{content.size} bytes of another content")
        self._proved(blob.key)
        self._judge_lock(blob.key, version, lock)
        return blob._replace(versions=(version,))

    def _document(self, key: str, body: bytes, lock: Lock) -> None:
        version = ""
        with contextlib.suppress(Conflict):
            version = self._place.api.put_bytes(key, body, lock)
        parts: List[bytes] = []
        self._place.api.fetch(key, version, parts.append)
        if b"".join(parts) != body:
            raise NotProven(f"{key} in {self._place.api.where} is not what was put there.", "Another repository, or somebody, has this name there.", key)
        self._judge_lock(key, version, lock)

    def _judge_lock(self, key: str, version: str, lock: Lock) -> None:
        if lock.mode and self._place.api.lock_of(key, version).until < lock.until - _ROUNDED:
            raise NotProven(
                f"{key} in {self._place.api.where} is not locked as it was asked to be.",
                "The store ignores locks, or the keys lack s3:PutObjectRetention and s3:GetObjectRetention.",
                key,
            )

    def _lock_longer(self, blob: Blob, lock: Lock) -> None:
        """See that what a new point stands on is locked as long as the point. A lock is never shortened, nor made weaker."""
        if not lock.mode:
            return
        for version in blob.versions:
            now = self._place.api.lock_of(blob.key, version)
            if now.until < lock.until - _ROUNDED:
                self._place.api.lock_longer(blob.key, version, lock._replace(mode=COMPLIANCE) if now.mode == COMPLIANCE else lock)
