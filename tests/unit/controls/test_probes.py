"""Looks from outside that get no answer: unknown where nothing can be known, failed where something is missing, and never a pass.

A server on loopback lists pods and refuses every way into them. What real pods answer is asked on a real cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._controls import registration, router_scale
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS, detect
from tests.unit.cluster.scripted_server import Reply, Request, ScriptedServer, status
from tests.unit.controls.passports import holder, workload
from tests.unit.controls.routers import node, observed, params, pod, router


class Closed(ScriptedServer):
    """Lists the pods that it holds, gives the workloads that it holds, and lets nobody into a pod."""

    def __init__(self) -> None:
        super().__init__(self.serve)
        self.pods: list[dict[str, Any]] = []
        self.workloads: dict[str, dict[str, Any]] = {}

    def serve(self, request: Request) -> Reply:
        if request.path.endswith("/pods"):
            return Reply(body={"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self.pods})
        name = request.path.rpartition("/")[2]
        if name in self.workloads:
            return Reply(body=self.workloads[name])
        if "/pods/" in request.path:
            return status(403, "Forbidden", 'pods is forbidden: User "me" cannot create resource "pods/portforward" in API group ""', kind="pods")
        return status(404, "NotFound", "not found", name=name, kind="deployments", group="apps")

    def site(self, platform: str) -> Site:
        connection = self.connect()
        objects = Objects(connection)
        return Site(connection, objects, detect(objects, platform, "paas"))


@pytest.fixture
def server() -> Iterator[Closed]:
    with Closed() as running:
        yield running


def knock(server: Closed, platform: str, mode: str, env: dict[str, str | None]) -> tuple[str, tuple[Check, ...]]:
    found = holder(platform, env)
    found["spec"]["selector"] = {"matchLabels": {"app": "x"}}
    proof = registration.CONTROL.probe(server.site(platform), {"mode": mode}, registration.Observed(found, (), None))
    return proof.verdict, proof.checks


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_a_door_without_a_ready_pod_is_unknown(server: Closed, platform: str) -> None:
    server.pods = [pod("a", "one", usable=False), pod("b", "two", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})]
    assert knock(server, platform, "admin_only", {}) == (UNKNOWN, ())


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_a_door_that_cannot_be_reached_is_unknown_on_every_pod(server: Closed, platform: str) -> None:
    server.pods = [pod("b", "two"), pod("a", "one")]
    verdict, checks = knock(server, platform, "disabled", {})
    assert verdict == UNKNOWN
    assert [(check.verdict, check.expected) for check in checks] == [(UNKNOWN, "closed")] * 2
    assert [check.what.rpartition(" ")[2] for check in checks] == ["a", "b"]
    assert all(check.observed.startswith("no answer (") for check in checks)


@pytest.mark.parametrize(
    ("platform", "mode", "env", "expected"),
    [
        ("drycc-head", "enabled", {}, "open"),
        ("drycc-head", "enabled", {"LDAP_ENDPOINT": ""}, "open"),
        ("drycc-head", "enabled", {"LDAP_ENDPOINT": "ldap://x"}, "closed"),
        ("drycc-head", "enabled", {"LDAP_ENDPOINT": None}, "closed"),
        ("drycc-head", "admin_only", {"LDAP_ENDPOINT": "ldap://x"}, "closed"),
        ("hephy", "enabled", {"LDAP_ENDPOINT": "ldap://x"}, "open"),
        ("hephy", "admin_only", {}, "closed"),
    ],
)
def test_what_is_expected_of_the_door(server: Closed, platform: str, mode: str, env: dict[str, str | None], expected: str) -> None:
    server.pods = [pod("a", "one")]
    assert {check.expected for check in knock(server, platform, mode, env)[1]} == {expected}


def test_a_crowd_of_pods_is_not_asked_one_by_one(server: Closed) -> None:
    server.pods = [pod(f"p{number}", "one") for number in range(40)]
    assert 0 < len(knock(server, "hephy", "admin_only", {})[1]) < 10


def administrators(server: Closed, platform: str, env: dict[str, str | None]) -> registration.Administrators | None:
    """What the control learns about administrators before it closes registration."""
    found = holder(platform, env)
    found["spec"]["selector"] = {"matchLabels": {"app": "x"}}
    server.workloads[found["metadata"]["name"]] = found
    wishes = {"mode": "admin_only", "require_administrator": True, "durability": False}
    return registration.CONTROL.observe(server.site(platform), wishes).administrators


def database(server: Closed) -> None:
    known = workload(PLATFORMS["hephy"].registration.accounts.workload, [])
    known["spec"]["selector"] = {"matchLabels": {"app": "deis-database"}}
    server.workloads["deis-database"] = known


def test_administrators_are_asked_for_only_when_something_closes(server: Closed) -> None:
    assert administrators(server, "hephy", {"REGISTRATION_MODE": "admin_only"}) is None
    assert administrators(server, "drycc-head", {"REGISTRATION_ENABLED": "False"}) is None
    assert administrators(server, "drycc-head", {}) is None
    assert administrators(server, "hephy", {"REGISTRATION_MODE": "enabled"}) is not None


def test_a_database_elsewhere_leaves_the_number_of_administrators_unknown(server: Closed) -> None:
    found = administrators(server, "hephy", {})
    assert found is not None
    assert (found.active, found.total) == (None, None)
    assert "external database" in found.reason


def test_a_database_without_a_ready_pod_does_too(server: Closed) -> None:
    database(server)
    server.pods = [pod("db", "one", usable=False)]
    found = administrators(server, "hephy", {})
    assert found is not None
    assert (found.active, found.reason) == (None, "no pod of deis-database is ready")


def test_a_database_that_cannot_be_entered_does_too(server: Closed) -> None:
    database(server)
    server.pods = [pod("db", "one")]
    found = administrators(server, "hephy", {})
    assert found is not None
    assert found.active is None
    assert found.reason


def ask(server: Closed, *pods: dict[str, Any], **wishes: Any) -> tuple[str, list[str]]:
    found = observed(router(2), pods=list(pods), nodes=[node("one"), node("two")])
    proof = router_scale.CONTROL.probe(server.site("hephy"), params(**wishes), found)
    return proof.verdict, [check.verdict for check in proof.checks]


def test_routers_that_are_missing_have_failed(server: Closed) -> None:
    assert ask(server) == (FAIL, [FAIL, FAIL])


def test_a_ready_router_that_cannot_be_asked_is_unknown(server: Closed) -> None:
    assert ask(server, pod("a", "one"), pod("b", "two")) == (UNKNOWN, [UNKNOWN, UNKNOWN, PASS])


def test_a_router_that_is_not_ready_and_does_not_answer_has_failed(server: Closed) -> None:
    assert ask(server, pod("a", "one"), pod("b", "two", usable=False)) == (FAIL, [UNKNOWN, FAIL, PASS])


def test_routers_on_too_few_nodes_have_failed(server: Closed) -> None:
    assert ask(server, pod("a", "one"), pod("b", "one")) == (FAIL, [UNKNOWN, UNKNOWN, FAIL])
    assert ask(server, pod("a", "one"), pod("b", "one"), spread="none") == (UNKNOWN, [UNKNOWN, UNKNOWN, PASS])


def test_fewer_routers_than_wanted_have_failed(server: Closed) -> None:
    assert ask(server, pod("a", "one"), pod("b", "two"), replicas=3) == (FAIL, [UNKNOWN, UNKNOWN, FAIL, PASS])


@pytest.mark.parametrize(
    ("control", "wishes", "against"),
    [
        (registration.CONTROL, {"mode": "admin_only"}, False),
        (registration.CONTROL, {"mode": "disabled"}, False),
        (registration.CONTROL, {"mode": "enabled"}, True),
        (router_scale.CONTROL, params(), False),
        (router_scale.CONTROL, params(replicas=2), False),
        (router_scale.CONTROL, params(replicas=1), True),
    ],
)
def test_a_roll_back_is_known_to_go_against_the_recommendation(control: Any, wishes: dict[str, Any], against: bool) -> None:
    assert bool(control.against(wishes)) is against
