# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one recovery point says of itself: when, what, by which tools, with which files, and how it was proved."""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Dict, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS

FORMAT = 1
IDENTIFIER = re.compile(r"(\d{8,12})-([0-9a-f]{8})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredFile:
    """One file of a point: its path inside the point, its size in bytes, and its SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """One recovery point. Times are seconds since 1970; ``instant`` is the moment whose data it holds at least.

    ``kinds`` has for each kind what a restore has to know (etcd: cluster, revision, number of keys, digest of the content). ``proofs`` has for each kind the
    verdict, the checks and the seconds of its restore. ``parents`` are the identifiers of the points without which this one cannot be restored.
    """

    identifier: str
    repository: str
    began: float
    instant: float
    ended: float
    kinds: Mapping[str, Mapping[str, Any]]
    files: Tuple[StoredFile, ...]
    tools: Mapping[str, str]
    keys: Mapping[str, Any]
    proofs: Mapping[str, Mapping[str, Any]]
    parents: Tuple[str, ...] = ()

    @property
    def sequence(self) -> int:
        """The number by which points are ordered: clocks jump, it does not."""
        return sequence_of(self.identifier)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def unproved(self) -> Tuple[str, ...]:
        """The kinds whose restore was not proved."""
        return tuple(sorted(kind for kind in self.kinds if (self.proofs.get(kind) or {}).get("verdict") != PASS))

    def as_body(self) -> bytes:
        """Return the text that is signed."""
        data = {
            "document": "recovery point",
            "format": FORMAT,
            "identifier": self.identifier,
            "repository": self.repository,
            "began": self.began,
            "instant": self.instant,
            "ended": self.ended,
            "kinds": self.kinds,
            "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in self.files],
            "tools": self.tools,
            "keys": self.keys,
            "proofs": self.proofs,
            "parents": list(self.parents),
        }
        return json.dumps(data, indent=1, sort_keys=True, allow_nan=False).encode("ascii") + b"\n"

    def as_data(self) -> Dict[str, Any]:
        """Return what a result shows of the point."""
        return {
            "identifier": self.identifier,
            "sequence": self.sequence,
            "instant": moment(self.instant),
            "seconds": round(self.ended - self.began, 3),
            "size": self.size,
            "kinds": {kind: dict(about) for kind, about in self.kinds.items()},
            "tools": dict(self.tools),
            "proofs": {kind: dict(proof) for kind, proof in self.proofs.items()},
            "parents": list(self.parents),
        }


def sequence_of(identifier: str) -> int:
    """Return the number in an identifier. An identifier that is none is a defect of the caller (ValueError)."""
    found = IDENTIFIER.fullmatch(identifier)
    if not found:
        raise ValueError(f"no identifier of a point: {identifier}")
    return int(found.group(1))


def moment(seconds: float) -> str:
    """Write a time as people and programs read it: in UTC, with its zone."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_manifest(body: bytes, what: str) -> Manifest:
    """Read the body of a signed manifest; ``what`` names it in errors. Raises NotProven for another document, another format, and what cannot be."""
    try:
        data = json.loads(body)
        if data["document"] != "recovery point" or data["format"] != FORMAT:
            raise NotProven(f"{what} is no recovery point of format {FORMAT}.", "A newer collection wrote it: read it with that one.", what)
        files = tuple(StoredFile(str(file["path"]), int(file["size"]), str(file["sha256"])) for file in data["files"])
        manifest = Manifest(
            identifier=str(data["identifier"]),
            repository=str(data["repository"]),
            began=float(data["began"]),
            instant=float(data["instant"]),
            ended=float(data["ended"]),
            kinds=dict(data["kinds"]),
            files=files,
            tools=dict(data["tools"]),
            keys=dict(data["keys"]),
            proofs=dict(data["proofs"]),
            parents=tuple(str(parent) for parent in data["parents"]),
        )
        plain = IDENTIFIER.fullmatch(manifest.identifier) and all(IDENTIFIER.fullmatch(parent) for parent in manifest.parents)
        if not plain or not manifest.kinds or not all(map(_possible, files)):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise NotProven(f"{what} cannot be read.", "A defect of the collection that wrote it, since its signature holds; please report it.", what) from None
    return manifest


def _possible(file: StoredFile) -> bool:
    """Tell whether a file can be one of a point: its path leads nowhere else."""
    inside = not file.path.startswith(("/", "../")) and posixpath.normpath(file.path) == file.path and file.path not in ("", ".", "..")
    return inside and file.size >= 0 and bool(_SHA256.fullmatch(file.sha256))
