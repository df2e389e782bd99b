# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seen from another host, a PostgreSQL server proves who it is, and asks those for a password who are named, and nobody else: configured is not effective."""

from __future__ import annotations

import socket
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres import SOURCE, STRANGER
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_plan import ACCESS
from ansible_collections.paas.hardening.plugins.module_utils._controls.onlooker import Onlooker, View
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.access import ACCESS_OPTIONS, REPLICATION, Entry
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.handshake import ASKS_SCRAM, REFUSED, UNREACHED, Answer, Door, knock

VIEW = View(
    "host-postgres-reach",
    "Seen from another host, PostgreSQL proves who it is, and lets in whom its inventory names",
    ACCESS.severity,
    SOURCE,
    "log-ins",
    "Does a firewall stand between, has the server read its files, and is the name in its certificate?",
)
_SERVER = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 5432},
    "authority": {"type": "str", "required": True},
    "access": {"type": "list", "elements": "dict", "default": [], "options": ACCESS_OPTIONS},
    "standby": {"type": "bool", "default": False},
    "version": {"type": "str", "default": ""},
}
ARGUMENTS: Dict[str, Any] = {
    "me": {"type": "str", "required": True},
    "servers": {"type": "list", "elements": "dict", "required": True, "options": _SERVER},
    "timeout": {"type": "float", "default": 3.0},
}


class Attempt(NamedTuple):
    """One log-in, without a password: to whom, as whom, to what, in which way, and how the server should answer."""

    door: Door
    role: str
    database: str
    encrypted: bool
    expected: str

    def __str__(self) -> str:
        way = "by TLS, its certificate verified in full" if self.encrypted else "without TLS"
        return f"{self.role} to {self.database} of {self.door.name} ({self.door.address}), {way}"


def attempts_of(servers: Sequence[Mapping[str, Any]], source: Mapping[str, str]) -> List[Attempt]:
    """Return every log-in that is worth a try from a host whose packets come to each address from these sources. Pure."""
    found: List[Attempt] = []
    for server in servers:
        door = Door(server["name"], server["address"], server["port"], server["authority"])
        entries = [Entry(one["database"], one["role"], one["network"]) for one in server["access"] if one["database"] != REPLICATION]
        found += [Attempt(door, STRANGER, "postgres", encrypted, REFUSED) for encrypted in (True, False)]
        for role, database in dict.fromkeys((entry.role, entry.database) for entry in entries if entry.network != "local"):
            named = any(entry[:2] == (database, role) and entry.lets_in(source[door.address]) for entry in entries)
            found.append(Attempt(door, role, database, True, ASKS_SCRAM if named else REFUSED))
    return found


def judged(answers: Sequence[Tuple[Attempt, Answer]]) -> List[Check]:
    """Return what is to be said of the answers. Who is named nowhere may as well not get through to the server at all. Pure."""
    awaited = {attempt.door for attempt, _answer in answers if attempt.expected == ASKS_SCRAM}
    checks = []
    for attempt, answer in answers:
        shut = answer.kind == UNREACHED and attempt.door not in awaited
        verdict = PASS if answer.kind == attempt.expected or shut else FAIL
        checks.append(Check(str(attempt), attempt.expected, str(answer), verdict))
    return checks


def source_of(address: str, port: int) -> str:
    """Return the address that our packets to there come from; nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as test:
        try:
            test.connect((address, port))
        except OSError:
            return "::" if family == socket.AF_INET6 else "0.0.0.0"
        return str(test.getsockname()[0])


class Reach(Onlooker):
    """What servers answer to the host that we are on."""

    view = VIEW

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        sources = {server["address"]: source_of(server["address"], server["port"]) for server in params["servers"]}
        self._attempts = attempts_of(params["servers"], sources)

    def observe(self) -> List[Check]:
        seconds = self._params["timeout"]
        return judged([(attempt, knock(attempt.door, attempt.role, attempt.database, attempt.encrypted, seconds)) for attempt in self._attempts])


VERB = Verb(ARGUMENTS, Reach)
