# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the router control reads: the workload, its pods, the nodes, and who else has a say in their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import pods_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound, Refused


@dataclass(frozen=True)
class Observed:
    """Everything about the routers that the plan is made from."""

    workload: Mapping[str, Any]
    pods: Tuple[Mapping[str, Any], ...]
    nodes: Tuple[Mapping[str, Any], ...]
    other_pods: Tuple[Mapping[str, Any], ...]
    budgets: Tuple[Mapping[str, Any], ...]
    autoscaler: Optional[Mapping[str, Any]]
    health_port: int
    health_path: str

    @property
    def budget_name(self) -> str:
        """The name of the disruption budget that this collection makes."""
        return str(self.workload["metadata"]["name"])

    def owns(self, budget: Mapping[str, Any]) -> bool:
        """Tell whether this collection made the budget: a name alone proves nothing."""
        metadata = budget["metadata"]
        return metadata["name"] == self.budget_name and OWNER.items() <= (metadata.get("labels") or {}).items()

    def missing_budget(self) -> Dict[str, Any]:
        """Return the address of the budget that is not there yet."""
        metadata = {"name": self.budget_name, "namespace": self.workload["metadata"]["namespace"]}
        return {"apiVersion": KINDS["PodDisruptionBudget"].api_version, "kind": "PodDisruptionBudget", "metadata": metadata}

    def new_budget(self) -> Dict[str, Any]:
        """Return the budget to make: at most one router away, which never blocks a drain whatever the count."""
        document = self.missing_budget()
        document["metadata"] = {**document["metadata"], "labels": dict(OWNER)}
        document["spec"] = {"maxUnavailable": 1, "selector": self.workload["spec"]["selector"]}
        return document


def observe_router(site: Site) -> Observed:
    """Read the routers of the site: the platform's own Deployment, or the data plane of its Gateway."""
    facts = site.platform.router
    workload: Mapping[str, Any]
    if facts.workload is not None:
        workload = site.objects.get(KINDS[facts.workload.kind], facts.workload.name, site.namespace)
        health = (facts.health_port, facts.health_path)
    else:
        workload, health = _data_plane(site)
    namespace = workload["metadata"]["namespace"]
    takes_host_ports = any(port.get("hostPort") for container in workload["spec"]["template"]["spec"]["containers"] for port in container.get("ports") or ())
    scalers = [scaler for scaler in site.objects.list(KINDS["HorizontalPodAutoscaler"], namespace=namespace) if _scales(scaler, workload)]
    return Observed(
        workload=workload,
        pods=tuple(sorted(pods_of(site.objects, workload), key=lambda pod: str(pod["metadata"]["name"]))),
        nodes=tuple(site.objects.list(KINDS["Node"])),
        # Only a host port can be taken by a stranger; without one no other pod matters.
        other_pods=tuple(site.objects.list(KINDS["Pod"])) if takes_host_ports else (),
        budgets=tuple(site.objects.list(KINDS["PodDisruptionBudget"], namespace=namespace)),
        autoscaler=scalers[0] if scalers else None,
        health_port=health[0],
        health_path=health[1],
    )


def _scales(scaler: Mapping[str, Any], workload: Mapping[str, Any]) -> bool:
    target = scaler["spec"]["scaleTargetRef"]
    return bool(target["kind"] == workload["kind"] and target["name"] == workload["metadata"]["name"])


def _data_plane(site: Site) -> Tuple[Mapping[str, Any], Tuple[int, str]]:
    facts = site.platform.router
    if facts.gateway is None:
        raise NotFound(f"{site.platform.title} has no router that is known here.", "Nothing to scale.")
    gateway = site.objects.get(KINDS["Gateway"], facts.gateway, site.namespace)
    class_name = gateway["spec"].get("gatewayClassName")
    if not class_name:
        raise Refused(
            f"Gateway {site.namespace}/{facts.gateway} names no GatewayClass: nothing carries its traffic.",
            f"Set {facts.gateway_class_values_path} in the chart values, then run again.",
            subject=facts.gateway,
        )
    controller = site.objects.get(KINDS["GatewayClass"], class_name)["spec"]["controllerName"]
    known = next((plane for plane in facts.data_planes if plane.controller == controller), None)
    if known is None:
        raise Refused(
            f"GatewayClass {class_name} belongs to {controller}, whose data plane is not known here.",
            f"Known: {', '.join(plane.controller for plane in facts.data_planes)}. Scale this one by its own means.",
            subject=class_name,
        )
    deployments = list(site.objects.list(KINDS["Deployment"], namespace=site.namespace, labels=f"{known.label}={facts.gateway}"))
    if len(deployments) != 1:
        raise NotFound(
            f"{len(deployments)} Deployments in {site.namespace} carry the label {known.label}={facts.gateway}; one was expected.",
            f"Look whether {controller} runs and has accepted the Gateway (kubectl describe gateway {facts.gateway}).",
            subject=facts.gateway,
        )
    return deployments[0], (known.health_port, known.health_path)
