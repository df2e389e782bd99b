"""Patches out of planned changes. That the API server understands them so is proved in tests/integration."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.patches import json_merge_patch, merge_key, refuse_masked, strategic_patch
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Item, Path, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import Masked

REF = Ref("apps/v1", "Deployment", "d", "x")
POD: Path = ("spec", "template", "spec")
CONTAINER: Path = (*POD, "containers", Item("name", "c"))


def change(path: Path, before: Any, after: Any) -> Change:
    return Change(REF, path, before, after, "because")


def patch(*changes: Change) -> dict[str, Any]:
    return strategic_patch("Deployment", changes)


def test_fields_share_one_patch() -> None:
    made = patch(
        change(("spec", "replicas"), 1, 2),
        change((*CONTAINER, "env", Item("name", "A"), "value"), "1", "2"),
        change((*CONTAINER, "env", Item("name", "B")), ABSENT, {"name": "B", "value": "x"}),
        change((*CONTAINER, "image"), "a", "b"),
    )
    env = [{"name": "A", "value": "2"}, {"name": "B", "value": "x"}]
    assert made == {"spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "env": env, "image": "b"}]}}}}


def test_removing() -> None:
    assert patch(change(("metadata", "annotations", "a/b"), "1", ABSENT)) == {"metadata": {"annotations": {"a/b": None}}}
    made = patch(change((*CONTAINER, "env", Item("name", "A")), {"name": "A"}, ABSENT))
    assert made["spec"]["template"]["spec"]["containers"][0]["env"] == [{"$patch": "delete", "name": "A"}]


def test_a_map_loses_what_only_the_old_one_had() -> None:
    made = patch(change((*POD, "nodeSelector"), {"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "4", "d": "5"}))
    assert made == {"spec": {"template": {"spec": {"nodeSelector": {"a": None, "c": "4", "d": "5"}}}}}


def test_a_list_item_loses_what_only_the_old_one_had() -> None:
    made = patch(change((*CONTAINER, "env", Item("name", "A")), {"name": "A", "value": "1"}, {"name": "A", "valueFrom": {"x": "y"}}))
    assert made["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": None, "valueFrom": {"x": "y"}}]


def test_lists_as_a_whole() -> None:
    merged = patch(change((*CONTAINER, "env"), [{"name": "A"}], [{"name": "B"}]))
    assert merged["spec"]["template"]["spec"]["containers"][0]["env"] == [{"$patch": "replace"}, {"name": "B"}]
    new = patch(change((*CONTAINER, "env"), ABSENT, [{"name": "B"}]))
    assert new["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "B"}]
    atomic = patch(change((*POD, "tolerations"), [{"key": "a"}], [{"key": "b"}]))
    assert atomic["spec"]["template"]["spec"]["tolerations"] == [{"key": "b"}]


def test_finalizers_are_named_to_go() -> None:
    made = patch(change(("metadata", "finalizers"), ["a", "b"], ["b"]))
    assert made == {"metadata": {"finalizers": ["b"], "$deleteFromPrimitiveList/finalizers": ["a"]}}


@pytest.mark.parametrize(
    ("kind", "path", "key"),
    [
        ("Deployment", CONTAINER[:-1], "name"),
        ("Pod", ("spec", "containers"), "name"),
        ("Deployment", ("spec", "containers"), None),
        ("CronJob", ("spec", "jobTemplate", "spec", "template", "spec", "volumes"), "name"),
        ("Deployment", (*CONTAINER, "ports"), "containerPort"),
        ("Deployment", (*CONTAINER, "volumeMounts"), "mountPath"),
        ("Deployment", (*CONTAINER, "args"), None),
        ("Deployment", (*CONTAINER, "envFrom"), None),
        ("Deployment", (*POD, "tolerations"), None),
        ("Deployment", (*POD, "topologySpreadConstraints"), "topologyKey"),
        ("Service", ("spec", "ports"), "port"),
        ("ServiceAccount", ("secrets",), "name"),
        ("ServiceAccount", ("imagePullSecrets",), None),
        ("Ingress", ("spec", "rules"), None),
        ("Pod", ("metadata", "ownerReferences"), "uid"),
        ("Deployment", CONTAINER, None),
        ("Deployment", (), None),
    ],
)
def test_merge_keys(kind: str, path: Path, key: str | None) -> None:
    assert merge_key(kind, path) == key


@pytest.mark.parametrize(
    "path",
    [
        (*POD, "tolerations", Item("key", "a")),
        (*CONTAINER, "ports", Item("name", "http"), "containerPort"),
        ("spec", "ports", Item("port", 80)),
    ],
)
def test_an_item_that_the_server_would_not_find_is_refused(path: Path) -> None:
    with pytest.raises(Invalid, match="can be written"):
        patch(change(path, ABSENT, {"x": 1}))


@pytest.mark.parametrize(
    "changes",
    [
        (change(("spec", "replicas"), 1, 2), change(("spec", "replicas"), 1, 3)),
        (change((*POD, "nodeSelector"), {}, {"a": "1"}), change((*POD, "nodeSelector", "a"), ABSENT, "2")),
        (change((*CONTAINER, "env", Item("name", "A")), {}, ABSENT), change((*CONTAINER, "env", Item("name", "A"), "value"), "1", "2")),
        (change((*POD, "containers"), [], [{"name": "z"}]), change((*CONTAINER, "image"), "1", "2")),
    ],
)
def test_overlapping_changes_are_refused(changes: tuple[Change, ...]) -> None:
    with pytest.raises(Invalid, match="overlap"):
        patch(*changes)


def test_custom_resources_have_no_items() -> None:
    assert json_merge_patch([change(("spec", "a"), {"x": 1, "y": 2}, {"y": 2}), change(("spec", "b"), 1, ABSENT)]) == {"spec": {"a": {"x": None}, "b": None}}
    with pytest.raises(Invalid, match="only as a whole"):
        json_merge_patch([change(("spec", "listeners", Item("name", "http"), "port"), 80, 81)])


@pytest.mark.parametrize("body", [Masked(), {"a": {"b": [1, {"c": Masked()}]}}, [Masked()], {"a": (Masked(),)}])
def test_a_hidden_value_is_never_sent(body: Any) -> None:
    with pytest.raises(Invalid, match="hidden value"):
        refuse_masked(body)


def test_plain_values_are_sent() -> None:
    refuse_masked({"a": {"b": [1, "(hidden)", None, {"c": True}]}})
