# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository of recovery points: what it lists is complete, signed and proved; what is being written or removed is in no list.

points/IDENTIFIER/manifest and the files that it names: published by one rename of a folder that was flushed to disk. work/: what a run is busy with; whatever
is there while nobody holds the lock was left behind. repository: the signed identity, so that a point of another repository is not taken for one of this.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Iterator, List, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import (
    FILE_MODE,
    digest_of,
    files_below,
    flush_folder,
    flush_tree,
    make_folder,
    move,
    remove_tree,
    told,
    write_file,
)
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import FORMAT, IDENTIFIER, Manifest, StoredFile, read_manifest, sequence_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, NotProven, Refused, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

_MANIFEST, _IDENTITY, _LOCK, _POINTS, _WORK = "manifest", "repository", "lock", "points", "work"
# A repository may be a whole file system.
_EXPECTED = frozenset({_IDENTITY, _LOCK, _POINTS, _WORK, "lost+found"})
# Bytes. A manifest names a few files; a larger one is none.
LARGEST_DOCUMENT = 16 << 20
# Seconds between two tries to have the lock.
_LOOK = 0.2


@dataclass(frozen=True)
class Damaged:
    """Something among the points that is none, or no longer: its name, and what is wrong with it."""

    name: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a repository holds: points in the order of their sequence, what is damaged, and what interrupted runs left behind."""

    identity: str = ""
    points: Tuple[Manifest, ...] = ()
    damaged: Tuple[Damaged, ...] = ()
    leftovers: Tuple[str, ...] = ()

    @property
    def newest(self) -> Optional[Manifest]:
        return self.points[-1] if self.points else None


@dataclass(frozen=True)
class Stage:
    """A point in the making: the identifier that it will have, and the folder for its files."""

    identifier: str
    folder: str

    def stored_files(self) -> Tuple[StoredFile, ...]:
        """Return every file with size and SHA-256, as read back from the folder."""
        return tuple(StoredFile(path, size, digest_of(os.path.join(self.folder, path))) for path, size in files_below(self.folder))


class Catalogue:
    """A repository, for reading. ``folder`` need not exist yet."""

    def __init__(self, folder: str, keys: KeyRing) -> None:
        self.folder = os.path.abspath(folder)
        self.keys = keys

    def read(self) -> Listing:
        """Return what is there, without a write and without the lock. Raises NotProven when the repository cannot be believed, Refused when it is open."""
        if not os.path.lexists(self.folder):
            return Listing()
        self._check_folder()
        names = self._names(_POINTS)
        identity = self._identity()
        if not identity:
            if names:
                raise NotProven(
                    f"{self.folder} holds points, but nothing says which repository it is.", "Restore its file repository from a copy.", self.folder
                )
            return Listing(leftovers=self._leftovers())
        points: List[Manifest] = []
        damaged: List[Damaged] = []
        for name in names:
            try:
                points.append(self._point(name, identity))
            except Failure as failure:
                # One that retention takes away in this moment is not damaged.
                if os.path.lexists(self._path(_POINTS, name)):
                    damaged.append(Damaged(name, failure.message))
        return Listing(identity, *_settled(points, damaged), self._leftovers())

    def verify(self, point: Manifest) -> None:
        """Read every file of a point and compare it with what was signed. Raises NotProven, naming the file."""
        for file in point.files:
            path = self.path_of(point, file)
            if digest_of(path) != file.sha256:
                raise NotProven(f"{path} is not what was stored: its SHA-256 differs.", "The disk or somebody changed it: do not restore from it.", path)

    def path_of(self, point: Manifest, file: StoredFile) -> str:
        """Return where a file of a point lies."""
        return self._path(_POINTS, point.identifier, file.path)

    def folder_of(self, point: Manifest) -> str:
        """Return where the files of a point lie."""
        return self._path(_POINTS, point.identifier)

    def signed_manifest(self, point: Manifest) -> bytes:
        """Return the manifest of a point as it was signed."""
        return self._content(self._path(_POINTS, point.identifier, _MANIFEST))

    def signed_identity(self) -> bytes:
        """Return what says which repository this is, as it was signed."""
        return self._content(self._path(_IDENTITY))

    @contextmanager
    def writing(self, deadline: Deadline, identity: str = "") -> Iterator[Writer]:
        """Lock out other writers of this machine, make the repository where there is none, and clear away what interrupted runs left.

        A new one gets the ``identity``, where its points come from another place, or one of its own. Raises TimedOut when another run holds the lock until
        the deadline. The lock ends with us, however we end.
        """
        make_folder(self.folder)
        self._check_folder()
        with self._locked(deadline):
            for name in (_POINTS, _WORK):
                make_folder(self._path(name))
            writer = Writer(self)
            writer.sweep()
            if not self._identity():
                writer.found(identity or secrets.token_hex(16))
            yield writer

    def _path(self, *names: str) -> str:
        return os.path.join(self.folder, *names)

    def _check_folder(self) -> None:
        with told("looked at", self.folder):
            about = os.stat(self.folder)
            strangers = sorted(set(os.listdir(self.folder)) - _EXPECTED)
        if about.st_mode & 0o077 or about.st_uid != os.geteuid():
            raise Refused(f"{self.folder} is not ours alone.", "A point holds every Secret of the cluster: chown and chmod 700 the folder.", "repository")
        if strangers:
            raise Refused(f"{self.folder} holds something else: {strangers[0]}.", "Give an empty folder, or one that does not exist yet.", "repository")

    def _names(self, folder: str) -> List[str]:
        with told("listed", self._path(folder)):
            try:
                return sorted(os.listdir(self._path(folder)))
            except FileNotFoundError:
                return []

    def _document(self, path: str) -> bytes:
        return self.keys.opened(self._content(path), path)

    def _content(self, path: str) -> bytes:
        with told("read", path):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                content = file.read(LARGEST_DOCUMENT + 1)
        if len(content) > LARGEST_DOCUMENT:
            raise NotProven(f"{path} is larger than any manifest.", "It is not from this collection.", path)
        return content

    def _identity(self) -> str:
        path = self._path(_IDENTITY)
        return read_identity(self._document(path), path) if os.path.lexists(path) else ""

    def _point(self, name: str, identity: str) -> Manifest:
        """Read one point. Raises a failure that says in what it is torn, changed, foreign or unproved."""
        folder = self._path(_POINTS, name)
        if not IDENTIFIER.fullmatch(name):
            raise NotProven(f"{folder} has no name of a point.", "Nothing but points belongs there.", name)
        body = self._document(os.path.join(folder, _MANIFEST))
        manifest = read_manifest(body, os.path.join(folder, _MANIFEST))
        if manifest.identifier != name or manifest.repository != identity:
            raise NotProven(f"{folder} is the point {manifest.identifier} of the repository {manifest.repository}.", "It was put there by hand.", name)
        if manifest.unproved():
            raise NotProven(f"{folder} was never proved: {', '.join(manifest.unproved())}.", "It counts for nothing.", name)
        wanted = {file.path: file.size for file in manifest.files}
        found = {path: size for path, size in files_below(folder) if path != _MANIFEST}
        wrong = sorted(path for path in {**wanted, **found} if wanted.get(path) != found.get(path))
        if wrong:
            about = "is missing" if wrong[0] not in found else "does not belong there" if wrong[0] not in wanted else "has another size"
            raise NotProven(f"{os.path.join(folder, wrong[0])} {about}.", "The point is torn: do not restore from it.", name)
        return manifest

    def _leftovers(self) -> Tuple[str, ...]:
        """What is in work while nobody works."""
        names = self._names(_WORK)
        if not names:
            return ()
        with told("opened", self._path(_LOCK)):
            descriptor = os.open(self._path(_LOCK), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return ()
            finally:
                os.close(descriptor)
        return tuple(names)

    @contextmanager
    def _locked(self, deadline: Deadline) -> Iterator[None]:
        path = self._path(_LOCK)
        with told("opened", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not deadline.pause(_LOOK):
                        owner = os.pread(descriptor, 200, 0).decode("ascii", "replace").strip()
                        raise TimedOut(f"Another run works on {self.folder}: {owner}.", "Let it end, or look at that process.", self.folder) from None
            with told("written", path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode("ascii", "replace"), 0)
            yield
        finally:
            os.close(descriptor)


class Writer:
    """A repository, for who holds its lock."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._points = os.path.join(catalogue.folder, _POINTS)
        self._work = os.path.join(catalogue.folder, _WORK)

    def found(self, identity: str) -> None:
        """Give the repository its identity. A repository that has points has one, or cannot be believed."""
        if os.listdir(self._points):
            self._catalogue.read()
        body = json.dumps({"document": "repository", "format": FORMAT, "identity": identity}).encode("ascii") + b"\n"
        path = os.path.join(self._work, _IDENTITY)
        write_file(path, self._catalogue.keys.current.sign(body))
        move(path, os.path.join(self._catalogue.folder, _IDENTITY))

    def sweep(self) -> List[str]:
        """Remove what interrupted runs left behind; return its names."""
        with told("listed", self._work):
            names = sorted(os.listdir(self._work))
        for name in names:
            path = os.path.join(self._work, name)
            if os.path.isdir(path) and not os.path.islink(path):
                remove_tree(path)
            else:
                with told("removed", path):
                    os.unlink(path)
        return names

    @contextmanager
    def stage(self, identifier: str = "") -> Iterator[Stage]:
        """Begin a point, a new one unless it is named. What is not published is removed at the end; when we are ended before that, the next run does it."""
        with told("listed", self._points):
            taken = [sequence_of(name) for name in os.listdir(self._points) if IDENTIFIER.fullmatch(name)]
        identifier = identifier or f"{max(taken, default=0) + 1:08d}-{secrets.token_hex(4)}"
        with self._busy(f"point-{identifier}") as folder:
            yield Stage(identifier, folder)

    @contextmanager
    def scratch(self) -> Iterator[str]:
        """Give a folder for what a proof needs for a while, on the disk of the repository."""
        with self._busy(f"scratch-{secrets.token_hex(4)}") as folder:
            yield folder

    @contextmanager
    def _busy(self, name: str) -> Iterator[str]:
        folder = os.path.join(self._work, name)
        make_folder(folder)
        try:
            yield folder
        finally:
            # A disk that refuses this too must not hide why we are here; what stays is in no list, and the next run removes it.
            with suppress(Failure):
                remove_tree(folder)

    def publish(self, stage: Stage, manifest: Manifest) -> Manifest:
        """Make a point one that counts, in one step, and return it as read back.

        Raises NotProven when a kind was not proved or the files are not those of the manifest; then nothing is published.
        """
        if manifest.unproved() or not manifest.kinds or manifest.identifier != stage.identifier:
            raise NotProven(f"The point {stage.identifier} was not proved: {', '.join(manifest.unproved())}.", "It is not published.", stage.identifier)
        flush_tree(stage.folder)
        if {file.path: file.size for file in manifest.files} != dict(files_below(stage.folder)):
            raise NotProven(f"The files of the point {stage.identifier} changed while it was made.", "Find out by whom, and run again.", stage.identifier)
        write_file(os.path.join(stage.folder, _MANIFEST), self._catalogue.keys.current.sign(manifest.as_body()))
        flush_folder(stage.folder)
        move(stage.folder, os.path.join(self._points, stage.identifier))
        published = next((point for point in self._catalogue.read().points if point.identifier == stage.identifier), None)
        if published != manifest:
            raise NotProven(f"The point {stage.identifier} was published, but cannot be read back.", "Look at the file system.", stage.identifier)
        return manifest

    def remove(self, point: Manifest) -> None:
        """Take a point out of the list in one step, then delete it. Raises Conflict when it is gone already."""
        path = os.path.join(self._points, point.identifier)
        if not os.path.lexists(path):
            raise Conflict(f"The point {point.identifier} is gone already.", "Somebody else removed it; run again.", point.identifier)
        doomed = os.path.join(self._work, f"removed-{point.identifier}")
        move(path, doomed)
        remove_tree(doomed)


