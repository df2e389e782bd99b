# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seen by the server, its log is received by TLS, as a role that can do nothing else, and commits wait as was said: configured is not effective."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_receiver import RECEIVER, SOURCE
from ansible_collections.paas.hardening.plugins.module_utils._controls.onlooker import Onlooker, View
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.cluster import majors
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import Layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.sql import Database, array, literal
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.standby import slot_name

# What becomes of commits while no receiver is there.
WAIT, PROCEED = "wait", "proceed"
VIEW = View(
    "host-postgres-receiver-reach",
    "Seen by the server, its log is received by TLS, and commits wait for that as was said",
    RECEIVER.severity,
    SOURCE,
    "observations",
    "Commits wait with postgres_server_synchronous: true. Who is there: SELECT * FROM pg_stat_replication; what a receiver says: its journal.",
)
ARGUMENTS: Dict[str, Any] = {
    "me": {"type": "str", "required": True},
    "receivers": {"type": "list", "elements": "str", "required": True},
    "role": {"type": "str", "default": "receiver"},
    "commits": {"type": "str", "choices": [PROCEED, WAIT], "default": WAIT},
    "timeout": {"type": "float", "default": 15.0},
}
_PAUSE = 0.5
_QUESTION = """SELECT json_build_object(
'standbys', (SELECT coalesce(json_agg(json_build_object('name', application_name, 'role', usename, 'state', state, 'sync', sync_state,
    'tls', coalesce(s.ssl, false))), '[]') FROM pg_stat_replication r LEFT JOIN pg_stat_ssl s ON s.pid = r.pid WHERE application_name = ANY ({names})),
'slots', (SELECT coalesce(json_object_agg(slot_name, json_build_object('active', active, 'status', coalesce(wal_status, 'none'))), '{{}}')
    FROM pg_replication_slots WHERE slot_name = ANY ({names})),
'role', (SELECT json_build_object('replication', rolreplication, 'more', rolsuper OR rolcreatedb OR rolcreaterole OR rolbypassrls
    OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = a.oid)) FROM pg_authid a WHERE rolname = {role}),
'waits', current_setting('synchronous_standby_names'), 'until', (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'));
"""


class Reach(Onlooker):
    """What the server of this host says of those who receive its log."""

    view = VIEW

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        self._names = [slot_name(name) for name in params["receivers"]]

    def observe(self) -> List[Check]:
        found = sorted(majors())
        if len(found) != 1:
            there = ", ".join(map(str, found)) or "none"
            raise Invalid(f"This host has to have one cluster called main, and has: {there}.", "Run it where role postgres_server made the primary.", "me")
        database, deadline = Database(Layout(found[0])), Deadline(self._params["timeout"])
        question = _QUESTION.format(names=array(self._names), role=literal(self._params["role"]))
        while True:
            checks = judged(database.ask(question), self._names, self._params["role"], self._params["commits"])
            # Who has begun this moment has to catch up first.
            if all(check.verdict == PASS for check in checks) or not deadline.pause(_PAUSE):
                return checks


def judged(said: Mapping[str, Any], names: Sequence[str], role: str, commits: str) -> List[Check]:
    """Judge what a server says. Pure."""
    rights = said["role"] or {}
    may = "nothing" if not rights else "more than replicate" if rights["more"] else "replicate" if rights["replication"] else "nothing"
    checks = [Check.equal(f"what the role {role} may", "replicate", may)]
    for name in names:
        slot = said["slots"].get(name)
        here = next((one for one in said["standbys"] if one["name"] == name), None)
        checks.append(Check.equal(f"{name} comes", f"as {role}, by TLS", _coming(here)))
        checks.append(Check.equal(f"{name} gets the log", "streaming", here["state"] if here else "no"))
        kept = "none" if slot is None else "lost" if slot["status"] == "lost" else "in use" if slot["active"] else "not in use"
        checks.append(Check.equal(f"the slot of {name}", "in use", kept))
        state = here["sync"] if here else "away"
        good = state in ("sync", "quorum") or commits == PROCEED
        checks.append(Check(f"commits wait for {name}", "sync or quorum" if commits == WAIT else "as it is", state, PASS if good else FAIL))
    told = policy(said["waits"], said["until"], names)
    wanted = {WAIT: "they wait", PROCEED: "they go on"}[commits]
    checks.append(Check("what becomes of commits while nobody is there to receive them", wanted, told, PASS if told.startswith(wanted) else FAIL))
    return checks


def policy(waits: str, until: str, names: Sequence[str]) -> str:
    """Return in words what becomes of commits while no receiver is there, by the server's own settings. Pure."""
    waited_for = re.findall(r"[a-z0-9_]+", re.sub(r"^\s*(?:any|first)?\s*\d+\s*\(", "", waits, flags=re.IGNORECASE))
    if not waits.strip() or (not set(waited_for) & set(names) and "*" not in waits):
        return "they go on, and those that nobody has received yet are lost with the server"
    if until != "on":
        return f"they do not wait as they should: synchronous_commit is {until}"
    others = sorted(set(waited_for) - set(names))
    instead = f" or {', '.join(others)}" if others else ""
    return f"they wait until {' or '.join(sorted(set(waited_for) & set(names)) or names)}{instead} is back; nothing takes that back by itself"


def _coming(here: Any) -> str:
    if here is None:
        return "not at all"
    return f"as {here['role']}, {'by TLS' if here['tls'] else 'in plain text'}"


VERB = Verb(ARGUMENTS, Reach)
