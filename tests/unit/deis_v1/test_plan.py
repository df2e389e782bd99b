"""What is planned, refused and told from one observation, without any etcd; a real one is in tests/deis_v1."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings_plan import (
    ALL_AREAS,
    Door,
    Machine,
    Observed,
    Planner,
    after,
    backup_name,
    backup_text,
    effective,
    machines_of,
    release_of,
    source_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.keys import Node, Tree
from ansible_collections.paas.hardening.plugins.module_utils._platforms.deis_v1 import BY_OPTION, PLANE_METADATA
from tests.unit.deis_v1.test_wish import wish

OPEN = Door(False, True, "2.2.0", 3)


def tree(**values: str) -> Tree:
    """Keys, with dots for the slashes of their paths."""
    return Tree({f"/deis/{path.replace('__', '/')}": Node(value, 7, False) for path, value in values.items()}, frozenset({"/deis"}), 9)


def planner(found: Tree, machines: tuple[Machine, ...] = (), administrators: int | None = None, door: Door = OPEN, **given: Any) -> Planner:
    return Planner(wish(**given), Observed(found, door, machines, administrators, "", frozenset()))


def refused(found: Tree, **given: Any) -> list[str]:
    planned = planner(found, **given)
    planned.plan()
    return [refusal.subject for _area, refusal in planned.refusals]


@pytest.mark.parametrize(
    ("option", "keys", "value"),
    [
        ("registration_mode", {}, "enabled"),
        ("registration_mode", {"controller__registrationMode": ""}, "enabled"),
        ("enforce_https", {}, "false"),
        ("enforce_https", {"router__hsts__enabled": "true"}, "true"),
        ("enforce_https", {"router__hsts__enabled": "true", "router__enforceHTTPS": "false"}, "false"),
        ("tls_protocols", {"router__sslProtocols": "TLSv1.2"}, "TLSv1.2"),
    ],
)
def test_the_value_by_which_the_code_goes(option: str, keys: dict[str, str], value: str) -> None:
    assert effective(BY_OPTION[option], tree(**keys)) == value


def test_only_what_differs_is_planned_and_what_lets_in_comes_first() -> None:
    keys = tree(router__bodySize="5m", controller__registrationMode="enabled")
    planned = planner(keys, body_size="5m", registration_mode="disabled", administrators=1, default_timeout=1400, absent=["logs_drain", "web_enabled"])
    assert [(change.ref.name, change.before is keys, change.after) for change in planned.plan().changes] == [
        ("/deis/router/defaultTimeout", False, "1400"),
        ("/deis/controller/registrationMode", False, "disabled"),
    ]


def test_secrets_and_unknown_keys_are_shown_nowhere() -> None:
    keys = tree(registry__s3bucket="first", router__sslKey="one")
    planned = planner(keys, keys={"registry/s3bucket": "second", "database/password": "third"}, absent=["tls_certificate", "tls_key"]).plan()
    told = json.dumps([planned.as_data(), planned.as_diff()])
    assert [word for word in ("first", "second", "third", "one\\n") if word in told] == []
    assert {change["object"] for change in planned.as_data()} == {
        "Secret /deis/registry/s3bucket",
        "Secret /deis/database/password",
        "Secret /deis/router/sslKey",
    }


def test_one_administrator_is_enough_and_none_is_not() -> None:
    assert refused(tree(), registration_mode="admin_only") == ["administrator_exists"]
    assert refused(tree(), registration_mode="admin_only", administrators=1) == []
    assert refused(tree(), registration_mode="admin_only", administrator_exists=True) == []
    assert refused(tree(controller__registrationMode="disabled"), registration_mode="admin_only") == []


def test_each_plane_needs_a_machine() -> None:
    two = tuple(Machine(name, frozenset({name}), "0.11.7") for name in PLANE_METADATA[:2])
    assert refused(tree(), placement_options=True, machines=two) == ["placement_options"]
    assert refused(tree(), placement_options=True, machines=(Machine("all", frozenset(PLANE_METADATA), ""),)) == []


def test_what_is_refused_is_not_planned_and_the_rest_is() -> None:
    planned = planner(tree(), registration_mode="disabled", body_size="5m").plan()
    assert [change.ref.name for change in planned.changes] == ["/deis/router/bodySize"]


@pytest.mark.parametrize(("told", "release"), [("v1.13.4", (1, 13, 4)), ("1.9", (1, 9, 0)), ("git-1d9e59f", ()), ("", ())])
def test_releases(told: str, release: tuple[int, ...]) -> None:
    assert release_of(tree(platform__version=told)) == release


def test_the_same_keys_are_in_one_file() -> None:
    keys = tree(b="1", a="é\n")
    again = Tree(dict(reversed(list(keys.nodes.items()))) | {"/deis/host": Node("x", 9, True)}, frozenset(), 12)
    assert backup_text(keys) == backup_text(again)
    assert backup_name(backup_text(keys)) != backup_name(backup_text(after(keys, {"/deis/a": None})))
    assert json.loads(backup_text(after(keys, {"/deis/a": "2"})))["keys"] == {"/deis/a": "2", "/deis/b": "1"}


def test_machines_are_read_and_what_is_none_is_not() -> None:
    start = "/_coreos.com/fleet/machines"
    values = {
        f"{start}/one/object": '{"Metadata": {"controlPlane": "true", "dataPlane": "false"}, "Version": "0.11.7"}',
        f"{start}/two/object": '{"Metadata": null}',
        f"{start}/three/object": "not JSON",
        f"{start}/four/object": '["a list"]',
        f"{start}/one/other": "{}",
    }
    found = list(machines_of(Tree({key: Node(value, 1, True) for key, value in values.items()}, frozenset(), 1)))
    assert found == [Machine("one", frozenset({"controlPlane"}), "0.11.7"), Machine("two", frozenset(), "")]
    assert list(machines_of(None)) == []


def test_every_area_has_a_source() -> None:
    assert [area.control for area in ALL_AREAS if not source_of(area).sentence] == []


def test_more_members_than_needed_are_told() -> None:
    planned = planner(tree(), door=Door(True, False, "2.2.0", 7))
    planned.plan()
    assert [remark.text for remark in planned.remarks if remark.area.control == "v1-etcd"] == ["etcd has 7 members: each write waits for most of them."]
