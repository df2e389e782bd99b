# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds out in which version a server has a kind, for the few cases in which the table of kinds does not know it."""

from __future__ import annotations

import os
import re
import tempfile
from types import SimpleNamespace
from typing import Any, Iterable, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import Kind
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound, Unavailable

_VERSION = re.compile(r"^v(\d+)(?:(alpha|beta)(\d+))?$")


def served_kind(connection: Connection, group: str, kind: str) -> Optional[Kind]:
    """Return the kind as the server has it, in the version that the server prefers; None when it has no such kind.

    The server is asked once for each kind of a connection, and with a single request when it does not have the group. Raises like Connection.request().
    """
    if group in connection.unserved:
        return None
    if (group, kind) not in connection.served:
        try:
            versions = connection.request("GET", f"/apis/{group}").data if group else {}
        except NotFound:
            connection.unserved.add(group)
            return None
        found = list(_by_client(connection, versions, group, kind))
        found.sort(key=lambda entry: (entry[0], _age(entry[1].version)), reverse=True)
        connection.served[(group, kind)] = found[0][1] if found else None
    return connection.served[(group, kind)]


def _age(version: str) -> Tuple[int, int, int]:
    """Order versions as Kubernetes does: v2, v1, v1beta2, v1beta1, v1alpha1, and what has no such form at the end."""
    found = _VERSION.match(version)
    if found is None:
        return (-1, 0, 0)
    stage = {None: 2, "beta": 1, "alpha": 0}[found.group(2)]
    return (stage, int(found.group(1)), int(found.group(3) or 0))


def _by_client(connection: Connection, versions: Mapping[str, Any], group: str, kind: str) -> Iterable[Tuple[bool, Kind]]:
    """Yield (preferred, kind) for every version that the server has, through OpenShift's dynamic client where it is installed."""
    try:
        from openshift.dynamic import LazyDiscoverer
    except ImportError:
        yield from resources_read(connection, versions, group, kind)
        return

    class Client:
        """Our connection in the shape that the dynamic client has, so that identity, counting and errors are the same as everywhere."""

        configuration = SimpleNamespace(host=connection.host)

        def request(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
            try:
                data = connection.request(method.upper(), path if path.startswith("/") else f"/{path}", body=body).data
            except (NotFound, Unavailable):
                # An aggregated API that is down must not hide all others.
                if path.strip("/") in ("apis", "version"):
                    raise
                data = {"kind": "APIResourceList", "resources": []}
            return params["serializer"](self, data) if "serializer" in params else SimpleNamespace(**data)

    # The client insists on a cache file. It goes into a folder that lives no longer than this look.
    with tempfile.TemporaryDirectory() as folder:
        resources: Any = LazyDiscoverer(Client(), os.path.join(folder, "resources"))
        for resource in resources.search(prefix="apis" if group else "api", group=group or None, kind=kind):
            if resource.kind == kind and (resource.group or "") == group:
                version = f"{group}/{resource.api_version}" if group else resource.api_version
                yield bool(resource.preferred), Kind(version, kind, resource.name, bool(resource.namespaced))


def resources_read(connection: Connection, document: Mapping[str, Any], group: str, kind: str) -> Iterable[Tuple[bool, Kind]]:
    versions = [entry["groupVersion"] for entry in document.get("versions") or []] if group else ["v1"]
    preferred = (document.get("preferredVersion") or {}).get("groupVersion") or "v1"
    for version in versions:
        for resource in _resources(connection, f"/apis/{version}" if group else f"/api/{version}"):
            if resource.get("kind") == kind and "/" not in resource["name"]:
                yield version == preferred, Kind(version, kind, resource["name"], bool(resource.get("namespaced")))


def _resources(connection: Connection, path: str) -> List[Any]:
    try:
        return list(connection.request("GET", path).data.get("resources") or [])
    except NotFound:
        return []
