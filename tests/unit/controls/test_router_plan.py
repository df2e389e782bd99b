"""What the router control wants: how many, how placed, how replaced; a wish that cannot come true is refused before anything is written."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.control import plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.router_observation import Observed
from ansible_collections.paas.hardening.plugins.module_utils._controls.router_placement import HARD, SOFT
from ansible_collections.paas.hardening.plugins.module_utils._controls.router_scale import CONTROL, wanted_replicas
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests.unit.controls.routers import HOST_PORTS, autoscaler, budget, hard, node, observed, params, pod, router, soft, term

AFFINITY = "spec.template.spec.affinity.podAntiAffinity."
UNAVAILABLE = "spec.strategy.rollingUpdate.maxUnavailable"
SURGE = "spec.strategy.rollingUpdate.maxSurge"
ZONE = "topology.kubernetes.io/zone"
SPREAD = soft(term(), term(ZONE))
THREE = [node("one"), node("two"), node("three")]


def plan(found: Observed, **wishes: Any) -> Plan:
    before = copy.deepcopy(found)
    planned = plan_of(CONTROL.wanted(PLATFORMS["hephy"], params(**wishes), found))
    assert found == before, "planning is pure"
    return planned


def fields(planned: Plan) -> dict[str, Any]:
    return {f"{change.ref.kind} {change.field}": change.after for change in planned.changes}


def numbers(found: Observed, **wishes: Any) -> dict[str, Any]:
    """What is planned beside the spread and the budget."""
    return fields(plan(found, **{"spread": "none", "disruption_budget": False, **wishes}))


def test_from_the_charts_default_to_two_on_two_nodes() -> None:
    planned = plan(observed())
    assert list(fields(planned)) == ["Deployment spec.replicas", f"Deployment {AFFINITY}{SOFT}", "PodDisruptionBudget (object)"]
    assert fields(planned)["Deployment spec.replicas"] == 2
    created = fields(planned)["PodDisruptionBudget (object)"]
    assert created["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "deis-router"}}}
    assert created["metadata"]["namespace"] == "deis"


def test_what_is_right_is_left_alone() -> None:
    workload = router(2, affinity=SPREAD)
    right = observed(workload, pods=[pod("a", "one"), pod("b", "two")], budgets=[budget("deis-router", owned=True)])
    assert not plan(right)
    assert fields(plan(right, disruption_budget=False)) == {"PodDisruptionBudget (object)": plan(right, disruption_budget=False).changes[0].after}
    assert not plan(right, spread="none")


# --- how many


@pytest.mark.parametrize(
    ("there", "wishes", "number"),
    [
        (1, {}, 2),
        (None, {}, 2),
        (0, {}, 2),
        (2, {}, 2),
        (7, {}, 7),
        (7, {"replicas": 3}, 3),
        (1, {"replicas": 1}, 1),
        (1, {"one_per_node": True}, 3),
        (1, {"one_per_node": True, "maximum": 2}, 2),
        (5, {"one_per_node": True}, 3),
        (1, {"one_per_node": True, "replicas": 2}, 2),
        (1, {"maximum": 1}, 2),
        (1, {"one_per_node": True, "maximum": 0}, 1),
    ],
)
def test_how_many_are_wanted(there: int | None, wishes: dict[str, Any], number: int) -> None:
    found = observed(router(there), nodes=THREE)
    assert wanted_replicas(params(**wishes), found) == number
    assert numbers(found, **wishes) == ({} if there == number else {"Deployment spec.replicas": number})


def test_one_per_node_counts_only_nodes_that_can_carry_one() -> None:
    found = observed(nodes=[*THREE, node("down", usable=False), node("cordoned", cordoned=True)])
    assert wanted_replicas(params(one_per_node=True), found) == 3
    assert wanted_replicas(params(one_per_node=True), observed(nodes=[])) == 1


@pytest.mark.parametrize("number", [0, -1])
def test_less_than_one_router_is_refused(number: int) -> None:
    with pytest.raises(Invalid, match=f"replicas is {number}") as caught:
        plan(observed(), replicas=number)
    assert caught.value.subject == "replicas"


@pytest.mark.parametrize("wrong", ["2", True, 2.5, None])
def test_a_number_of_the_wrong_type_is_noticed(wrong: Any) -> None:
    """A real server refuses these; what a custom resource or a file holds may be anything."""
    workload = router(2)
    workload["spec"]["replicas"] = wrong
    assert numbers(observed(workload), replicas=2) == {"Deployment spec.replicas": 2}


def test_two_point_zero_is_two() -> None:
    workload = router(2)
    workload["spec"]["replicas"] = 2.0
    assert numbers(observed(workload), replicas=2) == {}


# --- an autoscaler owns the number


@pytest.mark.parametrize(
    ("lowest", "there", "wishes", "planned"),
    [
        (1, 1, {}, 2),
        (None, 1, {}, 2),
        (0, 1, {}, 2),
        (2, 1, {}, None),
        (3, 3, {}, None),
        # The load of the moment is no wish: the lower bound does not grow with it.
        (1, 6, {}, 2),
        (2, 9, {}, None),
        (1, 6, {"replicas": 4}, 4),
        (5, 6, {"replicas": 4}, None),
        (1, 1, {"one_per_node": True}, 3),
    ],
)
def test_an_autoscaler_keeps_the_number_and_gets_a_lower_bound(lowest: int | None, there: int, wishes: dict[str, Any], planned: int | None) -> None:
    found = observed(router(there), nodes=THREE, autoscaler=autoscaler(lowest))
    assert numbers(found, **wishes) == ({} if planned is None else {"HorizontalPodAutoscaler spec.minReplicas": planned})


def test_an_autoscaler_that_cannot_go_so_far_is_not_overruled() -> None:
    with pytest.raises(Refused, match="allows 3 at most; 4 are wanted") as caught:
        plan(observed(autoscaler=autoscaler(1, highest=3)), replicas=4)
    assert "maxReplicas" in caught.value.hint


# --- never a pod that cannot run


@pytest.mark.parametrize(
    ("workload", "wishes", "because"),
    [
        (router(host_ports=HOST_PORTS), {"replicas": 3}, "host ports 80, 443"),
        (router(3, host_ports=HOST_PORTS), {}, "host ports"),
        (router(host_ports=(9090,)), {"replicas": 3, "spread": "none"}, "host ports 9090"),
        (router(), {"replicas": 3, "spread": "hard"}, "a node of its own"),
        (router(affinity=hard(term())), {"replicas": 3}, "a node of its own"),
        (router(affinity=hard(term())), {"replicas": 3, "spread": "none"}, "a node of its own"),
    ],
)
def test_more_routers_than_nodes_are_refused(workload: Any, wishes: dict[str, Any], because: str) -> None:
    with pytest.raises(Refused, match=because) as caught:
        plan(observed(workload), **wishes)
    assert "at most 2 routers" in caught.value.hint


@pytest.mark.parametrize(
    ("workload", "wishes"),
    [
        (router(host_ports=HOST_PORTS), {"replicas": 2}),
        (router(host_ports=HOST_PORTS), {"one_per_node": True}),
        (router(), {"replicas": 3}),
        (router(), {"replicas": 9, "spread": "none"}),
        (router(affinity=hard(term(selector={"matchLabels": {"app": "x"}}))), {"replicas": 3}),
        (router(affinity=soft(term())), {"replicas": 3}),
    ],
)
def test_as_many_as_there_is_room_for_are_not(workload: Any, wishes: dict[str, Any]) -> None:
    assert plan(observed(workload), **wishes)


def test_a_node_whose_port_is_taken_has_no_room() -> None:
    stranger = pod("stranger", "two", host_ports=(443,))
    with pytest.raises(Refused, match="1 nodes can carry one"):
        plan(observed(router(host_ports=HOST_PORTS), other_pods=[stranger]))


# --- rollouts that can end


def strategy(surge: Any, away: Any) -> dict[str, Any]:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": away}}


@pytest.mark.parametrize(
    ("surge", "away", "planned"),
    [
        (1, 0, {UNAVAILABLE: 1, SURGE: 0}),
        ("25%", "25%", {UNAVAILABLE: 1, SURGE: 0}),
        ("100%", 1, {SURGE: 0}),
        (0, 1, {}),
        # Equivalent: they come out as one router away and none on top.
        ("0%", 1, {}),
        (0, "50%", {}),
        (0, "25%", {}),
        # All of them away at once is no way to roll out.
        (0, 2, {UNAVAILABLE: 1}),
        (0, "100%", {UNAVAILABLE: 1}),
    ],
)
@pytest.mark.parametrize(
    ("workload", "spread"), [({"host_ports": HOST_PORTS}, "none"), ({"affinity": hard(term())}, "none"), ({"affinity": hard(term())}, "hard")]
)
def test_where_every_node_is_taken_routers_are_replaced_one_by_one(workload: Any, spread: str, surge: Any, away: Any, planned: dict[str, int]) -> None:
    found = observed(router(2, strategy=strategy(surge, away), **workload))
    assert numbers(found, spread=spread) == {f"Deployment {field}": value for field, value in planned.items()}


def test_with_a_free_node_the_strategy_stays() -> None:
    assert numbers(observed(router(2, host_ports=HOST_PORTS), nodes=THREE)) == {}
    assert numbers(observed(router(2))) == {}


def test_recreate_stays() -> None:
    assert numbers(observed(router(2, host_ports=HOST_PORTS, strategy={"type": "Recreate"}))) == {}


def test_without_a_strategy_the_servers_default_is_taken() -> None:
    workload = router(2, host_ports=HOST_PORTS)
    del workload["spec"]["strategy"]
    assert numbers(observed(workload)) == {f"Deployment {UNAVAILABLE}": 1, f"Deployment {SURGE}": 0}


# --- spread


@pytest.mark.parametrize(("spread", "field"), [("soft", SOFT), ("hard", HARD)])
def test_spread_is_wanted_in_its_field_only(spread: str, field: str) -> None:
    planned = fields(plan(observed(router(2)), spread=spread, disruption_budget=False))
    assert [name for name in planned if "Affinity" in name] == [f"Deployment {AFFINITY}{field}"]


def test_an_existing_hard_rule_is_not_softened() -> None:
    workload = router(2, affinity=hard(term(), term(ZONE)), strategy=strategy(0, 1))
    assert not plan(observed(workload), spread="soft", disruption_budget=False)


# --- moves


def test_a_crowded_node_gives_one_pod_away() -> None:
    found = observed(router(2, affinity=SPREAD), pods=[pod("a", "one"), pod("b", "one")])
    planned = plan(found, disruption_budget=False)
    assert [(str(change.ref), change.field) for change in planned.changes] == [("Pod deis/b", "(object)")]
    assert fields(planned)["Pod (object)"] is not None
    assert planned.versions[planned.changes[0].ref] == "7"
    assert "shares node one" in planned.changes[0].why


def test_no_pod_moves_when_placement_is_left_alone_or_routers_are_missing() -> None:
    crowd = [pod("a", "one"), pod("b", "one")]
    assert not plan(observed(router(2), pods=crowd), spread="none", disruption_budget=False)
    scaling = plan(observed(router(2, affinity=SPREAD), pods=crowd, nodes=THREE), replicas=3, disruption_budget=False)
    assert list(fields(scaling)) == ["Deployment spec.replicas"]


# --- whatever does not concern it


def test_equivalents_are_not_flagged() -> None:
    workload = router(2, affinity=SPREAD)
    workload["metadata"]["annotations"] = {"note": "x"}
    workload["spec"]["template"]["spec"]["containers"].insert(0, {"name": "istio-proxy", "image": "p:1"})
    workload["spec"]["template"]["metadata"]["labels"]["version"] = "2"
    workload["spec"]["revisionHistoryLimit"] = 3
    found = observed(workload, pods=[pod("a", "one"), pod("b", "two")], budgets=[budget("somebody-elses", minAvailable=1)])
    assert not plan(found)


@pytest.mark.parametrize(("platform", "path"), [("deis", None), ("hephy", None), ("drycc-1.8", None), ("drycc-head", None)])
def test_no_chart_has_a_key_for_the_number(platform: str, path: str | None) -> None:
    wanted = CONTROL.wanted(PLATFORMS[platform], params(), observed())
    assert {entry.values_path for entry in wanted} == {path}


def test_in_words() -> None:
    found = observed(router(2), pods=[pod("a", "one"), pod("b", "one", usable=False)], budgets=[budget(), budget("x", selector=False)])
    subject, expected, seen = CONTROL.describe(PLATFORMS["hephy"], params(), found)
    assert subject == "Deployment deis/deis-router"
    assert expected == "routers: 2, spread soft, disruption budget"
    assert seen == "routers: 2, ready: 1 on 1 nodes, disruption budgets: 1"