def read_identity(body: bytes, what: str) -> str:
    """Return the identity that a signed document gives to a repository; ``what`` names it in errors. Raises NotProven for another document."""
    try:
        data = json.loads(body)
        if data["document"] == "repository" and data["format"] == FORMAT:
            return str(data["identity"])
    except (KeyError, TypeError, ValueError):
        pass
    raise NotProven(f"{what} is no repository of format {FORMAT}.", "A newer collection wrote it: use that one.", what)


def _settled(points: List[Manifest], damaged: List[Damaged]) -> Tuple[Tuple[Manifest, ...], Tuple[Damaged, ...]]:
    """Take out the points that share a number, and those that stand on a point which is not there (which takes out what stands on them, too)."""
    numbers = [point.sequence for point in points]
    kept: List[Manifest] = []
    for point in sorted(points, key=lambda point: point.sequence):
        missing = [parent for parent in point.parents if parent not in {other.identifier for other in kept}]
        if numbers.count(point.sequence) > 1:
            damaged.append(Damaged(point.identifier, f"There are several points with the number {point.sequence}."))
        elif missing:
            damaged.append(Damaged(point.identifier, f"The point {missing[0]}, without which it cannot be restored, is not there."))
        else:
            kept.append(point)
    return tuple(kept), tuple(damaged)
