"""Paths, looks, changes and plans: what is shown to people, and what counts as a difference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Item, Path, Plan, Ref, look, path_text, ref_of, same

WEB = Ref("apps/v1", "Deployment", "web", "shop")
CONTAINER: Path = ("spec", "template", "spec", "containers", Item("name", "web"))

DOCUMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "7", "annotations": {"example.org/owner": "me"}},
    "spec": {
        "replicas": None,
        "template": {
            "spec": {"containers": [{"name": "proxy", "image": "p"}, {"name": "web", "image": "w", "env": [{"name": "MODE", "value": "open"}, "odd"]}]}
        },
    },
}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("spec",), "spec"),
        (("spec", "replicas"), "spec.replicas"),
        ((*CONTAINER, "env", Item("name", "MODE"), "value"), "spec.template.spec.containers[web].env[MODE].value"),
        (("metadata", "annotations", "example.org/owner"), 'metadata.annotations["example.org/owner"]'),
        (("data", "a.b"), 'data["a.b"]'),
        (("ports", Item("port", 80)), "ports[80]"),
    ],
)
def test_a_path_reads_like_text(path: Path, text: str) -> None:
    assert path_text(path) == text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), DOCUMENT),
        (("metadata", "name"), "web"),
        ((*CONTAINER, "image"), "w"),
        ((*CONTAINER, "env", Item("name", "MODE"), "value"), "open"),
        # What is null is there; what is not there is not null.
        (("spec", "replicas"), None),
        (("spec", "paused"), ABSENT),
        ((*CONTAINER, "env", Item("name", "OTHER")), ABSENT),
        # A look into something of another form finds nothing instead of failing.
        (("metadata", "name", "deeper"), ABSENT),
        (("metadata", Item("name", "web")), ABSENT),
        ((*CONTAINER, "image", Item("name", "w")), ABSENT),
        (("spec", "replicas", "deeper"), ABSENT),
    ],
)
def test_look_finds_by_merge_key(path: Path, value: Any) -> None:
    assert look(DOCUMENT, path) is value or look(DOCUMENT, path) == value


@pytest.mark.parametrize("value", [1, 1.0, "1", None, True, [], {}, [1, {"a": [True]}], {"a": 1}])
def test_a_value_is_the_same_as_itself(value: Any) -> None:
    assert same(value, value)


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        (1, 1.0, True),
        ([1, 2], (1, 2), True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        (True, 1, False),
        (0, False, False),
        ([True], [1], False),
        ({"a": {"b": 0}}, {"a": {"b": False}}, False),
        ("1", 1, False),
        (None, False, False),
        (None, "", False),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ({"a": None}, {}, False),
    ],
)
def test_types_count_where_an_api_tells_them_apart(one: Any, other: Any, answer: bool) -> None:
    assert same(one, other) is answer
    assert same(other, one) is answer


def test_absent_is_itself_and_false() -> None:
    assert not ABSENT
    assert repr(ABSENT) == "(absent)"
    assert ABSENT is not None


def test_an_object_has_an_address() -> None:
    assert ref_of(DOCUMENT) == WEB
    assert str(WEB) == "Deployment shop/web"
    assert str(ref_of({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})) == "Node n1"


def test_a_change_shows_what_was_and_what_will_be() -> None:
    change = Change(WEB, ("spec", "replicas"), 1, 2, "two are better")
    assert change.as_data() == {"object": "Deployment shop/web", "field": "spec.replicas", "before": 1, "after": 2, "why": "two are better"}
    assert change.diff_line("before") == "spec.replicas: 1\n"
    assert change.diff_line("after") == "spec.replicas: 2\n"


def test_an_absent_field_has_no_line_in_the_diff_and_is_null_in_the_result() -> None:
    change = Change(WEB, ("spec", "paused"), ABSENT, True, "")
    assert change.as_data()["before"] is None
    assert change.diff_line("before") == ""
    assert change.diff_line("after") == "spec.paused: True\n"


def test_a_whole_object_is_called_so() -> None:
    assert Change(WEB, (), ABSENT, DOCUMENT, "").field == "(object)"


def test_a_changed_secret_is_seen_as_changed_but_not_seen() -> None:
    ref = Ref("v1", "Secret", "creds", "shop")
    plan = Plan((Change(ref, ("data", "password"), "b2xk", "bmV3", "rotated"),))
    (entry,) = plan.as_diff()
    assert entry["before"] != entry["after"]
    assert "b2xk" not in str(entry)
    assert "bmV3" not in str(entry)
    assert plan.as_data()[0]["after"] == "(hidden)"


def changes() -> tuple[Change, ...]:
    other = Ref("v1", "Service", "web", "shop")
    return (
        Change(WEB, ("spec", "replicas"), 1, 2, ""),
        Change(other, ("spec", "type"), "LoadBalancer", "ClusterIP", ""),
        Change(WEB, ("spec", "paused"), True, ABSENT, ""),
    )


def test_each_object_is_one_piece_with_its_own_version() -> None:
    first, service, last = changes()
    plan = Plan((first, service, last), {WEB: "7", service.ref: "3"})
    assert list(plan.pieces()) == [Plan((first, last), {WEB: "7"}), Plan((service,), {service.ref: "3"})]
    assert [ref for ref, _changes in plan.by_object()] == [WEB, service.ref]


def test_a_piece_without_a_version_has_none() -> None:
    assert list(Plan(changes()[:1]).pieces()) == [Plan(changes()[:1], {})]


def test_plans_add_up_and_the_newer_version_counts() -> None:
    first, service, _last = changes()
    joined = Plan((first,), {WEB: "7"}) + Plan((service,), {WEB: "8"})
    assert joined == Plan((first, service), {WEB: "8"})
    assert sum([Plan(), joined], Plan()) == joined


def test_an_empty_plan_is_false() -> None:
    assert not Plan()
    assert Plan(changes())
    assert Plan().as_diff() == []


def test_the_diff_has_one_entry_for_each_object_and_one_line_for_each_field() -> None:
    web, service = Plan(changes()).as_diff()
    assert web == {
        "before_header": "Deployment shop/web",
        "after_header": "Deployment shop/web",
        "before": "spec.replicas: 1\nspec.paused: True\n",
        "after": "spec.replicas: 2\n",
    }
    assert service["before"] == "spec.type: LoadBalancer\n"


def test_a_whole_object_is_shown_as_it_was_written_not_as_the_server_keeps_it() -> None:
    kept = {**DOCUMENT["metadata"], "uid": "u-1", "generation": 4, "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"manager": "m"}]}
    change = Change(WEB, (), {**DOCUMENT, "metadata": kept, "status": {"replicas": 1}}, ABSENT, "")
    shown = json.loads(change.as_data()["before"])
    assert shown["metadata"] == {"name": "web", "namespace": "shop", "annotations": {"example.org/owner": "me"}}
    assert "status" not in shown
    assert "u-1" not in change.diff_line("before")


def test_work_in_stages_writes_an_object_once_a_stage_and_only_first_under_the_version_that_was_seen() -> None:
    stop = Change(WEB, ("spec", "replicas"), 2, 0, "stands still", "freeze")
    note = Change(WEB, ("metadata", "annotations", "note"), ABSENT, "2", "remembers", "freeze")
    mode = Change(WEB, ("spec", "mode"), "a", "b", "switches", "switch")
    go = Change(WEB, ("spec", "replicas"), 0, 2, "goes on", "thaw")
    plan = Plan((stop, note, mode, go), {WEB: "7"})
    pieces = list(plan.pieces())
    assert [piece.changes for piece in pieces] == [(stop, note), (mode,), (go,)]
    assert [dict(piece.versions) for piece in pieces] == [{WEB: "7"}, {}, {}]
    assert [entry["stage"] for entry in plan.as_data()] == ["freeze", "freeze", "switch", "thaw"]
    assert [entry["before_header"] for entry in plan.as_diff()] == [f"{WEB} (freeze)", f"{WEB} (switch)", f"{WEB} (thaw)"]
    assert "stage" not in Change(WEB, ("spec", "replicas"), 2, 0, "").as_data()


def test_a_change_taken_back_puts_back_what_was_there() -> None:
    change = Change(WEB, ("metadata", "annotations", "note"), ABSENT, "2", "remembers", "freeze")
    assert change.undone() == Change(WEB, ("metadata", "annotations", "note"), "2", ABSENT, "remembers", "freeze")
