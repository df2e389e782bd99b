# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets are decrypted with a key that is brought along, into a new folder that only we can enter. Nothing is given to a cluster."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import stat
import time
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.age import find
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.kind import FILE
from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import files_below, flush_tree, make_folder, remove_tree, write_file
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.place import Found, Place
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.restorer import API, CONTENT, Outcome
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

ARGUMENTS: Dict[str, Any] = {
    "folder": {"type": "path"},
    "identity_file": {"type": "path", "no_log": False},
    "age": {"type": "path"},
}
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class SecretsRestore:
    """What is in custody. ``folder`` is where the point has it, encrypted."""

    name, swaps = "secrets", False

    def __init__(self, options: Mapping[str, Any], point: Manifest, folder: str, keys: KeyRing) -> None:
        target = options["folder"] or ""
        if not os.path.isabs(target) or os.path.normpath(target) == "/":
            raise Invalid(f"secrets.folder is {target!r}.", "Give a folder that is not there yet, best in memory: /run/user/0/secrets.", "secrets.folder")
        identity = options["identity_file"] or ""
        if not identity or not os.path.isfile(identity):
            raise Invalid("secrets.identity_file is no file.", "Give the file with the key of one of the recipients.", "secrets.identity_file")
        if stat.S_IMODE(os.stat(identity).st_mode) & 0o077:
            raise Refused(f"secrets.identity_file {identity} is open to other users.", f"Make it yours alone: chmod 600 {identity}", "secrets.identity_file")
        self._identity, self._age = identity, options["age"] or ""
        self._point, self._encrypted = point, os.path.join(folder, FILE)
        # Here the new place is where it stays: the name that was given gets the number of the point.
        self._place = Place(os.path.normpath(target), point.identifier, keys)
        self._found = Found(None, False, False, False, False, False, {})

    def look(self) -> None:
        self._found = self._place.look(_nobody)
        if self._found.live:
            raise Refused(f"{self._place.live} is there already.", "A restore goes to a new place: give a folder that is not there.", "secrets.folder")

    def changes(self, swap: bool) -> List[Change]:
        if self._found.fresh:
            return []
        before: Any = "remains of a restore that was interrupted" if self._found.remains else ABSENT
        return [Change(Ref(API, "Restored secrets", self._place.fresh), CONTENT, before, self._point.identifier, "they are decrypted into a new folder")]

    def restore(self, change: Change, deadline: Deadline) -> None:
        place, about = self._place, self._point.kinds["secrets"]
        begun = time.monotonic()
        text = find(self._age).content_inside(self._encrypted, self._identity, deadline)
        digest = hashlib.sha256(text).hexdigest()
        if digest != about["content"]:
            raise NotProven("What the key opens is not what was encrypted.", "Somebody put it there: do not use it.", "secrets")
        files = _files_of(json.loads(text))
        unproved = f"{place.fresh}.unproved"
        with place.alone(), contextlib.ExitStack() as ends:
            place.clear(self._found)
            remove_tree(unproved)
            ends.callback(remove_tree, unproved)
            make_folder(unproved)
            for path, content in files.items():
                self._make_folders(unproved, path)
                write_file(os.path.join(unproved, path), content)
            flush_tree(unproved)
            wrong = [path for path, content in files.items() if _read(os.path.join(unproved, path)) != content]
            kept = {path for path, _size in files_below(unproved)}
            checks = (
                Check.equal("SHA-256 of the decrypted Secrets", str(about["content"]), digest),
                Check.equal("files that were written", str(len(files)), str(len(kept & set(files)))),
                Check.equal("files that read back otherwise", "0", str(len(wrong))),
                Check.equal("Secrets", str(about["secrets"]), str(sum(path.startswith("secrets/") for path in kept))),
            )
            if Proof(checks).verdict != PASS:
                raise NotProven(f"The restored Secrets are not what the point holds: {Proof(checks)}.", "Look at this disk.", place.fresh)
            place.publish(unproved, Proof(checks), time.monotonic() - begun)

    @staticmethod
    def _make_folders(above: str, path: str) -> None:
        place = above
        for part in path.split("/")[:-1]:
            place = os.path.join(place, part)
            make_folder(place)

    def swap(self, change: Change) -> None:
        """Nothing is: they are for who gives them to a cluster."""

    def outcome(self) -> Outcome:
        record = self._found.record if self._found.fresh else None
        fresh = self._place.fresh
        files = (f"Put the files of {fresh}/files where they belong on their host.",) if self._point.kinds["secrets"]["files"] else ()
        return Outcome(
            (fresh,),
            record.proof() if record else Proof(),
            record.seconds if record else 0.0,
            False,
            "",
            (
                f"Give the Secrets to the cluster after the namespaces and before the workloads: kubectl apply --server-side --recursive -f {fresh}/secrets",
                *files,
                f"Remove {fresh} and take the key away when that is done.",
            ),
        )


def _files_of(document: Mapping[str, Any]) -> Dict[str, bytes]:
    """Return the files by their path below the new folder. Raises NotProven for names that would leave it."""
    files: Dict[str, bytes] = {}
    for entry in document["secrets"]:
        metadata = entry["metadata"]
        parts: Tuple[str, str] = (str(metadata["namespace"]), str(metadata["name"]))
        if not all(map(_NAME.fullmatch, parts)):
            raise NotProven(f"Secret {parts[0]}/{parts[1]} has a name that cannot be.", "It is not from this collection.", "secrets")
        files[f"secrets/{parts[0]}/{parts[1]}.json"] = json.dumps(entry, indent=1, sort_keys=True).encode("utf-8") + b"\n"
    for entry in document["files"]:
        path = str(entry["path"])
        if not os.path.isabs(path) or os.path.normpath(path) != path or path == "/" or path.startswith("//"):
            raise NotProven(f"The file {path} has a name that cannot be.", "It is not from this collection.", "secrets")
        files[f"files{path}"] = base64.b64decode(entry["content"], validate=True)
    return files


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _nobody(folder: str) -> str:
    return ""
