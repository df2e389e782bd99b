# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""More than one router, on more than one node, and never all of them away at once."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import http_through
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Recommendation, Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import is_ready
from ansible_collections.paas.hardening.plugins.module_utils._controls.router_observation import Observed, observe_router
from ansible_collections.paas.hardening.plugins.module_utils._controls.router_placement import (
    budgets_over,
    crowded_pod,
    host_ports,
    nodes_in_use,
    promised_nodes,
    spread_terms,
    usable_nodes,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check, Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Path
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Platform

RECOMMENDATION = Recommendation(
    id="router-scale",
    title="More than one router answers",
    severity="high",
    source=Source(
        "Deis Workflow, Production Deployments",
        "Scale Routers",
        "To reduce the potential of this happening it is recommended that you scale the deis-router Deployment to run more than one router pod.",
    ),
)
LEAST = 2
_AFFINITY: Path = ("spec", "template", "spec", "affinity", "podAntiAffinity")
_SOFT = "preferredDuringSchedulingIgnoredDuringExecution"
_HARD = "requiredDuringSchedulingIgnoredDuringExecution"


class RouterScaleControl:
    """Scales the routers, spreads them over nodes, limits how many may be away, and proves that each answers."""

    recommendation = RECOMMENDATION
    arguments: Dict[str, Any] = {
        "replicas": {"type": "int"},
        "one_per_node": {"type": "bool", "default": False},
        "maximum": {"type": "int", "default": 5},
        "spread": {"type": "str", "choices": ["soft", "hard", "none"], "default": "soft"},
        "disruption_budget": {"type": "bool", "default": True},
    }

    def observe(self, site: Site, params: Mapping[str, Any]) -> Observed:
        return observe_router(site)

    def wanted(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
        replicas = wanted_replicas(params, observed)
        return [
            *_count(platform, observed, replicas),
            *_strategy(params, observed, replicas),
            *_spread(params, observed),
            *_budget(params, observed),
            *_respread(params, observed, replicas),
        ]

    def workloads(self, observed: Observed) -> Sequence[Mapping[str, Any]]:
        return (observed.workload,)

    def probe(self, site: Site, params: Mapping[str, Any], observed: Observed) -> Proof:
        replicas = wanted_replicas(params, observed)
        checks = [_ask(site, observed, pod) for pod in observed.pods]
        if len(observed.pods) < replicas:
            checks.append(Check("router pods", f"at least {replicas}", str(len(observed.pods)), FAIL))
        promised = promised_nodes(params["spread"], replicas, observed)
        used = nodes_in_use(observed.pods)
        checks.append(Check("nodes that carry a router", f"at least {promised}", f"{len(used)} ({', '.join(used)})", PASS if len(used) >= promised else FAIL))
        return Proof(tuple(checks))

    def describe(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> Tuple[str, str, str]:
        metadata = observed.workload["metadata"]
        ready = sum(1 for pod in observed.pods if is_ready(pod))
        budgets = len(budgets_over(observed))
        expected = f"{wanted_replicas(params, observed)} routers, spread {params['spread']}" + (", disruption budget" if params["disruption_budget"] else "")
        seen = f"{observed.workload['spec'].get('replicas', 1)} routers, {ready} ready on {len(nodes_in_use(observed.pods))} nodes, {budgets} disruption budgets"
        return f"{observed.workload['kind']} {metadata['namespace']}/{metadata['name']}", expected, seen

    def beside(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Finding]:
        findings = []
        for budget in budgets_over(observed):
            allowed = (budget.get("status") or {}).get("disruptionsAllowed")
            if budget["metadata"]["name"] != observed.budget_name and allowed == 0:
                name = budget["metadata"]["name"]
                findings.append(
                    Finding(
                        control=f"{RECOMMENDATION.id}-drain-blocked",
                        title="A disruption budget lets no router go: a drain of its node never ends",
                        severity="medium",
                        source=RECOMMENDATION.source,
                        subject=f"PodDisruptionBudget {budget['metadata']['namespace']}/{name}",
                        status=FAIL,
                        expected="at least one allowed disruption",
                        observed="0 allowed disruptions",
                        hint=f"Lower minAvailable of {name} below the number of routers, or use maxUnavailable: 1.",
                    )
                )
        return findings


def wanted_replicas(params: Mapping[str, Any], observed: Observed) -> int:
    """Return how many routers there have to be.

    A number that was asked for is taken as it is; one per usable node is bounded by the maximum; without a wish more than two are left alone.
    """
    if params["replicas"] is not None:
        if params["replicas"] < 1:
            raise Refused(f"replicas is {params['replicas']}.", "Give 1 or more: without a router nothing can be reached.", subject="replicas")
        return int(params["replicas"])
    if params["one_per_node"]:
        return max(1, min(len(usable_nodes(observed)), int(params["maximum"])))
    return max(LEAST, int(observed.workload["spec"].get("replicas", 1)))


def _count(platform: Platform, observed: Observed, replicas: int) -> List[Wanted]:
    _refuse_overcrowding(observed, replicas)
    why = f"{replicas} routers, so that one may fail"
    scaler = observed.autoscaler
    if scaler is None:
        return [Wanted(observed.workload, ("spec", "replicas"), replicas, why, platform.router.replicas_values_path, replicas)]
    # The autoscaler owns the count: its lower bound is raised, spec.replicas is never touched.
    name, highest = scaler["metadata"]["name"], int(scaler["spec"]["maxReplicas"])
    if highest < replicas:
        raise Refused(
            f"HorizontalPodAutoscaler {name} owns the number of routers and allows {highest} at most; {replicas} are wanted.",
            f"Raise maxReplicas of {name}, or ask for fewer routers.",
            subject=name,
        )
    lowest = max(replicas, int(scaler["spec"].get("minReplicas", 1)))
    return [Wanted(scaler, ("spec", "minReplicas"), lowest, f"{why}; the autoscaler {name} owns the count")]


def _refuse_overcrowding(observed: Observed, replicas: int) -> None:
    ports = host_ports(observed.workload)
    if not ports:
        return
    nodes = usable_nodes(observed)
    if replicas > len(nodes):
        raise Refused(
            f"{replicas} routers cannot run: each takes the host ports {', '.join(map(str, ports))} of its node, and {len(nodes)} nodes can carry one.",
            f"Ask for at most {len(nodes)} routers, add nodes, or turn host ports off.",
            subject="replicas",
        )


def _strategy(params: Mapping[str, Any], observed: Observed, replicas: int) -> List[Wanted]:
    """Where every usable node already carries a router, a surge pod has nowhere to go: replace one by one instead."""
    exclusive = bool(host_ports(observed.workload)) or params["spread"] == "hard"
    strategy = observed.workload["spec"].get("strategy") or {}
    if not exclusive or replicas < len(usable_nodes(observed)) or strategy.get("type") == "Recreate":
        return []
    why = "every node carries a router: a rollout that needs a free node would never end"
    rolling: Path = ("spec", "strategy", "rollingUpdate")
    return [Wanted(observed.workload, rolling + ("maxUnavailable",), 1, why), Wanted(observed.workload, rolling + ("maxSurge",), 0, why)]


def _spread(params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
    if params["spread"] == "none":
        return []
    field = _HARD if params["spread"] == "hard" else _SOFT
    terms = spread_terms(observed.workload, field, hard=params["spread"] == "hard")
    return [Wanted(observed.workload, _AFFINITY + (field,), terms, "routers on different nodes, so that one node may fail")]


def _budget(params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
    own = [budget for budget in budgets_over(observed) if budget["metadata"]["name"] == observed.budget_name]
    if not params["disruption_budget"]:
        return [Wanted(budget, (), ABSENT, "no disruption budget is wanted") for budget in own]
    if own:
        return [Wanted(own[0], ("spec", "maxUnavailable"), 1, "a drain takes one router at a time"), Wanted(own[0], ("spec", "minAvailable"), ABSENT, "")]
    if budgets_over(observed):
        # A second budget over the same pods makes every eviction fail.
        return []
    return [Wanted(observed.missing_budget(), (), observed.new_budget(), "a drain takes one router at a time")]


def _respread(params: Mapping[str, Any], observed: Observed, replicas: int) -> List[Wanted]:
    """Pods stay where they are when a node comes back: one of two on the same node is deleted, so that the scheduler places it anew."""
    if params["spread"] == "none" or len(observed.pods) < replicas:
        return []
    pod = crowded_pod(promised_nodes(params["spread"], replicas, observed), observed)
    return [Wanted(pod, (), ABSENT, f"it shares node {pod['spec']['nodeName']} with another router while a node has none")] if pod else []


def _ask(site: Site, observed: Observed, pod: Mapping[str, Any]) -> Check:
    name = pod["metadata"]["name"]
    port, path = observed.health_port, observed.health_path
    what, expected = f"GET :{port}{path} on pod {name}", "200"
    try:
        answer = http_through(site.connection, pod["metadata"]["namespace"], name, port, "GET", path)
    except Failure as error:
        return Check(what, expected, f"no answer ({error.message})", UNKNOWN if is_ready(pod) else FAIL)
    return Check(what, expected, str(answer.status), PASS if answer.status == 200 else FAIL)


CONTROL = RouterScaleControl()
