# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform in its cluster, as the kinds see it that are about one. Nothing is connected to before somebody asks: a second run asks nobody."""

from __future__ import annotations

import base64
import binascii
import time
from typing import Any, Dict, List, Mapping, Optional

from ansible_collections.paas.hardening.plugins.module_utils._cluster.access import Right, missing_rights
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import AUTH_ARGUMENTS, RETRY_ARGUMENTS, Connection, connect, secret_values
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, NotFound
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import DETECTION_ARGUMENTS, Detected, detect
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Platform

# A group of its own: other options of a point are about etcd, whose certificates have the same names.
ARGUMENTS: Dict[str, Any] = {
    **{name: AUTH_ARGUMENTS[name] for name in ("kubeconfig", "context")},
    **RETRY_ARGUMENTS,
    **DETECTION_ARGUMENTS,
}


class Site:
    """One platform. ``options`` are those of ARGUMENTS, as checked by Ansible."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._connection: Optional[Connection] = None
        self._detected: Optional[Detected] = None
        self._namespaces: Optional[List[str]] = None
        self.as_of = 0.0

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            self._connection = connect(self._options)
        return self._connection

    @property
    def objects(self) -> Objects:
        return Objects(self.connection)

    @property
    def _found(self) -> Detected:
        if self._detected is None:
            self._detected = detect(self.objects, self._options.get("platform"), self._options.get("namespace"))
        return self._detected

    @property
    def platform(self) -> Platform:
        return self._found.platform

    @property
    def namespace(self) -> str:
        return self._found.namespace

    def namespaces(self) -> List[str]:
        """Return the platform's namespace and those of its apps, as they were at ``as_of`` (seconds since 1970): every kind of a point is about the same."""
        if self._namespaces is None:
            self.as_of = time.time()
            found = self.objects.list_metadata(KINDS["Namespace"], labels=f"heritage={self.platform.heritage}")
            apps = {str(entry["metadata"]["name"]) for entry in found}
            self._namespaces = [self.namespace, *sorted(apps - {self.namespace})]
        return self._namespaces

    def require_way_in(self) -> None:
        """See that we may reach the pods of the platform through a port: a stream that is refused breaks off without a reason. Raises Forbidden."""
        missing = missing_rights(self.connection, [Right("create", "", "pods", self.namespace, "portforward")])
        if missing:
            raise Forbidden(f"The right to {missing[0]} is missing.", "The bundled servers are entered that way: see docs/rbac-backup.yml.", "cluster")

    def forget(self) -> None:
        """Look for apps anew the next time: a point begins, and they come and go."""
        self._namespaces = None

    def secret(self, name: str) -> Mapping[str, Any]:
        """Return a Secret of the platform. Raises NotFound."""
        found = self.objects.find(KINDS["Secret"], name, self.namespace)
        if found is None:
            raise NotFound(f"Secret {name} does not exist in the namespace {self.namespace}.", "Is the platform complete? Run workflow_info.", name)
        return found


def text_in(secret: Mapping[str, Any], key: str) -> str:
    """Return the text under a key of a Secret; empty when there is none or it is no text."""
    try:
        return base64.b64decode((secret.get("data") or {})[key], validate=True).decode()
    except (KeyError, binascii.Error, ValueError):
        return ""


def secrets_in(params: Mapping[str, Any]) -> List[str]:
    """Return what of the options must never be shown: the secrets of a kubeconfig that was given as a dictionary."""
    return secret_values(params.get("cluster") or {})
