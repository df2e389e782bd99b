"""Copies of a real repository, to be spoilt: files changed as disks and hands change them, and manifests signed anew as if that had been the truth."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue, Stage
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from tests.backup.offsite import catalogue_of


@dataclass(frozen=True)
class Copy:
    """A repository of two points in a folder of its own, with the key. ``point`` is the newest as it was, ``earlier`` the one before."""

    folder: Path
    point: Manifest
    earlier: Manifest

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def place(self) -> Path:
        """Where the newest point is."""
        return self.repository / "points" / self.point.identifier

    @property
    def catalogue(self) -> Catalogue:
        return catalogue_of(self.folder)

    def file(self, pattern: str) -> Path:
        """The largest file of the newest point that a pattern names."""
        return max(self.place.glob(pattern), key=lambda path: path.stat().st_size)

    def before(self, path: Path) -> Path:
        """The same file in the point before."""
        return self.repository / "points" / self.earlier.identifier / path.relative_to(self.place)

    def promise(self, kind: str, *names: str) -> dict[str, Any]:
        """What the manifest says of a kind, or of a part of it, to be changed and given to ``sign``."""
        about = dict(self.point.kinds[kind])
        for name in names:
            about = dict(about[name])
        return about

    def sign(self, kinds: Mapping[str, Mapping[str, Any]] | None = None, **changed: Any) -> None:
        """Sign what lies there now, with these kinds in place of what was said of them, and with other fields of the manifest."""
        path = self.place / "manifest"
        path.unlink(missing_ok=True)
        files = Stage(self.point.identifier, str(self.place)).stored_files()
        told = replace(self.point, **{"files": files, "kinds": {**self.point.kinds, **(kinds or {})}, **changed})
        path.write_bytes(self.catalogue.keys.current.sign(told.as_body()))
        path.chmod(0o600)


def copied(source: Path, target: Path) -> Copy:
    """Copy a repository and its key."""
    target.mkdir()
    shutil.copytree(source / "repository", target / "repository", symlinks=True)
    shutil.copy(source / "key", target / "key")
    earlier, point = catalogue_of(target).read().points
    return Copy(target, point, earlier)


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file over; ``bit`` may be any number."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(bit // 8 % size)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1 << bit % 8]))


def link_away(path: Path, target: Path) -> None:
    """Put a file elsewhere, and a link in its place."""
    shutil.move(path, target)
    path.symlink_to(target)
