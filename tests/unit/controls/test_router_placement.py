"""Which nodes can carry a router, what keeps routers apart, and which pod has to move: nothing that only looks like it counts."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.router_placement import (
    HARD,
    HOSTNAME,
    SOFT,
    ZONE,
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
from tests.unit.controls.routers import HOST_PORTS, LABELS, budget, hard, node, observed, pod, router, soft, term

TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}


def usable(*nodes: Any, **pod_spec: Any) -> list[str]:
    return usable_nodes(observed(router(**pod_spec), nodes=list(nodes)))


def required(*terms: Any) -> dict[str, Any]:
    return {"nodeAffinity": {HARD: {"nodeSelectorTerms": list(terms)}}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]}


@pytest.mark.parametrize(
    ("other", "spec", "names"),
    [
        (node("b"), {}, ["a", "b"]),
        (node("b", usable=False), {}, ["a"]),
        (node("b", cordoned=True), {}, ["a"]),
        (node("b", taints=[TAINT]), {}, ["a"]),
        (node("b", taints=[{**TAINT, "effect": "NoExecute"}]), {}, ["a"]),
        (node("b", taints=[{**TAINT, "effect": "PreferNoSchedule"}]), {}, ["a", "b"]),
        # Tolerated, and nearly tolerated.
        (node("b", taints=[TAINT]), {"tolerations": [{"key": "dedicated", "value": "db"}]}, ["a", "b"]),
        (node("b", taints=[TAINT]), {"tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]}, ["a", "b"]),
        (node("b", taints=[TAINT]), {"tolerations": [{"operator": "Exists"}]}, ["a", "b"]),
        (node("b", taints=[TAINT]), {"tolerations": [{"key": "dedicated", "value": "web"}]}, ["a"]),
        (node("b", taints=[TAINT]), {"tolerations": [{"key": "dedicated", "value": "db", "effect": "NoExecute"}]}, ["a"]),
        (node("b", taints=[TAINT, {"key": "gpu", "effect": "NoSchedule"}]), {"tolerations": [{"key": "dedicated", "value": "db"}]}, ["a"]),
        # A selector.
        (node("b", labels={"edge": "yes"}), {"nodeSelector": {"edge": "yes"}}, ["b"]),
        (node("b", labels={"edge": "no"}), {"nodeSelector": {"edge": "yes"}}, []),
        (node("b", labels={"edge": "yes"}), {"nodeSelector": {"edge": "yes", "zone": "x"}}, []),
        # A required affinity; a preferred one keeps nobody away.
        (node("b", labels={"edge": "yes"}), {"affinity": required(expression("edge", "In", "yes", "perhaps"))}, ["b"]),
        (node("b", labels={"edge": "yes"}), {"affinity": required(expression("edge", "NotIn", "yes"))}, ["a"]),
        (node("b", labels={"edge": "yes"}), {"affinity": required(expression("edge", "Exists"))}, ["b"]),
        (node("b", labels={"edge": "yes"}), {"affinity": required(expression("edge", "DoesNotExist"))}, ["a"]),
        (node("b", labels={"cores": "8"}), {"affinity": required(expression("cores", "Gt", "4"))}, ["b"]),
        (node("b", labels={"cores": "8"}), {"affinity": required(expression("cores", "Lt", "8"))}, []),
        (node("b"), {"affinity": required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]})}, ["b"]),
        (node("b", labels={"x": "1"}), {"affinity": required(expression("x", "Exists"), expression("y", "DoesNotExist"))}, ["a", "b"]),
        (node("b"), {"affinity": required({})}, []),
        (node("b"), {"affinity": {"nodeAffinity": {SOFT: [{"weight": 1, "preference": expression("edge", "Exists")}]}}}, ["a", "b"]),
    ],
)
def test_usable_nodes(other: Any, spec: dict[str, Any], names: list[str]) -> None:
    assert usable(node("a"), other, **spec) == names


@pytest.mark.parametrize(
    ("stranger", "names"),
    [
        (pod("s", "two", host_ports=(80,)), ["one"]),
        (pod("s", "two", host_ports=(443, 9999)), ["one"]),
        (pod("s", "two", host_ports=(8080,)), ["one", "two"]),
        (pod("s", "two"), ["one", "two"]),
        (pod("s", None, host_ports=(80,)), ["one", "two"]),
        # What is over or goes away has given the port back, or does so soon.
        (pod("s", "two", host_ports=(80,), phase="Succeeded"), ["one", "two"]),
        (pod("s", "two", host_ports=(80,), phase="Failed"), ["one", "two"]),
        (pod("s", "two", host_ports=(80,), metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), ["one", "two"]),
        # The routers' own ports are not taken by strangers.
        (pod("r-1", "one", host_ports=HOST_PORTS), ["one", "two"]),
    ],
)
def test_a_stranger_on_a_host_port_takes_its_node(stranger: Any, names: list[str]) -> None:
    assert usable_nodes(observed(router(host_ports=HOST_PORTS), other_pods=[stranger])) == names


def test_strangers_do_not_matter_without_host_ports() -> None:
    assert usable_nodes(observed(router(), other_pods=[pod("s", "two", host_ports=(80,))])) == ["one", "two"]
    assert (host_ports(router()), host_ports(router(host_ports=HOST_PORTS))) == ([], [80, 443])


@pytest.mark.parametrize(
    ("workload", "spread", "answer"),
    [
        (router(), "soft", False),
        (router(), "none", False),
        (router(), "hard", True),
        (router(host_ports=(80,)), "none", True),
        (router(affinity=hard(term())), "soft", True),
        (router(affinity=soft(term())), "soft", False),
        (router(affinity=hard(term(ZONE))), "soft", False),
        (router(affinity=hard(term(selector={"matchLabels": {"app": "redis"}}))), "none", False),
    ],
)
def test_one_router_on_a_node(workload: Any, spread: str, answer: bool) -> None:
    assert one_per_node(spread, workload) is answer


# --- anti-affinity: what is there and really about the routers stays, what is missing is added


def keys(terms: list[dict[str, Any]], field: str) -> list[str]:
    return [(entry if field == HARD else entry["podAffinityTerm"])["topologyKey"] for entry in terms]


def test_from_nothing() -> None:
    assert spread_terms(router(), SOFT) == [{"weight": 100, "podAffinityTerm": term()}, {"weight": 50, "podAffinityTerm": term(ZONE)}]
    assert spread_terms(router(), HARD) == [term()]


def test_the_terms_select_what_the_workload_selects() -> None:
    workload = router()
    workload["spec"]["selector"] = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["deis-router"]}]}
    assert spread_terms(workload, HARD)[0]["labelSelector"] == workload["spec"]["selector"]


EQUIVALENT = [
    term(),
    term(namespaces=["deis"]),
    term(namespaces=["other", "deis"]),
    term(namespaceSelector={}),
    term(selector={}),
    term(selector={"matchExpressions": [{"key": "app", "operator": "In", "values": ["deis-router", "x"]}]}),
    term(selector={"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
    term(matchLabelKeys=["pod-template-hash"]),
]
LOOK_ALIKE = [
    term(selector={"matchLabels": {"app": "deis-builder"}}),
    term(selector={"matchLabels": {**LABELS, "component": "router"}}),
    term(selector={"matchLabels": {"App": "deis-router"}}),
    term(selector={"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["deis-router"]}]}),
    term(selector={"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
    {"topologyKey": HOSTNAME},
    term("hostname"),
    term("beta.kubernetes.io/hostname"),
    term(namespaces=["other"]),
    term(namespaceSelector={"matchLabels": {"team": "edge"}}),
]


@pytest.mark.parametrize("there", EQUIVALENT)
def test_an_equivalent_term_is_enough(there: dict[str, Any]) -> None:
    assert spread_terms(router(affinity=hard(there)), HARD) == [there]
    both = router(affinity=soft(there, term(ZONE)))
    assert spread_terms(both, SOFT) == both["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][SOFT]


@pytest.mark.parametrize("there", LOOK_ALIKE)
def test_a_look_alike_stays_and_ours_is_added(there: dict[str, Any]) -> None:
    assert spread_terms(router(affinity=hard(there)), HARD) == [there, term()]
    found = spread_terms(router(affinity=soft(there)), SOFT)
    assert found[0] == {"weight": 1, "podAffinityTerm": there}
    assert found[1:] == [{"weight": 100, "podAffinityTerm": term()}, {"weight": 50, "podAffinityTerm": term(ZONE)}]


def test_affinity_is_not_anti_affinity() -> None:
    together = {"podAffinity": soft(term())["podAntiAffinity"], "nodeAffinity": {}}
    assert keys(spread_terms(router(affinity=together), SOFT), SOFT) == [HOSTNAME, ZONE]


def test_what_is_kept_apart_strictly_needs_no_softness() -> None:
    assert keys(spread_terms(router(affinity=hard(term())), SOFT), SOFT) == [ZONE]
    assert spread_terms(router(affinity=hard(term(), term(ZONE))), SOFT) == []
    # The other way round it does not hold.
    assert keys(spread_terms(router(affinity=soft(term())), HARD), HARD) == [HOSTNAME]


def constraint(key: str, skew: int = 1, selector: Any = None) -> dict[str, Any]:
    chosen = {"matchLabels": LABELS} if selector is None else selector
    return {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": chosen}


def test_spread_constraints_do_the_same() -> None:
    assert spread_terms(router(topologySpreadConstraints=[constraint(HOSTNAME), constraint(ZONE)]), SOFT) == []
    assert keys(spread_terms(router(topologySpreadConstraints=[constraint(HOSTNAME, skew=3), constraint(ZONE)]), SOFT), SOFT) == [HOSTNAME]
    assert keys(spread_terms(router(topologySpreadConstraints=[constraint(HOSTNAME, selector={"matchLabels": {"app": "x"}})]), SOFT), SOFT) == [HOSTNAME, ZONE]
    assert keys(spread_terms(router(topologySpreadConstraints=[constraint(HOSTNAME)]), HARD), HARD) == [HOSTNAME]


def test_planning_changes_nothing() -> None:
    workload = router(affinity=soft(term("x")))
    terms = spread_terms(workload, SOFT)
    terms.append({})
    assert workload == router(affinity=soft(term("x")))


# --- promises and moves


@pytest.mark.parametrize(
    ("spread", "replicas", "nodes", "answer"),
    [("soft", 2, 2, 2), ("soft", 2, 5, 2), ("soft", 5, 2, 2), ("hard", 2, 2, 2), ("none", 5, 5, 1), ("soft", 2, 0, 1), ("soft", 1, 3, 1)],
)
def test_promised_nodes(spread: str, replicas: int, nodes: int, answer: int) -> None:
    assert promised_nodes(spread, replicas, observed(nodes=[node(f"n{number}") for number in range(nodes)])) == answer


def test_nodes_in_use() -> None:
    assert nodes_in_use([pod("a", "two"), pod("b", "one"), pod("c", "two"), pod("d", None)]) == ["one", "two"]


def moved(*pods: Any, promised: int = 2, **changed: Any) -> str | None:
    found = crowded_pod(promised, observed(pods=list(pods), **changed))
    return found["metadata"]["name"] if found else None


def test_the_youngest_pod_of_the_fullest_node_moves() -> None:
    assert moved(pod("a", "one", created="2026-01-02"), pod("b", "one", created="2026-01-01")) == "a"
    assert moved(pod("a", "one"), pod("b", "one")) == "b"
    three = [node("one"), node("two"), node("three")]
    pods = [pod("a", "two", created="2026-02-01"), pod("b", "one"), pod("c", "one")]
    assert moved(*pods, promised=3, nodes=three) == "c"


@pytest.mark.parametrize(
    ("pods", "changed"),
    [
        # Spread already.
        ([pod("a", "one"), pod("b", "two")], {}),
        # Nowhere to go.
        ([pod("a", "one"), pod("b", "one")], {"nodes": [node("one")]}),
        ([pod("a", "one"), pod("b", "one")], {"nodes": [node("one"), node("two", usable=False)]}),
        ([pod("a", "one"), pod("b", "one")], {"nodes": [node("one"), node("two", cordoned=True)]}),
        # Never take one away while another is not well.
        ([pod("a", "one"), pod("b", "one", usable=False)], {}),
        ([pod("a", "one"), pod("b", None, usable=False)], {}),
    ],
)
def test_nobody_moves_without_need(pods: list[Any], changed: dict[str, Any]) -> None:
    assert moved(*pods, **changed) is None


# --- disruption budgets


@pytest.mark.parametrize(
    ("selector", "over"),
    [
        ({"matchLabels": LABELS}, True),
        # In policy/v1 the empty selector is every pod, and none is no pod.
        ({}, True),
        (False, False),
        ({"matchLabels": {**LABELS, "x": "y"}}, False),
        ({"matchLabels": {"app": "deis-builder"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["deis-router"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["deis-router"]}]}, False),
        ({"matchExpressions": [{"key": "other", "operator": "NotIn", "values": ["x"]}]}, True),
        ({"matchLabels": LABELS, "matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_which_budgets_are_over_the_routers(selector: Any, over: bool) -> None:
    assert bool(budgets_over(observed(budgets=[budget(selector=selector)]))) is over


@pytest.mark.parametrize(
    ("value", "whole", "up", "answer"),
    [
        (1, 5, True, 1),
        (0, 5, False, 0),
        ("50%", 3, True, 2),
        ("50%", 3, False, 1),
        ("25%", 2, False, 0),
        ("25%", 2, True, 1),
        ("100%", 4, True, 4),
        ("0%", 4, True, 0),
    ],
)
def test_a_portion_is_a_number_or_a_percentage(value: int | str, whole: int, up: bool, answer: int) -> None:
    assert portion(value, whole, up) == answer
