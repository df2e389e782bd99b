"""What controls ask of workloads and pods, and what a wanted field is."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted, plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import container_of, is_leaving, is_ready, selector_text, variable_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT


def condition(kind: str, status: str) -> dict[str, str]:
    return {"type": kind, "status": status}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ({"conditions": [condition("Ready", "True")]}, True),
        ({"conditions": [condition("PodScheduled", "True"), condition("Ready", "True")]}, True),
        ({"conditions": [condition("Ready", "False")]}, False),
        ({"conditions": [condition("Ready", "Unknown")]}, False),
        ({"conditions": [condition("ContainersReady", "True"), condition("Initialized", "True")]}, False),
        ({"conditions": []}, False),
        ({"phase": "Running"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_ready_is_what_the_condition_says(status: Any, answer: bool) -> None:
    assert is_ready({"status": status}) is answer
    assert is_ready({}) is False


@pytest.mark.parametrize(
    ("pod", "answer"),
    [
        ({"metadata": {}, "status": {"phase": "Running"}}, False),
        ({"metadata": {}, "status": {"phase": "Pending"}}, False),
        ({"metadata": {}}, False),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}}, True),
        ({"metadata": {}, "status": {"phase": "Failed", "reason": "Evicted"}}, True),
        ({"metadata": {}, "status": {"phase": "Succeeded"}}, True),
    ],
)
def test_a_pod_that_goes_or_is_over_is_leaving(pod: dict[str, Any], answer: bool) -> None:
    assert is_leaving(pod) is answer


@pytest.mark.parametrize(
    ("env", "value"),
    [
        ([], None),
        (None, None),
        ([{"name": "A", "value": "1"}], "1"),
        ([{"name": "A", "value": ""}], ""),
        ([{"name": "A"}], ""),
        ([{"name": "a", "value": "1"}], None),
        ([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], "2"),
        ([{"name": "A", "valueFrom": {}}], "(from a reference)"),
        ([{"name": "A", "valueFrom": {}}, {"name": "A", "value": "2"}], "2"),
    ],
)
def test_a_variable_is_what_the_process_sees(env: Any, value: str | None) -> None:
    assert variable_of({"name": "c", "env": env}, "A") == value


def test_a_container_is_found_by_name_only() -> None:
    web = {"name": "web", "image": "w"}
    document = {
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n"},
        "spec": {"template": {"spec": {"initContainers": [{"name": "init"}], "containers": [{"name": "webs"}, web]}}},
    }
    assert container_of(document, "web") is web
    for name in ("init", "we", "WEB"):
        with pytest.raises(NotFound, match=f"Deployment n/d has no container named {name}"):
            container_of(document, name)


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, "a in (1, 2)"),
        ({"matchLabels": {"x": "y"}, "matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, "x=y,a notin (1)"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "DoesNotExist"}]}, "a,!b"),
    ],
)
def test_a_selector_becomes_a_query(selector: dict[str, Any], text: str) -> None:
    assert selector_text({"spec": {"selector": selector}}) == text


DOCUMENT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "c", "namespace": "n", "resourceVersion": "5"},
    "data": {"mode": "open", "count": 1, "empty": None},
}
MISSING: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}}


@pytest.mark.parametrize(
    ("key", "value", "holds"),
    [
        ("mode", "open", True),
        ("mode", "closed", False),
        ("mode", ABSENT, False),
        ("other", ABSENT, True),
        ("other", "x", False),
        ("other", None, False),
        ("empty", None, True),
        ("empty", ABSENT, False),
        ("count", 1, True),
        ("count", True, False),
        ("count", "1", False),
    ],
)
def test_a_wanted_field_holds_or_is_planned(key: str, value: Any, holds: bool) -> None:
    wanted = Wanted(DOCUMENT, ("data", key), value, "because")
    assert wanted.holds is holds
    planned = plan_of([wanted])
    assert bool(planned) is not holds
    assert set(planned.versions.values()) == (set() if holds else {"5"})


@pytest.mark.parametrize(
    ("document", "value", "holds"), [(DOCUMENT, ABSENT, False), (DOCUMENT, DOCUMENT, True), (MISSING, ABSENT, True), (MISSING, DOCUMENT, False)]
)
def test_a_whole_object_holds_when_it_is_there_or_is_not(document: dict[str, Any], value: Any, holds: bool) -> None:
    wanted = Wanted(document, (), value, "")
    assert wanted.holds is holds
    change = wanted.as_change()
    assert (change.before is ABSENT) == (document is MISSING)


def test_a_plan_keeps_the_order_and_one_version_for_each_object() -> None:
    other = {**DOCUMENT, "metadata": {"name": "d", "namespace": "n", "resourceVersion": "9"}}
    fields = [Wanted(DOCUMENT, ("data", "mode"), "closed", "1"), Wanted(other, ("data", "mode"), "closed", "2"), Wanted(DOCUMENT, ("data", "count"), 2, "3")]
    planned = plan_of(fields)
    assert [change.why for change in planned.changes] == ["1", "2", "3"]
    assert sorted(planned.versions.values()) == ["5", "9"]
    assert plan_of([]).changes == ()
