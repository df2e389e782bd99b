"""Every bad variable is named with its value and a remedy; good ones and other people's are left in peace."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.variables import variable_problems

SPECS: dict[str, dict[str, Any]] = {
    "router": {
        "router_replicas": {"type": "int"},
        "router_spread": {"type": "str", "choices": ["soft", "hard"], "default": "soft"},
        "router_budget": {"type": "bool", "default": True},
        "router_zones": {"type": "list", "elements": "str"},
        "router_name": {"type": "str", "required": True},
    },
    "gate": {"gate_mode": {"type": "str", "choices": ["audit", "enforce"]}},
}


def problems(**given: Any) -> list[str]:
    return variable_problems({"router_name": "x", **given}, SPECS)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"router_replicas": 1},
        {"router_replicas": "3"},
        {"router_replicas": None},
        {"router_spread": "hard", "router_budget": "no", "router_zones": ["a"], "gate_mode": "audit"},
        {"router_budget": 0},
        {"router_zones": "a,b"},
        # Not ours.
        {"routers": 0, "my_router_replicas": "x", "gates_mode": "x", "router": "x", "Router_x": 1},
    ],
)
def test_good_variables_have_no_problems(given: dict[str, Any]) -> None:
    assert problems(**given) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"router_replicas": 0}, ["router_replicas is 0", "1 or more"]),
        ({"router_replicas": "-3"}, ["router_replicas is -3", "1 or more"]),
        ({"router_replicas": "two"}, ["router_replicas", "two", "int"]),
        ({"router_replicas": 2.5}, ["router_replicas", "2.5", "int"]),
        ({"router_spread": "Soft"}, ["router_spread", "Soft", "soft, hard"]),
        ({"router_spread": ""}, ["router_spread", "soft, hard"]),
        ({"router_spread": ["soft"]}, ["router_spread", "['soft']", "soft, hard"]),
        ({"router_budget": "perhaps"}, ["router_budget", "perhaps", "bool"]),
        ({"router_budget": {"yes": 1}}, ["router_budget", "bool"]),
        ({"gate_mode": "audti"}, ["gate_mode", "audti", "audit, enforce"]),
        ({"router_replica": 3}, ["router_replica: no such variable", "Did you mean router_replicas?"]),
        ({"gate_mdoe": "audit"}, ["gate_mdoe: no such variable", "Did you mean gate_mode?"]),
        (
            {"router_color_of_the_door": 3},
            ["router_color_of_the_door: no such variable", "router_budget, router_name, router_replicas, router_spread, router_zones"],
        ),
        ({"router_": 3}, ["router_: no such variable"]),
    ],
)
def test_each_problem_names_field_value_and_remedy(given: dict[str, Any], words: list[str]) -> None:
    (problem,) = problems(**given)
    assert [word for word in words if word not in problem] == [], problem


def test_a_required_one_that_is_missing_is_named() -> None:
    (problem,) = variable_problems({}, SPECS)
    assert "router_name" in problem


def test_all_problems_are_told_at_once() -> None:
    found = problems(router_replicas="two", router_spread="x", gate_mode="y", router_x=1, gate_x=2)
    assert len(found) == 5


def test_nothing_given_is_changed() -> None:
    given = {"router_name": "x", "router_replicas": "3", "router_zones": "a"}
    before = dict(given)
    variable_problems(given, SPECS)
    assert given == before
