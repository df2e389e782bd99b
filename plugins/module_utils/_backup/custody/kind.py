# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kind secrets: what no restore can do without, encrypted for at least two who keep a key elsewhere. It is never decrypted where it is made."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, Mapping

from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.age import check_recipients, find, look_at, readable
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.content import check_files, gather
from ansible_collections.paas.hardening.plugins.module_utils._backup.kind import Clock, Scratch, Taken
from ansible_collections.paas.hardening.plugins.module_utils._backup.site import Site
from ansible_collections.paas.hardening.plugins.module_utils._cluster.access import Right, missing_rights
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

FILE = "secrets.json.age"
ARGUMENTS: Dict[str, Any] = {
    "recipients": {"type": "list", "elements": "str", "default": []},
    "files": {"type": "list", "elements": "path", "default": []},
    "age": {"type": "path"},
    "timeout": {"type": "int", "default": 120},
}
# What a proof without a key can see, and what not.
_READ = "its header, for how many it is, and how many bytes it holds"
_NOT_READ = "its content: that takes one of the keys, which are not here. Try it where they are: age --decrypt --identity KEY FILE | sha256sum gives content"


class Custody:
    """The secrets at work. ``options`` are those of ARGUMENTS, as checked by Ansible."""

    name = "secrets"

    def __init__(self, options: Mapping[str, Any], site: Site) -> None:
        self._options = options
        self._site = site
        if options["timeout"] < 1:
            raise Invalid(f"secrets.timeout is {options['timeout']}.", "Give seconds, 1 or more.", "secrets.timeout")
        check_recipients(options["recipients"])

    def look(self, repository: str) -> None:
        """See that age is there, that the files can be read and the Secrets listed. Writes nothing. Raises Invalid, MissingDependency, Forbidden."""
        find(self._options["age"] or "")
        check_files(self._options["files"])
        missing = missing_rights(self._site.connection, [Right("list", "", "secrets", self._site.namespace)])
        if missing:
            raise Forbidden(f"The right to {missing[0]} is missing.", "A point without the Secrets cannot be restored.", "secrets")

    def take(self, folder: str, scratch: Scratch) -> Taken:
        deadline = Deadline(self._options["timeout"])
        steps: Dict[str, float] = {}
        clock = Clock(steps)
        engine = find(self._options["age"] or "")
        namespaces = self._site.namespaces()
        instant = min(self._site.as_of, time.time())
        content = gather(self._site.objects, namespaces, self._options["files"])
        clock.done("read")
        path = os.path.join(folder, FILE)
        recipients = self._options["recipients"]
        engine.encrypt(content.text, recipients, path, deadline)
        clock.done("encrypt")
        seen = look_at(path)
        checks = (
            Check.equal("keys of which each alone opens the file", len(recipients), seen.recipients),
            Check.equal("bytes of content in the encrypted file", len(content.text), seen.content),
            Check.equal("values of Secrets and files that can be read in it", 0, readable(path, content.telling())),
        )
        proof = Proof(checks)
        clock.done("prove")
        if proof.verdict != PASS:
            raise NotProven(f"The encrypted file is not what was given to age: {proof}.", "The point is not published; look at the program.", "age")
        about = {
            "namespaces": dict(content.secrets),
            "secrets": sum(content.secrets.values()),
            "files": [os.path.abspath(path) for path in self._options["files"]],
            "recipients": list(recipients),
            "content": content.digest,
            "read": _READ,
            "not_read": _NOT_READ,
        }
        return Taken(about, {"age": engine.version}, instant, proof, 0.0, steps, (), content.offers)
