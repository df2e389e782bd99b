# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bucket holds of a repository: the points whose signed manifests are there, the content that they name, and what somebody has done to it.

PREFIX/points/IDENTIFIER/manifest, as it was signed; PREFIX/repository, the signed identity; PREFIX/data/SHA256 for the content of every file, once, whoever
names it. What is encrypted is called data/SHA256.SHA256-OF-WHAT-LIES-THERE.SIZE.SIGNATURE.age: age gives other bytes each time, so the name vouches for them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, TypeVar

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import LARGEST_DOCUMENT, Damaged, read_identity
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import IDENTIFIER, Manifest, StoredFile, read_manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotFound, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.objects_api import Lock, ObjectApi, Protection, Upload, Version

Read = TypeVar("Read")
_MANIFEST = re.compile(rf"points/({IDENTIFIER.pattern})/manifest")
_PLAIN = re.compile(r"data/([0-9a-f]{64})")
_SEALED = re.compile(r"data/([0-9a-f]{64})\.([0-9a-f]{64})\.(\d{1,15})\.([0-9a-f]{32})\.age")
# Another text under the same key tells nothing about this one.
_NAMING = b"paas.hardening: content of a copy\0"
PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")


class Blob(NamedTuple):
    """The content of one file as the bucket has it: what the file is (``sha256``), what lies there (``stored``, ``size``), and the versions of that size."""

    key: str
    sha256: str
    stored: str
    size: int
    sealed: bool
    versions: Tuple[str, ...]


@dataclass(frozen=True)
class Copy:
    """A point whose manifest is in the bucket: by which object, and how that is locked."""

    point: Manifest
    key: str
    version: str
    lock: Lock


@dataclass(frozen=True)
class There:
    """A bucket at one moment by its own clock, in seconds since 1970. ``blobs`` are by the SHA-256 of the file; ``objects`` is everything, by key.

    Keys in ``objects`` are those without the prefix. ``spoilt`` has, by SHA-256, the keys under which lies something of another size than it has to be.
    """

    now: float
    protection: Protection
    identity: str
    copies: Tuple[Copy, ...]
    blobs: Mapping[str, Tuple[Blob, ...]]
    spoilt: Mapping[str, str]
    objects: Mapping[str, Tuple[Version, ...]]
    damaged: Tuple[Damaged, ...]
    problems: Tuple[str, ...]
    uploads: Tuple[Upload, ...]

    def copy_of(self, identifier: str) -> Optional[Copy]:
        """Return the copy of a point."""
        return next((copy for copy in self.copies if copy.point.identifier == identifier), None)

    def lacking(self, point: Manifest) -> List[StoredFile]:
        """Return one file for each content of a point that is not there in any form."""
        return [file for file in contents_of(point) if file.sha256 not in self.blobs]


def contents_of(point: Manifest) -> List[StoredFile]:
    """Return one file for each different content of a point."""
    return list({file.sha256: file for file in reversed(point.files)}.values())[::-1]


