# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database in which Grafana keeps accounts and dashboards, where it is outside: no chart has a key for it, and no upgrade takes it back."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import (
    REVISION,
    SWITCH,
    Settings,
    in_base64,
    numbered,
    revision_of,
    workload_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import read_file
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, Path, look
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, find
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import visits
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import GraphsDatabase, MetricsStore

ARGUMENTS: Dict[str, Any] = {
    "client_folder": {"type": "path"},
    "graphs_database": {
        "type": "dict",
        "options": {
            "server": {"type": "str", "required": True},
            "port": {"type": "int", "default": 5432},
            "name": {"type": "str", "default": "grafana"},
            "role": {"type": "str", "required": True},
            "role_password": {"type": "str", "no_log": True},
            "role_password_file": {"type": "path", "no_log": False},
            # What the code calls verify-full needs a certificate that no pod has.
            "sslmode": {"type": "str", "choices": ["disable", "require"], "default": "require"},
        },
    },
}

_WHY = "accounts and dashboards are kept outside of the cluster"
# The text stands behind an equals sign in an ini file, where these begin a comment, a quotation or a reference.
_SPOILS_INI = re.compile(r"[#;\"'`%$\\\s]")


def graphs_of(facts: MetricsStore, params: Mapping[str, Any]) -> Optional[Server]:
    """Return the database that the options name, None without one. Raises Invalid that names the option."""
    given = params.get("graphs_database")
    if not given:
        return None
    if facts.graphs is None:
        raise Invalid("graphs_database is given, but on this platform it is one of several databases.", "Move it with workflow_database.", "graphs_database")
    password = read_file(given, "role_password")
    if not password:
        raise Invalid("graphs_database has no password.", "Give role_password or role_password_file.", "graphs_database")
    for option, text in (("server", given["server"]), ("name", given["name"]), ("role", given["role"]), ("role_password", password)):
        if _SPOILS_INI.search(text):
            raise Invalid(
                f"graphs_database.{option} has a character that Grafana's ini file takes for its own.", "Letters and digits do no harm.", "graphs_database"
            )
    return Server(given["server"], given["role"], given["name"], password, given["port"], given["sslmode"])


def graphs_settings(facts: GraphsDatabase, server: Optional[Server], settings: Settings, namespace: str) -> List[Wanted]:
    """Return every field that leads Grafana to the database; with no server, those that are to go back."""
    document = workload_of(settings, facts.workload)
    reference = {"secretKeyRef": {"name": facts.secret, "key": "password"}}
    values = {"kind": facts.kind, "address": "", "name": "", "user": "", "sslmode": ""}
    if server is not None:
        values = {**values, "address": server.address, "name": server.database, "user": server.user, "sslmode": server.sslmode}
    wanted, revision = _secret(facts, server.password if server else "", settings.secrets.get(facts.secret), namespace)
    for name, variable in facts.variables.items():
        part: Dict[str, Any] = {"valueFrom": reference} if name == "password" else {"value": values[name]}
        wanted += _variable(document, facts, variable, part)
    return wanted + numbered(document, ("spec", "template", "metadata"), f"{REVISION}.{facts.secret}", revision)


def _secret(facts: GraphsDatabase, password: str, secret: Optional[Mapping[str, Any]], namespace: str) -> Tuple[List[Wanted], Optional[str]]:
    if secret is not None:
        own = [Wanted(secret, ("data", "password"), in_base64(password), _WHY, stage=SWITCH, values_secret=True)]
        revision = revision_of(secret, own)
        return own + numbered(secret, ("metadata",), REVISION, revision), revision
    document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": facts.secret, "namespace": namespace}}
    metadata = {"name": facts.secret, "namespace": namespace, "labels": dict(OWNER)}
    whole = {**document, "metadata": metadata, "type": "Opaque", "data": {"password": in_base64(password)}}
    return [Wanted(document, (), whole, _WHY, stage=SWITCH)], None


def _variable(document: Mapping[str, Any], facts: GraphsDatabase, variable: str, part: Mapping[str, Any]) -> List[Wanted]:
    path: Path = ("spec", "template", "spec", "containers", Item("name", facts.workload.container), "env", Item("name", variable))
    if look(document, path) is ABSENT:
        # As a whole: half an entry would be an empty text.
        return [Wanted(document, path, {"name": variable, **part}, _WHY, stage=SWITCH)]
    ((key, value),) = part.items()
    other = "value" if key == "valueFrom" else "valueFrom"
    return [
        Wanted(document, (*path, key), value, _WHY, stage=SWITCH),
        Wanted(document, (*path, other), ABSENT, "one takes the place of the other", stage=SWITCH),
    ]


class GraphsPlace:
    """The database, asked by the PostgreSQL client."""

    def __init__(self, server: Server, client_folder: str) -> None:
        self.server = server
        self._folder = client_folder
        self._client: Optional[Client] = None

    def check(self) -> None:
        """See that the role gets in and may make its tables; nothing is written. Raises Forbidden, and what a session raises."""
        row = self._found().query(
            self.server, "SELECT has_schema_privilege('public', 'CREATE') AS may, current_setting('transaction_read_only') = 'on' AS closed"
        )[0]
        if not row["may"] or row["closed"]:
            raise Forbidden(
                f"The role {self.server.user} may make no tables in the {self.server}.",
                "Let it own the database: Grafana makes its tables itself.",
                "graphs_database",
            )

    def used(self) -> bool:
        """Tell whether anybody else is in the database now."""
        with self._found().session(self.server) as session:
            return visits(session).now > 0

    def _found(self) -> Client:
        self._client = self._client or find(self._folder)
        return self._client
