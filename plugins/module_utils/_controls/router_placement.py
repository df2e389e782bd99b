# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where routers can run and where they do: pure functions over what was observed."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Union

from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import is_leaving, is_ready
from ansible_collections.paas.hardening.plugins.module_utils._controls.router_observation import Observed

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
SOFT = "preferredDuringSchedulingIgnoredDuringExecution"
HARD = "requiredDuringSchedulingIgnoredDuringExecution"


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
        if pod["metadata"].get("uid") not in own and ports & set(_ports_of(pod)) and not is_leaving(pod)
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
    required = ((template.get("affinity") or {}).get("nodeAffinity") or {}).get(HARD)
    if required and not any(_meets(term, node) for term in required["nodeSelectorTerms"]):
        return False
    hard = [taint for taint in node["spec"].get("taints") or () if taint["effect"] in ("NoSchedule", "NoExecute")]
    return all(any(_tolerates(toleration, taint) for toleration in template.get("tolerations") or ()) for taint in hard)


def _meets(term: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    fields = {"metadata.name": node["metadata"]["name"]}
    rules = [(rule, node["metadata"].get("labels") or {}) for rule in term.get("matchExpressions") or ()]
    rules += [(rule, fields) for rule in term.get("matchFields") or ()]
    return bool(rules) and all(_holds(rule, labels) for rule, labels in rules)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""))


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


def one_per_node(spread: str, workload: Mapping[str, Any]) -> bool:
    """Tell whether no node can carry two routers: by host ports, or because they are kept apart without exception."""
    return spread == "hard" or bool(host_ports(workload)) or any(_covers(term, HOSTNAME, workload) for term in _affinity(workload).get(HARD) or ())


def spread_terms(workload: Mapping[str, Any], field: str) -> List[Dict[str, Any]]:
    """Return the anti-affinity terms as they should be: those that are there, and ours for what nothing there covers.

    The list has no merge key, so it is wanted as a whole. Terms work on every Kubernetes since 1.6, which topology spread constraints do not.
    """
    hard = field == HARD
    terms = [dict(term) for term in _affinity(workload).get(field) or ()]
    for key in [HOSTNAME] if hard else [HOSTNAME, ZONE]:
        if not any(_covers(term, key, workload) for term in _keeping_apart(workload, hard)):
            term = {"labelSelector": dict(workload["spec"]["selector"]), "topologyKey": key}
            terms.append(term if hard else {"weight": 100 if key == HOSTNAME else 50, "podAffinityTerm": term})
    return terms


def _affinity(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    return (workload["spec"]["template"]["spec"].get("affinity") or {}).get("podAntiAffinity") or {}


def _keeping_apart(workload: Mapping[str, Any], hard: bool) -> Iterator[Mapping[str, Any]]:
    """Yield everything that keeps pods of the workload apart at least as strongly as asked."""
    yield from _affinity(workload).get(HARD) or ()
    if not hard:
        yield from (term["podAffinityTerm"] for term in _affinity(workload).get(SOFT) or ())
        constraints = workload["spec"]["template"]["spec"].get("topologySpreadConstraints") or ()
        yield from (constraint for constraint in constraints if constraint["maxSkew"] == 1)


def _covers(term: Mapping[str, Any], key: str, workload: Mapping[str, Any]) -> bool:
    """Tell whether the term is about this topology and about the routers themselves: one whose labels are those of other pods does nothing."""
    own = workload["metadata"]["namespace"]
    elsewhere = own not in term["namespaces"] if term.get("namespaces") else bool(term.get("namespaceSelector"))
    selector = term.get("labelSelector")
    return term.get("topologyKey") == key and not elsewhere and selector is not None and _selects(selector, _labels(workload))


def budgets_over(observed: Observed) -> List[Mapping[str, Any]]:
    """Return the disruption budgets that select the routers. The empty selector selects every pod, a missing one none."""
    selectors = [(budget, budget["spec"].get("selector")) for budget in observed.budgets]
    return [budget for budget, selector in selectors if selector is not None and _selects(selector, _labels(observed.workload))]


def portion(value: Union[int, str], whole: int, up: bool) -> int:
    """Return how many of the whole a number or a percentage means, rounded up or down."""
    if isinstance(value, int):
        return value
    parts = int(value.rstrip("%")) * whole
    return -(-parts // 100) if up else parts // 100


def _labels(workload: Mapping[str, Any]) -> Mapping[str, str]:
    return workload["spec"]["template"]["metadata"].get("labels") or {}


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    exact = (selector.get("matchLabels") or {}).items()
    return all(labels.get(key) == value for key, value in exact) and all(_holds(rule, labels) for rule in selector.get("matchExpressions") or ())


def _holds(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = rule["key"], rule["operator"]
    values: Sequence[str] = rule.get("values") or ()
    if operator in ("Gt", "Lt"):
        found = labels.get(key, "")
        return found.isdigit() and (int(found) > int(values[0]) if operator == "Gt" else int(found) < int(values[0]))
    return {"In": labels.get(key) in values, "NotIn": labels.get(key) not in values, "Exists": key in labels, "DoesNotExist": key not in labels}[operator]
