# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases are restored into new databases of a server that is named, and compared there with what the point was seen to hold. Nothing is switched."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.kind import kept
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.proof import Expected, fill_and_compare, make_database
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.restorer import API, CONTENT, Outcome
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases import target
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, find
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.move import Dump
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import SSL_MODES, Server

ARGUMENTS: Dict[str, Any] = {
    "server": {"type": "str"},
    "port": {"type": "int", "default": 5432},
    "role": {"type": "str"},
    "role_password_file": {"type": "path", "no_log": False},
    "sslmode": {"type": "str", "choices": list(SSL_MODES), "default": "prefer"},
    "ca_file": {"type": "path"},
    "databases": {"type": "dict", "default": {}},
    "client_folder": {"type": "path"},
}
_ADMINISTRATION = "postgres"
_LONGEST_PASSWORD = 4096
_SWITCH = (
    "Nothing uses these databases yet. Name them to the platform by the database values of its chart (helm upgrade); "
    "workflow_database moves what the platform uses now, and would refuse them, since they are not empty."
)


class PostgresRestore:
    """The databases of a point. ``folder`` is where it has their dumps."""

    name, swaps = "postgres", False

    def __init__(self, options: Mapping[str, Any], point: Manifest, folder: str) -> None:
        for name in ("server", "role"):
            if not options[name]:
                raise Invalid(f"postgres.{name} is missing.", "Give the server, and a role that may make databases there.", f"postgres.{name}")
        self._dumps: Dict[str, Tuple[Dump, Expected]] = kept(folder)
        strangers = sorted(set(options["databases"]) - set(self._dumps))
        if strangers:
            raise Invalid(f"The point has no database {strangers[0]}.", f"It has {', '.join(sorted(self._dumps))}.", "postgres.databases")
        self._point = point
        self._server = Server(
            options["server"],
            options["role"],
            _ADMINISTRATION,
            _password(options["role_password_file"]),
            options["port"],
            options["sslmode"],
            options["ca_file"] or "",
        )
        names = {role: str(options["databases"].get(role) or f"{made.database}_{point.sequence:08d}") for role, (made, _expected) in self._dumps.items()}
        if len(set(names.values())) < len(names):
            raise Invalid("postgres.databases gives two databases one name.", "Give each its own.", "postgres.databases")
        self._into = {role: replace(self._server, database=name) for role, name in names.items()}
        self._given = options["client_folder"] or ""
        self._states: Dict[str, str] = {}
        self._proofs: Dict[str, Proof] = {}
        self._seconds: Dict[str, float] = {}

    def look(self) -> None:
        """See which databases are there, and how far. Raises Refused for one that holds something else: it may be live."""
        client = self._client()
        there = {str(row["name"]) for row in client.query(self._server, "SELECT datname AS name FROM pg_database")}
        for role, into in self._into.items():
            if into.database not in there:
                self._states[role] = ""
                continue
            found = target.state(client, into)
            mine = found.detail == self._dumps[role][0].id
            if found.kind == target.FOREIGN or (found.kind == target.RESTORED and not mine):
                what = "another dump" if found.kind == target.RESTORED else found.detail
                raise Refused(
                    f"{into} is not empty: it holds {what}.", "A restore goes to a new place: give another name in postgres.databases.", "postgres.databases"
                )
            self._states[role] = self._mark() if found.kind == target.RESTORED and found.comment == self._mark() else found.kind

    def changes(self, swap: bool) -> List[Change]:
        changes: List[Change] = []
        for role, into in self._into.items():
            if self._states.get(role) != self._mark():
                before: Any = self._states.get(role) or ABSENT
                why = f"{role} is restored to a new database, and compared there"
                changes.append(Change(Ref(API, "Database", into.database, into.address), CONTENT, before, self._point.identifier, why))
        return changes

    def restore(self, change: Change, deadline: Deadline) -> None:
        role = next(role for role, into in self._into.items() if into.database == change.ref.name)
        into, (made, expected), client = self._into[role], self._dumps[role], self._client()
        if not self._states.get(role):
            make_database(client, into, made.encoding, expected.fingerprint.collation)
        proved = fill_and_compare(client, made, expected, into, role, deadline)
        if proved.proof.verdict != PASS:
            wrong = "; ".join(f"{check.what}: {check.observed}, not {check.expected}" for check in proved.proof.checks if check.verdict != PASS)
            raise NotProven(f"{into} is not what the point holds: {wrong}.", "Do not use it: drop it, and look at the server.", into.database)
        self._proofs[role], self._seconds[role] = proved.proof, proved.seconds
        with client.session(into) as session:
            target.mark(session, into.database, target.RESTORED, made.id, self._mark())

    def swap(self, change: Change) -> None:
        """Nothing is: whoever uses a database has to be told."""

    def outcome(self) -> Outcome:
        done = all(state == self._mark() for state in self._states.values())
        earlier = Proof((Check("databases that an earlier run proved", "all", "all", PASS),)) if done else Proof()
        checks = tuple(check for proof in self._proofs.values() for check in proof.checks)
        return Outcome(
            tuple(f"{into.database} on {into.address}" for into in self._into.values()),
            Proof(checks) if checks else earlier,
            sum(self._seconds.values()),
            False,
            "",
            (_SWITCH,),
        )

    def _client(self) -> Client:
        return find(self._given, max(made.version for made, _expected in self._dumps.values()))

    def _mark(self) -> str:
        return f"proved against the point {self._point.identifier}"


def _password(path: str) -> str:
    """Read a password from a file that holds nothing else. Raises Invalid."""
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise Invalid(f"postgres.role_password_file {path} is open to other users.", f"chmod 600 {path}", "postgres.role_password_file")
            return file.read(_LONGEST_PASSWORD).rstrip("\n")
    except (OSError, UnicodeDecodeError):
        raise Invalid(
            f"postgres.role_password_file {path} cannot be read.", "Give a file of yours with the password in it.", "postgres.role_password_file"
        ) from None
