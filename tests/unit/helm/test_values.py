"""Chart values: what the user gives, what the chart has, and the overlay that we write."""

from __future__ import annotations

import copy

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.values import coalesce, merge_overlays, overlay, value_at
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT


def test_coalesce() -> None:
    chart = {"a": {"x": 1, "y": {"z": 1}}, "list": [1, 2], "gone": 1, "kept": None, "map": {"a": 1}, "plain": 1}
    user = {"a": {"y": {"w": 2}}, "list": [3], "gone": None, "kept": None, "new": None, "map": 5, "plain": {"b": 1}}
    before = copy.deepcopy((chart, user))
    assert coalesce(chart, user) == {
        "a": {"x": 1, "y": {"z": 1, "w": 2}}, "list": [3], "kept": None, "new": None, "map": 5, "plain": {"b": 1},
    }  # fmt: skip
    assert (chart, user) == before


def test_result_is_of_its_own() -> None:
    chart = {"a": {"b": [1]}}
    coalesce(chart, {})["a"]["b"].append(2)
    assert chart == {"a": {"b": [1]}}


def test_globals_go_down_and_the_parent_wins() -> None:
    chart = {
        "global": {"zone": "a", "map": {"x": 1}, "scalar": 1},
        "sub": {"global": {"zone": "b", "own": 1, "map": {"x": 2, "y": 3}, "scalar": {"a": 1}}, "deep": {}},
    }
    effective = coalesce(chart, {"global": {"zone": "c"}}, {"sub": {"deep": {}}, "other": {}})
    down = {"zone": "c", "own": 1, "map": {"x": 1, "y": 3}, "scalar": {"a": 1}}
    assert effective["sub"]["global"] == down
    assert effective["sub"]["deep"]["global"] == down
    assert effective["other"] == {"global": {"zone": "c", "map": {"x": 1}, "scalar": 1}}
    assert effective["global"] == {"zone": "c", "map": {"x": 1}, "scalar": 1}
    assert coalesce({"global": "odd", "sub": 1}, {}, {"sub": {}}) == {"global": "odd", "sub": 1}


def test_value_at() -> None:
    values = {"controller": {"registration_mode": "admin_only", "none": None}, "a.b": {"c": 1}, "list": [1]}
    assert value_at(values, "controller.registration_mode") == "admin_only"
    assert value_at(values, r"a\.b.c") == 1
    assert value_at(values, "controller.none") is None
    for path in ("a.b.c", "controller.other", "controller.registration_mode.x", "list.0", "nothing"):
        assert value_at(values, path) is ABSENT
    for path in ("", "a..b", ".a", "a."):
        with pytest.raises(Invalid):
            value_at(values, path)


def test_overlay() -> None:
    entries = {"controller.registration_mode": "admin_only", "controller.env": {"A": "1"}, r"nginx.ssl\.enforce": "true", "n": 2}
    document = overlay(entries)
    assert document == {"controller": {"registration_mode": "admin_only", "env": {"A": "1"}}, "nginx": {"ssl.enforce": "true"}, "n": 2}
    assert all(value_at(document, path) == value for path, value in entries.items())
    assert overlay({}) == {}
    for clash in ({"a": 1, "a.b": 2}, {"a.b": 1, "a.b.c": 2}, {"a": {"b": 1}, "a.b": 2}, {"a": {}, "a.b": 2}):
        with pytest.raises(Invalid):
            overlay(clash)


def test_merge_overlays() -> None:
    one, two = {"a": {"x": 1, "y": [1]}, "b": 1}, {"a": {"y": [2], "z": {"q": 1}}, "b": {"c": 1}}
    assert merge_overlays(one, two) == {"a": {"x": 1, "y": [2], "z": {"q": 1}}, "b": {"c": 1}}
    assert one == {"a": {"x": 1, "y": [1]}, "b": 1}
    assert merge_overlays() == {}
