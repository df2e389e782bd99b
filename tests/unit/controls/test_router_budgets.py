"""Disruption budgets: ours is made, mended and removed; somebody else's is never touched, but told when it harms or does nothing."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.control import plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.router_scale import CONTROL
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Plan
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests.unit.controls.routers import budget, observed, params, pod, router

TWO = [pod("a", "one"), pod("b", "two")]


def plan(*budgets: Any, wanted: bool = True) -> Plan:
    found = observed(router(2), pods=TWO, budgets=list(budgets))
    return plan_of(CONTROL.wanted(PLATFORMS["hephy"], params(spread="none", disruption_budget=wanted), found))


def fields(planned: Plan) -> dict[str, Any]:
    return {f"{change.ref.name} {change.field}": change.after for change in planned.changes}


def own(**spec: Any) -> Any:
    return budget("deis-router", owned=True, **spec)


def test_made_where_there_is_none() -> None:
    (change,) = plan().changes
    assert (str(change.ref), change.before) == ("PodDisruptionBudget deis/deis-router", ABSENT)
    assert change.after["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "paas.hardening"}
    # What was made is ours, and nothing is left to do.
    made = {**change.after, "metadata": {**change.after["metadata"], "resourceVersion": "1"}}
    assert not plan(made)


@pytest.mark.parametrize(
    ("spec", "planned"),
    [
        ({"maxUnavailable": 1}, {}),
        ({"maxUnavailable": 2}, {"spec.maxUnavailable": 1}),
        ({"maxUnavailable": "50%"}, {"spec.maxUnavailable": 1}),
        ({"maxUnavailable": "1"}, {"spec.maxUnavailable": 1}),
        ({"maxUnavailable": True}, {"spec.maxUnavailable": 1}),
        ({"minAvailable": 1}, {"spec.maxUnavailable": 1, "spec.minAvailable": ABSENT}),
        ({"maxUnavailable": 1, "selector": {"matchLabels": {"app": "x"}}}, {"spec.selector": {"matchLabels": {"app": "deis-router"}}}),
        ({"maxUnavailable": 1, "selector": {}}, {"spec.selector": {"matchLabels": {"app": "deis-router"}}}),
        ({"maxUnavailable": 1, "selector": False}, {"spec.selector": {"matchLabels": {"app": "deis-router"}}}),
    ],
)
def test_ours_is_mended(spec: dict[str, Any], planned: dict[str, Any]) -> None:
    assert fields(plan(own(**spec))) == {f"deis-router {field}": value for field, value in planned.items()}


def test_ours_goes_when_none_is_wanted() -> None:
    assert fields(plan(own(), wanted=False)) == {"deis-router (object)": ABSENT}
    assert fields(plan(own(selector=False), wanted=False)) == {"deis-router (object)": ABSENT}
    assert not plan(wanted=False)


def test_somebody_elses_is_left_alone_and_takes_the_place_of_ours() -> None:
    for other in (budget(), budget(minAvailable=2), budget(selector={}), budget("deis-router"), budget(minAvailable="0%")):
        assert not plan(other)
        assert not plan(other, wanted=False)


def test_two_budgets_would_make_every_eviction_fail() -> None:
    assert fields(plan(own(), budget())) == {"deis-router (object)": ABSENT}
    assert fields(plan(budget(), own())) == {"deis-router (object)": ABSENT}


@pytest.mark.parametrize("selector", [False, {"matchLabels": {"app": "deis-builder"}}])
def test_a_look_alike_over_other_pods_does_not_count(selector: Any) -> None:
    assert list(fields(plan(budget(selector=selector)))) == ["deis-router (object)"]


@pytest.mark.parametrize("selector", [False, {"matchLabels": {"app": "deis-builder"}}])
def test_somebody_elses_of_our_name_over_other_pods_is_in_the_way(selector: Any) -> None:
    with pytest.raises(Refused, match="somebody else's and does not select the routers") as caught:
        plan(budget("deis-router", selector=selector))
    assert "disruption_budget" in caught.value.hint
    # Who wants no budget is not bothered.
    assert not plan(budget("deis-router", selector=selector), wanted=False)


def test_a_label_alone_does_not_make_it_ours() -> None:
    stranger = budget("another", owned=True)
    assert not plan(stranger, wanted=False)


def beside(*budgets: Any, replicas: int = 2) -> dict[str, str]:
    found = observed(router(replicas), pods=TWO, budgets=list(budgets))
    findings = CONTROL.beside(PLATFORMS["hephy"], params(replicas=replicas), found)
    assert all(finding.status == FAIL and finding.hint and finding.subject.startswith("PodDisruptionBudget ") for finding in findings)
    return {finding.control.removeprefix("router-scale-"): finding.subject for finding in findings}


@pytest.mark.parametrize(
    ("other", "finding"),
    [
        (budget(), None),
        (budget(minAvailable=1), None),
        (budget(minAvailable="50%"), None),
        (budget(maxUnavailable="50%"), None),
        # It lets nobody go: a drain of the node never ends.
        (budget(allowed=0, minAvailable=2), "drain-blocked"),
        (budget(allowed=0, maxUnavailable=0), "drain-blocked"),
        # It lets everybody go: it protects nothing.
        (budget(allowed=2, maxUnavailable="100%"), "budget-idle"),
        (budget(allowed=2, maxUnavailable=2), "budget-idle"),
        (budget(allowed=2, minAvailable=0), "budget-idle"),
        (budget(allowed=2, minAvailable="0%"), "budget-idle"),
        (budget(allowed=2, maxUnavailable="51%"), "budget-idle"),
        # Over other pods it may do what it likes.
        (budget(selector=False, allowed=0, minAvailable=2), None),
        (budget(selector={"matchLabels": {"app": "x"}}, maxUnavailable="100%"), None),
    ],
)
def test_a_budget_of_somebody_elses_is_told_when_it_harms(other: Any, finding: str | None) -> None:
    assert list(beside(other)) == ([finding] if finding else [])


def test_several_budgets_collide() -> None:
    assert beside(budget("a"), budget("b")) == {"budgets-collide": "PodDisruptionBudget a, b"}
    assert beside(budget("a"), budget("b", selector=False)) == {}


def test_ours_is_never_told() -> None:
    assert beside(own(allowed=0)) == {}
    assert beside(own(allowed=0), budget("a")) == {}


def test_one_router_alone_cannot_be_protected() -> None:
    assert beside(budget(maxUnavailable=1), replicas=1) == {}
