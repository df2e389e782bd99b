"""Drycc's own traps: LDAP that closes the page whatever the setting says, doors beside it, a Gateway without anybody behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from tests.contract.installed import Installed, install, remove
from tests.integration.attempts import REGISTRATION, ROUTER, attempt, failure, finding, succeeded
from tests.integration.disturbances import in_pods, patch, setting

if TYPE_CHECKING:
    from lab.cluster import Cluster

PASSPORT, CONTROLLER, GATEWAY = "drycc-passport", "drycc-controller", "drycc-gateway"


@pytest.fixture(scope="module")
def installed(lab_cluster: Cluster, report: Callable[[str], None]) -> Iterator[Installed]:
    """Drycc 1.8, beside whatever is in the lab."""
    yield install(lab_cluster, "drycc-1.8", report)
    remove(lab_cluster, "drycc-1.8")


@pytest.fixture
def drycc(installed: Installed) -> Iterator[Installed]:
    """Drycc 1.8 as it was installed; it is so again afterwards."""
    installed.settle()
    yield installed
    installed.restore()


def test_ldap_closes_the_page_whatever_the_setting_says(drycc: Installed) -> None:
    """The answer of the page decides, not the setting, and /settings says "enabled" all the while."""
    patch(drycc, PASSPORT, setting(PASSPORT, "LDAP_ENDPOINT", "ldap://directory.example.test"))
    drycc.settle()
    looked = succeeded(attempt(drycc, REGISTRATION, check=True))
    assert looked["proof"]["verdict"] == "pass", "the page is closed"
    assert finding(looked)["status"] == "would-fix", "and would open when LDAP goes"
    opened = succeeded(attempt(drycc, REGISTRATION, mode="enabled"))
    assert opened["proof"]["verdict"] == "pass", "it stays closed, and that is what can be expected"
    done = succeeded(attempt(drycc, REGISTRATION))
    assert done["findings"][0]["status"] == "fixed"


def test_doors_beside_the_page(drycc: Installed) -> None:
    """Whoever has an account at the provider gets one here: that is told, and it is no success."""
    keys = [{"name": "SOCIAL_AUTH_GITHUB_KEY", "value": "an-application"}, {"name": "SOCIAL_AUTH_GOOGLE_KEY", "value": ""}]
    patch(drycc, PASSPORT, in_pods(name=PASSPORT, env=keys))
    drycc.settle()
    done = succeeded(attempt(drycc, REGISTRATION))
    assert done["findings"][0]["status"] == "fixed"
    door = finding(done, "registration-side-door")
    assert door["status"] == "fail"
    assert door["observed"] == "SOCIAL_AUTH_GITHUB_KEY", "an empty key is no provider"


def test_inert_setting_is_told(drycc: Installed) -> None:
    """The controller's documented REGISTRATION_MODE has no effect: closing it leaves the page open."""
    patch(drycc, CONTROLLER, setting(CONTROLLER, "REGISTRATION_MODE", "disabled"))
    looked = succeeded(attempt(drycc, REGISTRATION, check=True))
    assert looked["proof"]["verdict"] == "fail", "the page is open"
    inert = finding(looked, "registration-inert-setting")
    assert inert["observed"] == "REGISTRATION_MODE=disabled"
    assert "passport.environment.REGISTRATION_ENABLED" in inert["hint"]


def other_class(controller: str) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "somebody-elses"},
        "spec": {"controllerName": controller},
    }


def choose_class(platform: Installed, name: str) -> None:
    path = KINDS["Gateway"].path(platform.namespace, GATEWAY)
    body = {"spec": {"gatewayClassName": name}}
    platform.objects.connection.request("PATCH", path, body=body, content_type="application/merge-patch+json")


def test_gateway_of_an_unknown_controller(drycc: Installed) -> None:
    before = drycc.objects.get("Gateway", GATEWAY, drycc.namespace)["spec"]["gatewayClassName"]
    connection = drycc.objects.connection
    connection.request("POST", KINDS["GatewayClass"].path(), body=other_class("example.test/unknown"))
    try:
        choose_class(drycc, "somebody-elses")
        result = attempt(drycc, ROUTER)
        assert "whose data plane is not known here" in failure(result, "Refused")
        assert result["changed"] is False
        told = finding(attempt(drycc, ROUTER, check=True, on_refusal="report"))
        assert told["status"] == "fail"
        assert "whose data plane is not known here" in told["reasons"][0]
        choose_class(drycc, "nobody-has-it")
        assert "nobody-has-it does not exist" in failure(attempt(drycc, ROUTER), "NotFound")
    finally:
        choose_class(drycc, before)
        connection.request("DELETE", KINDS["GatewayClass"].path(None, "somebody-elses"))


def test_data_plane_is_scaled_and_proved(drycc: Installed) -> None:
    done = succeeded(attempt(drycc, ROUTER, replicas=2, spread="hard"))
    assert done["proof"]["verdict"] == "pass"
    assert done["proof"]["checks"][-1]["observed"] == "2 (node1, node2)"
    assert {change["object"] for change in done["plan"]} == {
        f"Deployment {drycc.namespace}/drycc-gateway-istio",
        f"PodDisruptionBudget {drycc.namespace}/drycc-gateway-istio",
    }
