# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind objects: what the platform and its apps are made of in the cluster, with their volumes, in a form in which it can be made again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import replace
from typing import Any, Dict, List, Mapping

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import told, write_file
from ansible_collections.paas.hardening.plugins.module_utils._backup.kind import Clock, Scratch, Taken
from ansible_collections.paas.hardening.plugins.module_utils._backup.needs import secrets_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects import apiserver
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.canonical import FIRST_OF_REST, FIRST_OF_VOLUMES, address_of, line_of, step_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.collect import Collected, collect
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.proof import DRY_RUN, EMPTY_SERVER, prove_dry, prove_empty
from ansible_collections.paas.hardening.plugins.module_utils._backup.site import Site
from ansible_collections.paas.hardening.plugins.module_utils._cluster.access import Right, missing_rights
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

# In the order in which they are made: kubectl takes the files of a folder in the order of their names.
FILES = ("1-definitions.json", "2-volumes.json", "3-objects.json")
ARGUMENTS: Dict[str, Any] = {
    **apiserver.ARGUMENTS,
    "timeout": {"type": "int", "default": 600},
}


class PlatformObjects:
    """The platform's objects at work. ``options`` are those of ARGUMENTS, as checked by Ansible."""

    name = "objects"

    def __init__(self, options: Mapping[str, Any], site: Site) -> None:
        self._options = options
        self._site = site
        if options["timeout"] < 1:
            raise Invalid(f"objects.timeout is {options['timeout']}.", "Give seconds, 1 or more.", "objects.timeout")

    def look(self, repository: str) -> None:
        """See that every kind can be read, and, without an empty server, that the live one may be asked in a dry run. Raises Forbidden, Invalid."""
        apiserver.check(self._options, "objects.")
        namespace = self._site.namespace
        wanted: List[Right] = [
            Right("list", "", "configmaps", namespace),
            Right("list", "apps", "deployments", namespace),
            Right("list", "", "persistentvolumes"),
        ]
        alone = not self._options["empty_server"] and not self._options["apiserver_folder"]
        if alone:
            wanted += [Right("update", "apps", "deployments", namespace), Right("update", "", "persistentvolumes")]
        missing = missing_rights(self._site.connection, wanted)
        if missing:
            raise Forbidden(
                f"The right to {missing[0]} is missing.",
                "Every object of the platform is read; without objects.apiserver_folder or empty_server each is also judged by the live server in a dry run, "
                "which takes the right to update.",
                "objects",
            )

    def take(self, folder: str, scratch: Scratch) -> Taken:
        deadline = Deadline(self._options["timeout"])
        steps: Dict[str, float] = {}
        clock = Clock(steps)
        namespaces = self._site.namespaces()
        instant = min(self._site.as_of, time.time())
        collected = collect(self._site.objects, namespaces)
        clock.done("read")
        digest = write_objects(folder, collected)
        # What is proved is what lies there, not what we have in mind.
        written = replace(collected, documents=tuple(read_objects(folder)))
        clock.done("write")
        with apiserver.empty_server(self._options, scratch, deadline) as empty:
            if empty is None:
                how, proof = DRY_RUN, prove_dry(self._site.objects, written, len(collected.documents), deadline)
            else:
                how, proof = EMPTY_SERVER, prove_empty(self._site.objects, empty, written, len(collected.documents), namespaces, deadline)
        clock.done("prove")
        if proof.verdict != PASS:
            raise NotProven(f"The exported objects cannot be made again as they are: {proof.checks[-1].observed}.", "The point is not published.", "objects")
        about = {
            "namespace": self._site.namespace,
            "namespaces": namespaces,
            "objects": len(collected.documents),
            "kinds": collected.counts,
            "content": digest,
            "left_out": dict(collected.left_out),
            "proved_by": how,
        }
        return Taken(about, {}, instant, proof, steps["prove"], steps, tuple(map(secrets_of, namespaces)))


def write_objects(folder: str, collected: Collected) -> str:
    """Write the files of a point, one object a line, in the order in which they are made; return the SHA-256 over all of them."""
    summed = hashlib.sha256()
    parts: Dict[str, List[bytes]] = {name: [] for name in FILES}
    for document in collected.documents:
        step = step_of(document)
        name = FILES[0] if step < FIRST_OF_VOLUMES else FILES[1] if step < FIRST_OF_REST else FILES[2]
        parts[name].append(line_of(document))
    for name, lines in parts.items():
        content = b"".join(lines)
        summed.update(content)
        write_file(os.path.join(folder, name), content)
    return summed.hexdigest()


def digest_of_files(folder: str) -> str:
    """Return the SHA-256 over all files, as ``write_objects`` did."""
    summed = hashlib.sha256()
    for name in FILES:
        path = os.path.join(folder, name)
        with told("read", path), open(path, "rb") as file:
            summed.update(file.read())
    return summed.hexdigest()


def read_objects(folder: str) -> List[Dict[str, Any]]:
    """Return the objects of a point's files, in the order in which they are made. Raises NotProven for files that are torn."""
    found: List[Dict[str, Any]] = []
    for name in FILES:
        path = os.path.join(folder, name)
        with told("read", path), open(path, "rb") as file:
            content = file.read()
        try:
            if content and not content.endswith(b"\n"):
                raise ValueError
            for line in content.splitlines():
                document = json.loads(line)
                address_of(document)
                found.append(document)
        except (ValueError, KeyError, TypeError):
            raise NotProven(f"{path} is torn.", "The disk or somebody changed it: do not restore from it.", path) from None
    return found
