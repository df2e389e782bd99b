# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""More than one router, on more than one node, and never all of them away at once."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import http_through
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Recommendation, Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import is_ready, patiently
from ansible_collections.paas.hardening.plugins.module_utils._controls.router_observation import Observed, observe_router
from ansible_collections.paas.hardening.plugins.module_utils._controls.router_placement import (
    HARD,
    SOFT,
    budgets_over,
    crowded_pod,
    host_ports,
    nodes_in_use,
    one_per_node,
    portion,
    promised_nodes,
    spread_terms,
    usable_nodes,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check, Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Path
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
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
        fields = [
            *_count(platform, params, observed, replicas),
            *_strategy(params, observed, replicas),
            *_spread(params, observed),
            *_budget(params, observed),
        ]
        # A rollout places every pod anew by itself; what it leaves together is looked at after it.
        rolls_out = any(entry.path[:2] == ("spec", "template") and not entry.holds for entry in fields)
        return fields if rolls_out else [*fields, *_respread(params, observed, replicas)]

    def against(self, params: Mapping[str, Any]) -> str:
        return f"Only {params['replicas']} router is asked for." if params["replicas"] is not None and params["replicas"] < LEAST else ""

    def workloads(self, observed: Observed) -> Sequence[Mapping[str, Any]]:
        return (observed.workload,)

    def unsettled(self, params: Mapping[str, Any], observed: Observed) -> str:
        # A pod that was deleted is made anew, and an autoscaler follows its lower bound, in their own time; the Deployment says ready until then.
        wanted, there = wanted_replicas(params, observed), sum(1 for pod in observed.pods if is_ready(pod))
        return f"{there} of {wanted} routers are ready" if there < wanted else ""

    def probe(self, site: Site, params: Mapping[str, Any], observed: Observed) -> Proof:
        replicas = wanted_replicas(params, observed)
        deadline = Deadline(site.connection.retry_seconds)
        checks = [_ask(site, observed, pod, deadline) for pod in observed.pods]
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
        expected = f"routers: {wanted_replicas(params, observed)}, spread {params['spread']}" + (", disruption budget" if params["disruption_budget"] else "")
        count, nodes = observed.workload["spec"].get("replicas", 1), len(nodes_in_use(observed.pods))
        seen = f"routers: {count}, ready: {ready} on {nodes} nodes, disruption budgets: {budgets}"
        return f"{observed.workload['kind']} {metadata['namespace']}/{metadata['name']}", expected, seen

    def beside(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Finding]:
        return _budgets_of_others(observed, wanted_replicas(params, observed))


def wanted_replicas(params: Mapping[str, Any], observed: Observed) -> int:
    """Return how many routers there have to be.

    A number that was asked for is taken as it is; one per usable node is bounded by the maximum; without a wish more than two are left alone.
    """
    if params["replicas"] is not None:
        if params["replicas"] < 1:
            raise Invalid(f"replicas is {params['replicas']}.", "Give 1 or more: without a router nothing can be reached.", subject="replicas")
        return int(params["replicas"])
    if params["one_per_node"]:
        return max(1, min(len(usable_nodes(observed)), int(params["maximum"])))
    if observed.autoscaler is not None:
        # The number of the moment is the load's: taken as a wish, it would raise the lower bound at every run.
        return max(LEAST, _lower_bound(observed.autoscaler))
    return max(LEAST, int(observed.workload["spec"].get("replicas", 1)))


def _lower_bound(scaler: Mapping[str, Any]) -> int:
    return int(scaler["spec"].get("minReplicas", 1))


def _count(platform: Platform, params: Mapping[str, Any], observed: Observed, replicas: int) -> List[Wanted]:
    _refuse_overcrowding(params, observed, replicas)
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
    lowest = max(replicas, _lower_bound(scaler))
    return [Wanted(scaler, ("spec", "minReplicas"), lowest, f"{why}; the autoscaler {name} owns the count")]


def _refuse_overcrowding(params: Mapping[str, Any], observed: Observed, replicas: int) -> None:
    nodes = len(usable_nodes(observed))
    if replicas <= nodes or not one_per_node(params["spread"], observed.workload):
        return
    ports = host_ports(observed.workload)
    because = f"each takes the host ports {', '.join(map(str, ports))} of its node" if ports else "each needs a node of its own (anti-affinity)"
    raise Refused(
        f"{replicas} routers cannot run: {because}, and {nodes} nodes can carry one.",
        f"Ask for at most {nodes} routers, add nodes, or {'turn host ports off' if ports else 'use spread: soft'}.",
        subject="replicas",
    )


def _strategy(params: Mapping[str, Any], observed: Observed, replicas: int) -> List[Wanted]:
    """Where every usable node already carries a router, a surge pod has nowhere to go: replace one by one instead."""
    strategy = observed.workload["spec"].get("strategy") or {}
    alone = one_per_node(params["spread"], observed.workload)
    if not alone or replicas < len(usable_nodes(observed)) or strategy.get("type") == "Recreate":
        return []
    why = "every node carries a router: a rollout that needs a free node would never end"
    rolling: Path = ("spec", "strategy", "rollingUpdate")
    there = strategy.get("rollingUpdate") or {}
    away, surge = there.get("maxUnavailable", "25%"), there.get("maxSurge", "25%")
    # Kubernetes takes 1 where both come out as 0.
    if portion(surge, replicas, up=True) != 0 or not 1 <= max(1, portion(away, replicas, up=False)) < max(replicas, LEAST):
        away, surge = 1, 0
    return [Wanted(observed.workload, rolling + ("maxUnavailable",), away, why), Wanted(observed.workload, rolling + ("maxSurge",), surge, why)]


def _spread(params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
    if params["spread"] == "none":
        return []
    field = HARD if params["spread"] == "hard" else SOFT
    terms = spread_terms(observed.workload, field)
    return [Wanted(observed.workload, _AFFINITY + (field,), terms, "routers on different nodes, so that one node may fail")] if terms else []


def _budget(params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
    why = "a drain takes one router at a time"
    own = [budget for budget in observed.budgets if observed.owns(budget)]
    if not params["disruption_budget"]:
        return [Wanted(budget, (), ABSENT, "no disruption budget is wanted") for budget in own]
    if any(not observed.owns(budget) for budget in budgets_over(observed)):
        return [Wanted(budget, (), ABSENT, "somebody else's budget covers the routers, and two make every eviction fail") for budget in own]
    if own:
        return [
            Wanted(own[0], ("spec", "maxUnavailable"), 1, why),
            Wanted(own[0], ("spec", "minAvailable"), ABSENT, why),
            Wanted(own[0], ("spec", "selector"), observed.workload["spec"]["selector"], why),
        ]
    if any(budget["metadata"]["name"] == observed.budget_name for budget in observed.budgets):
        raise Refused(
            f"PodDisruptionBudget {observed.budget_name} is somebody else's and does not select the routers.",
            "Rename it or mend its selector, or set disruption_budget to false.",
            subject=observed.budget_name,
        )
    return [Wanted(observed.missing_budget(), (), observed.new_budget(), why)]


def _budgets_of_others(observed: Observed, replicas: int) -> List[Finding]:
    findings = []
    others = [budget for budget in budgets_over(observed) if not observed.owns(budget)]
    names = ", ".join(budget["metadata"]["name"] for budget in others)
    if len(others) > 1:
        title = "Several disruption budgets cover the routers: every eviction fails"
        findings.append(_finding("budgets-collide", title, names, "one budget", f"{len(others)} budgets", f"Keep one of {names}."))
    for budget in others:
        name, spec = budget["metadata"]["name"], budget["spec"]
        if (budget.get("status") or {}).get("disruptionsAllowed") == 0:
            title = "A disruption budget lets no router go: a drain of its node never ends"
            hint = f"Lower minAvailable of {name} below the number of routers, or use maxUnavailable: 1."
            findings.append(_finding("drain-blocked", title, name, "at least one allowed disruption", "0 allowed disruptions", hint))
        away = portion(spec.get("maxUnavailable", 0), replicas, up=True)
        staying = portion(spec["minAvailable"], replicas, up=True) if "minAvailable" in spec else replicas - away
        if replicas >= LEAST and staying <= 0:
            title = "A disruption budget lets all routers go at once: it protects nothing"
            findings.append(_finding("budget-idle", title, name, "at least one router stays", "none has to stay", f"Use maxUnavailable: 1 in {name}."))
    return findings


def _finding(suffix: str, title: str, subject: str, expected: str, seen: str, hint: str) -> Finding:
    return Finding(
        control=f"{RECOMMENDATION.id}-{suffix}",
        title=title,
        severity="medium",
        source=RECOMMENDATION.source,
        subject=f"PodDisruptionBudget {subject}",
        status=FAIL,
        expected=expected,
        observed=seen,
        hint=hint,
    )


def _respread(params: Mapping[str, Any], observed: Observed, replicas: int) -> List[Wanted]:
    """Pods stay where they are when a node comes back: one of two on the same node is deleted, so that the scheduler places it anew."""
    if params["spread"] == "none" or len(observed.pods) < replicas:
        return []
    pod = crowded_pod(promised_nodes(params["spread"], replicas, observed), observed)
    return [Wanted(pod, (), ABSENT, f"it shares node {pod['spec']['nodeName']} with another router while a node has none")] if pod else []


def _ask(site: Site, observed: Observed, pod: Mapping[str, Any], deadline: Deadline) -> Check:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    port, path = observed.health_port, observed.health_path
    what, expected = f"GET :{port}{path} on pod {name}", "200"
    try:
        # One that is not ready is not expected to answer.
        patience = deadline if is_ready(pod) else Deadline(0)
        answer = patiently(lambda: http_through(site.connection, namespace, name, port, "GET", path), lambda given: given.status == 200, patience)
    except Failure as error:
        return Check(what, expected, f"no answer ({error.message})", UNKNOWN if is_ready(pod) else FAIL)
    return Check(what, expected, str(answer.status), PASS if answer.status == 200 else FAIL)


CONTROL = RouterScaleControl()
