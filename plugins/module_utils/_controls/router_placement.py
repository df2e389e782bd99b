# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where routers can run and where they do: pure functions over what was observed."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import is_ready
from ansible_collections.paas.hardening.plugins.module_utils._controls.router_observation import Observed

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


def host_ports(workload: Mapping[str, Any]) -> List[int]:
    """Return the ports that each pod takes of its node."""
    containers = workload["spec"]["template"]["spec"]["containers"]
    return [port["hostPort"] for container in containers for port in container.get("ports") or () if port.get("hostPort")]


def usable_nodes(observed: Observed) -> List[str]:
    """Return the nodes that can carry a router: ready, schedulable, tolerated, selected, and with the host ports free."""
    template = observed.workload["spec"]["template"]["spec"]
    ports = set(host_ports(observed.workload))
    own = {pod["metadata"].get("uid") for pod in observed.pods}
    taken = {
        pod["spec"].get("nodeName")
        for pod in observed.other_pods
        if pod["metadata"].get("uid") not in own and ports & set(_ports_of(pod)) and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    }
    return [node["metadata"]["name"] for node in observed.nodes if _carries(node, template) and node["metadata"]["name"] not in taken]


def _ports_of(pod: Mapping[str, Any]) -> List[int]:
    return [port["hostPort"] for container in pod["spec"]["containers"] for port in container.get("ports") or () if port.get("hostPort")]


def _carries(node: Mapping[str, Any], template: Mapping[str, Any]) -> bool:
    labels = node["metadata"].get("labels") or {}
    selector = template.get("nodeSelector") or {}
    if node["spec"].get("unschedulable") or not is_ready(node):
        return False
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    hard = [taint for taint in node["spec"].get("taints") or () if taint["effect"] in ("NoSchedule", "NoExecute")]
    return all(any(_tolerates(toleration, taint) for toleration in template.get("tolerations") or ()) for taint in hard)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")


def nodes_in_use(pods: Sequence[Mapping[str, Any]]) -> List[str]:
    """Return the nodes that carry one of the pods."""
    return sorted({pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")})


def promised_nodes(spread: str, replicas: int, observed: Observed) -> int:
    """Return on how many nodes the routers have to be at least."""
    return 1 if spread == "none" else max(1, min(replicas, len(usable_nodes(observed))))


def crowded_pod(promised: int, observed: Observed) -> Optional[Mapping[str, Any]]:
    """Return a pod that shares its node although a usable node has none; None when the pods are spread, or not all ready."""
    used = nodes_in_use(observed.pods)
    if len(used) >= promised or not all(is_ready(pod) for pod in observed.pods) or not set(usable_nodes(observed)) - set(used):
        return None
    counts = Counter(pod["spec"]["nodeName"] for pod in observed.pods)
    return max(observed.pods, key=lambda pod: (counts[pod["spec"]["nodeName"]], pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]))


def spread_terms(workload: Mapping[str, Any], field: str, hard: bool) -> List[Dict[str, Any]]:
    """Return the anti-affinity terms as they should be: those that are there, and ours for what they do not cover.

    The list has no merge key, so it is wanted as a whole. Terms work on every Kubernetes since 1.6, which topology spread constraints do not.
    """
    affinity = (workload["spec"]["template"]["spec"].get("affinity") or {}).get("podAntiAffinity") or {}
    there = [dict(term) for term in affinity.get(field) or ()]
    keys = [HOSTNAME] if hard else [HOSTNAME, ZONE]
    for key in keys:
        if not any((term if hard else term["podAffinityTerm"]).get("topologyKey") == key for term in there):
            term = {"labelSelector": {"matchLabels": dict(workload["spec"]["selector"].get("matchLabels") or {})}, "topologyKey": key}
            there.append(term if hard else {"weight": 100 if key == HOSTNAME else 50, "podAffinityTerm": term})
    return there


def budgets_over(observed: Observed) -> List[Mapping[str, Any]]:
    """Return the disruption budgets that select the routers."""
    labels = observed.workload["spec"]["template"]["metadata"].get("labels") or {}
    return [budget for budget in observed.budgets if _selects((budget["spec"].get("selector") or {}), labels)]


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for rule in selector.get("matchExpressions") or ():
        key, operator, values = rule["key"], rule["operator"], rule.get("values") or ()
        holds = {"In": labels.get(key) in values, "NotIn": labels.get(key) not in values, "Exists": key in labels, "DoesNotExist": key not in labels}
        if not holds[operator]:
            return False
    return True
