# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One member of an etcd cluster, asked through etcdctl."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Generator, List, Mapping, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.content import Content, read_content
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import Programs, Version, printed, read_version, run
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

# Seconds for a page of keys or a hash, for how a member is, and for reaching it.
_COMMAND_TIMEOUT = 60
_STATUS_TIMEOUT = 10
_DIAL_TIMEOUT = 5


@dataclass(frozen=True)
class Access:
    """How a cluster is entered: the endpoints, the first being the one that snapshots come from, and the files of TLS."""

    endpoints: Tuple[str, ...]
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""

    def __post_init__(self) -> None:
        for endpoint in self.endpoints:
            # Anything else would be guessed by the client, without TLS.
            if not endpoint.startswith(("https://", "http://", "unix://", "unixs://")):
                raise Invalid(f"etcd.endpoints has {endpoint}.", "Give URLs, for example https://127.0.0.1:2379.", "etcd.endpoints")
        if not self.endpoints:
            raise Invalid("etcd.endpoints is empty.", "Give the member that snapshots come from, for example https://127.0.0.1:2379.", "etcd.endpoints")
        for name in ("ca_file", "client_cert", "client_key"):
            path = getattr(self, name)
            if path and not os.path.isfile(path):
                raise Invalid(f"etcd.{name} {path} is no file.", "Give a file in PEM, as the member or the API server uses it.", f"etcd.{name}")
        if bool(self.client_cert) != bool(self.client_key):
            raise Invalid("Only one of etcd.client_cert and etcd.client_key is given.", "Give both, or none.", "etcd.client_cert")

    def flags(self) -> List[str]:
        given = (("--cacert", self.ca_file), ("--cert", self.client_cert), ("--key", self.client_key))
        return [f"{name}={os.path.abspath(path)}" for name, path in given if path]


@dataclass(frozen=True)
class Status:
    """What a member says of itself. ``size`` is that of its database in bytes; ``troubles`` are alarms and errors."""

    cluster: str
    member: str
    version: Version
    revision: int
    size: int
    learner: bool
    troubles: Tuple[str, ...]


class Member:
    """One member, by its endpoint. ``folder`` is where a relative socket of it lies."""

    def __init__(self, programs: Programs, endpoint: str, flags: Sequence[str] = (), folder: str = "/") -> None:
        self.endpoint = endpoint
        self._folder = folder
        self._command = [
            programs.paths["etcdctl"],
            f"--endpoints={endpoint}",
            f"--dial-timeout={_DIAL_TIMEOUT}s",
            *flags,
        ]

    def status(self, deadline: Deadline) -> Status:
        """Ask the member how it is, alarms included. Raises Unavailable, Unauthorized."""
        (about,) = self._json(["endpoint", "status"], deadline, _STATUS_TIMEOUT)
        told = about["Status"]
        header = told["header"]
        alarms = self._json(["alarm", "list"], deadline, _STATUS_TIMEOUT).get("alarms") or []
        troubles = [str(error) for error in told.get("errors") or []] + [f"alarm {alarm.get('alarm')}" for alarm in alarms]
        return Status(
            cluster=f"{header['cluster_id']:x}",
            member=f"{header['member_id']:x}",
            version=read_version(str(told["version"]), self.endpoint),
            revision=int(header["revision"]),
            size=int(told["dbSize"]),
            learner=bool(told.get("isLearner")),
            troubles=tuple(dict.fromkeys(troubles)),
        )

    def agreed_revision(self, deadline: Deadline) -> int:
        """Return a revision that a majority of the members has: everything that was acknowledged before this question is in it."""
        answer = self._json(["get", "", "--from-key", "--keys-only", "--limit=1", "--consistency=l"], deadline)
        return int(answer["header"]["revision"])

    def hash_at(self, revision: int, deadline: Deadline) -> Tuple[int, int]:
        """Return etcd's own hash of everything up to a revision, and the revision up to which history was compacted: only hashes with the same are alike."""
        (answer,) = self._json(["endpoint", "hashkv", f"--rev={revision}"], deadline)
        told = answer["HashKV"]
        return int(told["hash"]), int(told.get("compact_revision", 0))

    def save(self, path: str, deadline: Deadline) -> None:
        """Have the member's database written to a new file."""
        run([*self._command, "snapshot", "save", path], deadline, self._folder)

    def content(self, deadline: Deadline, revision: int = 0) -> Content:
        """Read everything that is there at a revision, now without one. Raises Conflict when it was compacted meanwhile."""
        # What changes between two pages must not be seen: without a revision, that of the first answer is taken.
        at = revision or self.agreed_revision(deadline)

        def page(begin: bytes, limit: int) -> Generator[bytes, None, None]:
            flags = [f"--command-timeout={_COMMAND_TIMEOUT}s", "--write-out=protobuf"]
            asked = ["get", "--from-key", f"--limit={limit}", f"--rev={at}", "--consistency=s", "--", os.fsdecode(begin)]
            return printed([*self._command, *flags, *asked], deadline, self._folder)

        return read_content(page)

    def answers_at(self, revision: int, deadline: Deadline) -> None:
        """Ask for the state at a revision, as somebody who watched until then would. Raises Conflict when that is over."""
        self._json(["get", "", "--from-key", "--keys-only", "--limit=1", f"--rev={revision}"], deadline)

    def _json(self, asked: Sequence[str], deadline: Deadline, timeout: int = _COMMAND_TIMEOUT) -> Any:
        output = run([*self._command, f"--command-timeout={timeout}s", "--write-out=json", *asked], deadline, self._folder)
        try:
            answer: Any = json.loads(output)
        except ValueError:
            raise Unavailable(f"{self.endpoint} gave no answer that can be read.", "Look whether the member runs.", self.endpoint) from None
        return answer


def troubles_of(statuses: Mapping[str, Status]) -> List[str]:
    """Say what speaks against a snapshot of these members. Pure."""
    found: List[str] = []
    for endpoint, status in statuses.items():
        found += [f"{endpoint} has {trouble}" for trouble in status.troubles]
        if status.learner:
            found.append(f"{endpoint} is a learner, which lags behind")
    clusters = {status.cluster for status in statuses.values()}
    if len(clusters) > 1:
        found.append(f"the endpoints are of several clusters: {', '.join(sorted(clusters))}")
    return found
