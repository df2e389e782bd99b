# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs: the platform, its release, its components with version and health, the nodes. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import AUTH_ARGUMENTS, RETRY_ARGUMENTS, connect, secret_values
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._cluster.readiness import readiness_of
from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import Release, releases_in
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import is_ready
from ansible_collections.paas.hardening.plugins.module_utils._core.arguments import merge
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Look, Verb
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import DETECTION_ARGUMENTS, Detected, detect
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Platform

_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
_ZONE = "topology.kubernetes.io/zone"


@dataclass(frozen=True)
class Observed:
    """Everything that was read."""

    detected: Detected
    workloads: Tuple[Mapping[str, Any], ...]
    releases: Tuple[Release, ...]
    nodes: Tuple[Mapping[str, Any], ...]
    server_version: str


class Inventory(Look):
    """The verb of workflow_info."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._connection = connect(params)
        self._objects = Objects(self._connection)
        self._detected = detect(self._objects, params["platform"], params["namespace"])

    def observe(self) -> Observed:
        namespace, label = self._detected.namespace, f"heritage={self._detected.platform.heritage}"
        workloads = [document for kind in _WORKLOADS for document in self._objects.list(KINDS[kind], namespace=namespace, labels=label)]
        return Observed(
            self._detected,
            tuple(workloads),
            tuple(releases_in(self._objects, namespace)),
            tuple(self._objects.list(KINDS["Node"])),
            str(self._connection.request("GET", "/version").data["gitVersion"]),
        )

    def conclude(self, first: Observed, last: Observed, plan: Plan, enforced: bool) -> Dict[str, Any]:
        return {
            "platform": first.detected.as_data(),
            "releases": [_release(release) for release in first.releases],
            "components": _components(first.detected.platform, first.workloads),
            "kubernetes": {
                "version": first.server_version,
                "nodes": len(first.nodes),
                "nodes_ready": sum(1 for node in first.nodes if is_ready(node)),
                "zones": sorted({node["metadata"]["labels"][_ZONE] for node in first.nodes if _ZONE in (node["metadata"].get("labels") or {})}),
            },
        }


def _release(release: Release) -> Dict[str, Any]:
    return {
        "name": release.name,
        "namespace": release.namespace,
        "chart": f"{release.chart_name}-{release.chart_version}",
        "app_version": release.app_version,
        "revision": release.revision,
        "status": release.status,
        "method": release.method,
        "locked": release.locked,
    }


def _components(platform: Platform, workloads: Tuple[Mapping[str, Any], ...]) -> List[Dict[str, Any]]:
    roles = {(workload.kind, workload.name): role for role, workload in platform.components.items()}
    components = []
    for document in workloads:
        metadata, status = document["metadata"], document.get("status") or {}
        readiness = readiness_of(document)
        daemon = document["kind"] == "DaemonSet"
        components.append(
            {
                "component": roles.get((document["kind"], metadata["name"]), metadata["name"]),
                "kind": document["kind"],
                "name": metadata["name"],
                "version": (metadata.get("annotations") or {}).get(platform.version_annotation),
                "images": [container["image"] for container in document["spec"]["template"]["spec"]["containers"]],
                "replicas": status.get("desiredNumberScheduled", 0) if daemon else document["spec"].get("replicas", 1),
                "ready": status.get("numberReady" if daemon else "readyReplicas", 0),
                "health": readiness.state,
                "reason": readiness.reason,
            }
        )
    return sorted(components, key=lambda component: (component["component"], component["kind"]))


VERB = Verb(merge(AUTH_ARGUMENTS, RETRY_ARGUMENTS, DETECTION_ARGUMENTS), Inventory, secret_values)
