# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's database server inside the cluster: whether it is the one in use, and the way in."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any, Dict, Iterator, List, Mapping, Optional
from urllib.parse import urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._backup.site import Site, text_in
from ansible_collections.paas.hardening.plugins.module_utils._cluster.forward import forwarded
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.pods import container_is_ready, container_of, patiently, pods_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.freeze import closed
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Component, Setting

_PORT = 5432
# The database that a superuser enters to ask about the others.
_ALWAYS = "postgres"
# Seconds for a log-in: while a whole platform starts, its machine has no time.
_PATIENT = 60
_OUTSIDE = "Back it up where it is, with WAL archiving; this kind is for the database in the cluster."


class Source:
    """The bundled server of one platform."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._facts = site.platform.database

    def check_in_use(self) -> None:
        """Refuse a bundled database that the platform has left: a backup of it would be one of yesterday, and look like today's. Raises Refused, NotFound."""
        if self._bundled() is None:
            raise NotFound(f"The bundled database {self._facts.bundled.name} is not there.", _OUTSIDE, self._facts.bundled.name)
        for user in self._facts.users:
            for workload in user.workloads:
                document = self._site.objects.find(KINDS[workload.kind], workload.name, self._site.namespace)
                if document is None or workload.kind == "CronJob":
                    continue
                place = elsewhere(user, self._settings(user), container_of(document, workload.container), self._facts.bundled.name, self._text)
                if place:
                    raise Refused(f"{workload.name} uses the database on {place}, not the bundled one.", _OUTSIDE, workload.name)

    def _bundled(self) -> Optional[Mapping[str, Any]]:
        return self._site.objects.find(KINDS[self._facts.bundled.kind], self._facts.bundled.name, self._site.namespace)

    def _settings(self, user: Component) -> List[Setting]:
        return list(user.settings or self._facts.way.settings)

    def _text(self, name: str, key: str) -> str:
        found = self._site.objects.find(KINDS["Secret"], name, self._site.namespace)
        return text_in(found or {}, key)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Server]:
        """Yield the server, as its superuser enters it from here: through a port of the pod that takes writes."""
        secret = self._site.secret(self._facts.bundled_secret)
        user, password = (text_in(secret, key) for key in self._facts.superuser_keys)
        bundled, leader, name = self._bundled(), self._facts.leader, self._facts.bundled.name

        def serving() -> List[str]:
            pods = pods_of(self._site.objects, bundled) if bundled else []
            if leader is not None:
                pods = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(leader[0]) in leader[1]]
            return sorted(str(pod["metadata"]["name"]) for pod in pods if container_is_ready(pod, self._facts.bundled.container))

        def pod() -> str:
            # A busy machine's probe may fail for a moment.
            found = patiently(serving, bool, Deadline(self._site.connection.retry_seconds))
            if not found:
                raise NotFound(f"No pod of {name} is ready and takes writes.", "It has to run while its rows are read.", name)
            return found[0]

        pod()
        with forwarded(self._site.connection, self._site.namespace, pod, _PORT) as forward:
            yield Server("127.0.0.1", user, _ALWAYS, password, forward.port, "disable", connect_timeout=_PATIENT)

    def databases(self, client: Client, server: Server) -> Dict[str, Server]:
        """Return the databases by the component that owns them: one for all, or one for each that was made. Raises Refused for one that we have closed."""
        if self._facts.of_its_own:
            wanted = {user.role: user.role for user in self._facts.users}
        else:
            wanted = {self._facts.users[0].role: text_in(self._site.secret(self._facts.bundled_secret), self._facts.user_keys[0])}
        there = {row["datname"] for row in client.query(replace(server, database=_ALWAYS), "SELECT datname FROM pg_database")}
        found = {role: replace(server, database=name) for role, name in wanted.items() if name in there}
        if not found:
            raise NotFound(f"{self._facts.bundled.name} has none of the platform's databases.", "Has the platform ever started?", self._facts.bundled.name)
        for role, entered in found.items():
            if closed(client, server, entered.database):
                raise Refused(f"The bundled database of {role} is closed to writers: the platform has left it.", _OUTSIDE, self._facts.bundled.name)
        return found


def elsewhere(user: Component, settings: List[Setting], container: Mapping[str, Any], bundled: str, text: Any) -> str:
    """Return the host of the database that a container uses when it is not the bundled one, else nothing. Pure but for ``text``, which reads Secrets.

    What is not stated is what Kubernetes derives from the bundled Service.
    """
    stated = {str(entry.get("name")): entry for entry in container.get("env") or ()}
    for setting in settings:
        kind, entry = setting.field.partition(".")[0], stated.get(setting.variable)
        if kind not in ("host", "url") or entry is None:
            continue
        reference = (entry.get("valueFrom") or {}).get("secretKeyRef")
        value = text(reference["name"], reference["key"]) if reference else str(entry.get("value") or "")
        host = _host(value) if kind == "url" else value
        if host and host.partition(".")[0] != bundled:
            return host
    return ""


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return "a URL that cannot be read"
