# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's object store inside the cluster: whether it is the one in use, its buckets, and the way in."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterator, Mapping

from ansible_collections.paas.hardening.plugins.module_utils._backup.site import Site, text_in
from ansible_collections.paas.hardening.plugins.module_utils._cluster.forward import forwarded
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.pods import container_of, patiently, ready_pods, variable_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Component, ObjectStorage

_OUTSIDE = "Back it up where it is, with versioning and a copy elsewhere; this kind is for the store in the cluster."


class Source:
    """The bundled store of one platform."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._facts = site.platform.object_storage

    @property
    def name(self) -> str:
        """By what the store is known again."""
        return f"{self._facts.bundled.workload.name} in {self._site.namespace}"

    def buckets(self) -> Dict[str, str]:
        """Return the names of the buckets by the component that uses each."""
        return {user.role: user.bucket for user in self._facts.users if user.role and user.bucket}

    def check_in_use(self) -> None:
        """Refuse a bundled store that a component has left: its buckets are those of yesterday. Raises Refused, NotFound."""
        bundled = self._facts.bundled.workload
        if self._site.objects.find(KINDS[bundled.kind], bundled.name, self._site.namespace) is None:
            raise NotFound(f"The bundled store {bundled.name} is not there.", _OUTSIDE, bundled.name)
        for user in self._facts.users:
            for workload in user.workloads[:1]:
                document = self._site.objects.find(KINDS[workload.kind], workload.name, self._site.namespace)
                place = elsewhere(self._facts, user, container_of(document, workload.container), self._text) if document else ""
                if place:
                    raise Refused(f"{workload.name} uses {place}, not the bundled store.", _OUTSIDE, workload.name)

    def _text(self, name: str, key: str) -> str:
        return text_in(self._site.objects.find(KINDS["Secret"], name, self._site.namespace) or {}, key)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Store]:
        """Yield the store as it can be reached from here: through a port of its pod."""
        bundled = self._facts.bundled
        secret = self._site.secret(bundled.secret)
        workload = self._site.objects.get(KINDS[bundled.workload.kind], bundled.workload.name, self._site.namespace)

        def pod() -> str:
            found = patiently(lambda: ready_pods(self._site.objects, workload), bool, Deadline(self._site.connection.retry_seconds))
            if not found:
                raise NotFound(f"No pod of {bundled.workload.name} is ready.", "It has to run while it is read.", bundled.workload.name)
            return str(found[0]["metadata"]["name"])

        pod()
        with forwarded(self._site.connection, self._site.namespace, pod, bundled.port) as forward:
            keys = (text_in(secret, bundled.access_key), text_in(secret, bundled.secret_key))
            yield Store("s3", f"http://127.0.0.1:{forward.port}", "us-east-1", *keys, title=self.name)


def elsewhere(facts: ObjectStorage, user: Component, container: Mapping[str, Any], text: Callable[[str, str], str]) -> str:
    """Return which other store a container uses, or nothing when it uses the bundled one. Pure but for ``text``, which reads Secrets."""
    if user.kind_variable:
        kind = variable_of(container, user.kind_variable)
        if kind is not None and kind not in {way.kind for way in facts.ways if way.addressed}:
            return f"a store of the kind {kind}"
    stated = {str(entry.get("name")): entry for entry in container.get("env") or ()}
    for way in facts.ways:
        for setting in user.settings or way.settings:
            entry = stated.get(setting.variable) if setting.variable and setting.field in ("host", "endpoint") else None
            if entry is None:
                continue
            reference = (entry.get("valueFrom") or {}).get("secretKeyRef")
            address = text(reference["name"], reference["key"]) if reference else str(entry.get("value") or "")
            if address and facts.bundled.workload.name not in address:
                return f"the store at {address}"
    return ""