class Place:
    """Where a repository is copied to: a bucket, and a prefix in it."""

    def __init__(self, api: ObjectApi, prefix: str, keys: KeyRing) -> None:
        self.api, self._keys = api, keys
        self._prefix = f"{prefix}/" if prefix else ""
        self.name = f"{api.bucket}/{prefix}".rstrip("/")
        # What was read once in this run, by the one version that there is of it.
        self._read: Dict[Version, Copy] = {}

    def identity_key(self) -> str:
        """The name of what says which repository this is."""
        return f"{self._prefix}repository"

    def manifest_key(self, point: Manifest) -> str:
        """The name that makes a point one that is there."""
        return f"{self._prefix}points/{point.identifier}/manifest"

    def plain_key(self, sha256: str) -> str:
        """The name of a content as it is."""
        return f"{self._prefix}data/{sha256}"

    def sealed_key(self, sha256: str, stored: str, size: int) -> str:
        """The name of a content that was encrypted to these bytes."""
        return f"{self._prefix}data/{sha256}.{stored}.{size}.{_vouched(self._keys.current.secret, sha256, stored, size)}.age"

    def read(self, points: Sequence[Manifest] = ()) -> There:
        """List everything, and read each manifest. ``points`` are others of which is known how large their files are.

        Raises NotProven when it cannot be believed which repository this is.
        """
        protection = self.api.protection()
        objects: Dict[str, List[Version]] = {}
        for entry in self.api.entries(self._prefix, protection.versions):
            objects.setdefault(entry.key[len(self._prefix) :], []).append(entry)
        problems: List[str] = []
        identity = ""
        if "repository" in objects:
            found, _version = self._document(objects["repository"], read_identity, problems)
            identity = found
        copies: List[Copy] = []
        damaged: List[Damaged] = []
        for name, versions in objects.items():
            manifest = _MANIFEST.fullmatch(name)
            if manifest and any(not version.marker for version in versions):
                try:
                    copies.append(self._copy(manifest.group(1), identity, protection.locks, versions, problems))
                except (NotProven, NotFound) as failure:
                    damaged.append(Damaged(manifest.group(1), failure.message))
        sizes = {file.sha256: file.size for point in (*points, *(copy.point for copy in copies)) for file in point.files}
        blobs: Dict[str, List[Blob]] = {}
        spoilt: Dict[str, str] = {}
        for name, versions in objects.items():
            blob = self._blob(name, versions, sizes, problems)
            if blob is not None and blob.versions:
                blobs.setdefault(blob.sha256, []).append(blob)
            elif blob is not None and any(not version.marker for version in versions):
                spoilt[blob.sha256] = blob.key
        return There(
            now=self.api.now,
            protection=protection,
            identity=identity,
            copies=tuple(sorted(copies, key=lambda copy: copy.point.sequence)),
            blobs={sha256: tuple(forms) for sha256, forms in blobs.items()},
            spoilt={sha256: key for sha256, key in spoilt.items() if sha256 not in blobs},
            objects={name: tuple(versions) for name, versions in objects.items()},
            damaged=tuple(damaged),
            problems=tuple(problems),
            uploads=tuple(self.api.uploads(self._prefix)),
        )

    def compare(self, blob: Blob) -> str:
        """Read the content of a blob, and return the name of a version that holds what it has to. Raises NotProven when none does."""
        seen = ""
        for version in blob.versions:
            content = self.api.fetch(blob.key, version, ignore)
            if (content.size, content.sha256) == (blob.size, blob.stored):
                return version
            seen = f"{content.size} bytes of another content"
        raise self.spoilt(blob, seen or "nothing of the right size")

    def spoilt(self, blob: Blob, seen: str) -> NotProven:
        """Return the failure that an object is whose content is not what its name says."""
        hint = "Delete it when its content can be had from here again, and run again; and find out who changed it."
        return NotProven(f"{blob.key} in {self.api.where} holds {seen}, not what was stored: its SHA-256 differs.", hint, blob.key)

    def _document(self, versions: Sequence[Version], read: Callable[[bytes, str], Read], problems: List[str]) -> Tuple[Read, str]:
        """Read a signed document: the first version of it that is what it has to be, since nobody of us ever writes a second. Raises NotProven."""
        real = sorted((version for version in versions if not version.marker), key=lambda version: version.written)
        reason: Failure = NotProven(f"{versions[0].key} in {self.api.where} was deleted.", "Find out by whom.", versions[0].key)
        for number, version in enumerate(real):
            if version.size > LARGEST_DOCUMENT:
                reason = NotProven(f"{version.key} in {self.api.where} is larger than any manifest.", "It is not from this collection.", version.key)
                continue
            parts: List[bytes] = []
            self.api.fetch(version.key, version.name, parts.append)
            where = f"{version.key} in {self.api.where}"
            try:
                found = read(self._keys.opened(b"".join(parts), where), where)
            except NotProven as failure:
                reason = failure
                continue
            if len(versions) > 1 and (number or len(real) > 1 or len(real) < len(versions)):
                problems.append(f"{where} was overwritten or deleted by somebody; the version that was signed is still there")
            return found, version.name
        raise reason

    def _copy(self, identifier: str, identity: str, locks: bool, versions: Sequence[Version], problems: List[str]) -> Copy:
        def read(body: bytes, where: str) -> Manifest:
            manifest = read_manifest(body, where)
            if manifest.identifier != identifier or manifest.repository != identity:
                raise NotProven(f"{where} is the point {manifest.identifier} of the repository {manifest.repository}.", "It was put there by hand.", identifier)
            if manifest.unproved():
                raise NotProven(f"{where} was never proved: {', '.join(manifest.unproved())}.", "It counts for nothing.", identifier)
            return manifest

        known = self._read.get(versions[0]) if len(versions) == 1 else None
        if known is not None and known.point.repository == identity:
            return known
        point, version = self._document(versions, read, problems)
        key = self.manifest_key(point)
        copy = Copy(point, key, version, self.api.lock_of(key, version) if locks else Lock())
        if len(versions) == 1:
            self._read[versions[0]] = copy
        return copy

    def _blob(self, name: str, versions: Sequence[Version], sizes: Mapping[str, int], problems: List[str]) -> Optional[Blob]:
        """Return what a name says that an object holds, with the versions of which that can be true; None for other names."""
        plain, sealed = _PLAIN.fullmatch(name), _SEALED.fullmatch(name)
        real = sorted((version for version in versions if not version.marker), key=lambda version: version.written)
        if sealed:
            sha256, stored, size = sealed.group(1), sealed.group(2), int(sealed.group(3))
            known = [_vouched(key.secret, sha256, stored, size) for key in (self._keys.current, *self._keys.older)]
            if not any(hmac.compare_digest(value, sealed.group(4)) for value in known):
                problems.append(f"{versions[0].key} in {self.api.where} has a name that was not given by us")
                return None
        elif plain:
            sha256 = stored = plain.group(1)
            size = sizes.get(sha256, real[0].size if real else 0)
        else:
            return None
        if len(versions) > 1:
            problems.append(f"{versions[0].key} in {self.api.where} was overwritten or deleted by somebody")
        return Blob(self._prefix + name, sha256, stored, size, bool(sealed), tuple(version.name for version in real if version.size == size))


def _vouched(secret: bytes, sha256: str, stored: str, size: int) -> str:
    return hmac.new(secret, _NAMING + f"{sha256}.{stored}.{size}".encode("ascii"), hashlib.sha256).hexdigest()[:32]


def ignore(_chunk: bytes) -> None:
    """For who wants the digest only."""
