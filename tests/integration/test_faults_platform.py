"""A platform that is not as one would wish: no administrator, its database away, a door that gives no clear answer, too few nodes, others who have a say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import is_ready
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests.contract.installed import Installed, install
from tests.integration.attempts import REGISTRATION, ROUTER, attempt, failure, finding, succeeded
from tests.integration.disturbances import in_pods, patch, pods, present, setting, until

if TYPE_CHECKING:
    from lab.cluster import Cluster

CONTROLLER, DATABASE, EDGE = "deis-controller", "deis-database", "deis-router"


@pytest.fixture(scope="module")
def installed(lab_cluster: Cluster, report: Callable[[str], None]) -> Installed:
    platform = install(lab_cluster, "hephy", report)
    platform.restore()
    return platform


@pytest.fixture
def hephy(installed: Installed) -> Iterator[Installed]:
    """Hephy as it was installed; it is so again afterwards."""
    installed.settle()
    yield installed
    installed.restore()


def sql(platform: Installed, statement: str) -> None:
    """One statement in the platform's own database."""
    (pod,) = pods(platform, DATABASE)
    command = PLATFORMS[platform.name].registration.accounts.command
    platform.cluster.kubectl("exec", "-i", "-n", platform.namespace, pod["metadata"]["name"], "-c", DATABASE, "--", *command, stdin=f"{statement};\n")


@pytest.mark.parametrize(
    ("taken", "given", "words"),
    [
        ("is_superuser = false where is_superuser", "is_superuser = true where username = 'admin'", "No active administrator exists:"),
        ("is_active = false where is_superuser", "is_active = true where is_superuser", "(1 exist but are inactive)"),
    ],
    ids=["none", "inactive"],
)
def test_no_administrator(hephy: Installed, taken: str, given: str, words: str) -> None:
    sql(hephy, f"update auth_user set {taken}")
    try:
        result = attempt(hephy, REGISTRATION)
        assert words in failure(result, "Refused")
        assert result["changed"] is False
        told = finding(attempt(hephy, REGISTRATION, check=True, on_refusal="report"))
        assert told["status"] == "fail"
        assert words in told["reasons"][0]
        assert told["hint"]
    finally:
        sql(hephy, f"update auth_user set {given}")
    assert succeeded(attempt(hephy, REGISTRATION, check=True))["changed"] is True


def test_a_door_that_waits_for_its_first_administrator(hephy: Installed) -> None:
    sql(hephy, "update auth_user set is_superuser = false where is_superuser")
    try:
        told = failure(attempt(hephy, REGISTRATION, require_administrator=False), "NotProven")
    finally:
        sql(hephy, "update auth_user set is_superuser = true where username = 'admin'")
    assert "open: 400, asks for the fields of a new account" in told
    assert "who registers first becomes one" in told


@contextmanager
def database_away(platform: Installed) -> Iterator[None]:
    """The database runs on, but is not ready: nobody is led to it, as when its node hangs."""
    (pod,) = pods(platform, DATABASE)
    inside = ("exec", "-n", platform.namespace, pod["metadata"]["name"], "-c", DATABASE, "--", "sh", "-c")
    # The command of its readiness probe says no.
    platform.cluster.kubectl(*inside, "cd /usr/local/bin && cp -p is_running is_running.kept && printf '#!/bin/sh\nexit 1\n' > is_running")
    try:
        until(lambda: not any(map(is_ready, pods(platform, DATABASE))), "a database that is not ready")

        def noticed() -> bool:
            # What the controller has open would stay open: it keeps its connections for ten minutes.
            sql(platform, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
            return not any(map(is_ready, pods(platform, CONTROLLER)))

        until(noticed, "a controller that is not ready")
        yield
    finally:
        platform.cluster.kubectl(*inside, "cd /usr/local/bin && mv is_running.kept is_running")
        platform.settle()


def test_database_away(hephy: Installed) -> None:
    succeeded(attempt(hephy, REGISTRATION))
    with database_away(hephy):
        closed = attempt(hephy, REGISTRATION, check=True, retry_timeout=2)
        assert succeeded(closed)["changed"] is False
        assert finding(closed)["status"] == "unknown", "the configuration is right, but nobody answers"
        # Opening and closing again: now it has to be known whether an administrator exists.
        patch(hephy, CONTROLLER, setting(CONTROLLER, "REGISTRATION_MODE", "enabled"))
        result = attempt(hephy, REGISTRATION, retry_timeout=2)
        assert "no pod of deis-database is ready" in failure(result, "Refused")
        assert result["changed"] is False
    assert succeeded(attempt(hephy, REGISTRATION))["proof"]["verdict"] == "pass"


def test_database_outside_the_cluster(hephy: Installed) -> None:
    hephy.cluster.kubectl("delete", "deployment", DATABASE, "-n", hephy.namespace, "--cascade=orphan")
    result = attempt(hephy, REGISTRATION)
    assert "is not in the cluster (an external database?)" in failure(result, "Refused")
    done = succeeded(attempt(hephy, REGISTRATION, require_administrator=False))
    assert done["findings"][0]["status"] == "fixed"


def test_door_that_answers_500(hephy: Installed) -> None:
    patch(hephy, CONTROLLER, setting(CONTROLLER, "REGISTRATION_MODE", "nonsense"))
    hephy.settle()
    looked = succeeded(attempt(hephy, REGISTRATION, check=True, retry_timeout=2))
    assert looked["proof"]["verdict"] == "unknown"
    assert "status 500" in looked["proof"]["checks"][0]["observed"]
    assert looked["findings"][0]["status"] == "would-fix"
    mended = succeeded(attempt(hephy, REGISTRATION))
    assert mended["plan"][0]["before"] == "nonsense"
    assert mended["proof"]["verdict"] == "pass"


def test_configured_closed_but_open(hephy: Installed) -> None:
    """The setting is written, but the rollout is on hold: the pods still let everybody in."""
    kubectl = hephy.cluster.kubectl
    kubectl("rollout", "pause", f"deployment/{CONTROLLER}", "-n", hephy.namespace)
    patch(hephy, CONTROLLER, setting(CONTROLLER, "REGISTRATION_MODE", "admin_only"))
    looked = succeeded(attempt(hephy, REGISTRATION, check=True))
    assert looked["changed"] is False
    assert looked["proof"]["verdict"] == "fail"
    assert finding(looked)["status"] == "fail"
    result = attempt(hephy, REGISTRATION, wait_timeout=10)
    assert result.get("failed"), result
    assert result["failure"]["reason"] in ("RolloutFailed", "TimedOut", "NotProven")
    kubectl("rollout", "resume", f"deployment/{CONTROLLER}", "-n", hephy.namespace)
    assert succeeded(attempt(hephy, REGISTRATION))["proof"]["verdict"] == "pass"


def with_host_ports(platform: Installed) -> None:
    ports = [{"containerPort": 8080, "hostPort": 18080}, {"containerPort": 6443, "hostPort": 18443}]
    patch(platform, EDGE, in_pods(name=EDGE, ports=ports))
    platform.settle()


def test_host_ports(hephy: Installed) -> None:
    with_host_ports(hephy)
    result = attempt(hephy, ROUTER, replicas=3)
    message = failure(result, "Refused")
    assert "18080, 18443" in message
    assert "2 nodes can carry one" in message
    assert result["changed"] is False
    done = succeeded(attempt(hephy, ROUTER, replicas=2))
    assert done["proof"]["verdict"] == "pass"
    # Every node carries one: the next rollout must be able to end, too.
    patch(hephy, EDGE, {"spec": {"template": {"metadata": {"annotations": {"example.test/rolled": "out"}}}}})
    hephy.settle()
    assert succeeded(attempt(hephy, ROUTER, replicas=2))["changed"] is False


def test_hard_spread(hephy: Installed) -> None:
    result = attempt(hephy, ROUTER, replicas=3, spread="hard")
    assert "needs a node of its own" in failure(result, "Refused")
    assert result["changed"] is False
    told = attempt(hephy, ROUTER, check=True, replicas=3, spread="hard", on_refusal="report")
    assert finding(told)["status"] == "fail"
    done = succeeded(attempt(hephy, ROUTER, replicas=2, spread="hard"))
    assert done["proof"]["checks"][-1]["observed"] == "2 (node1, node2)"
    patch(hephy, EDGE, {"spec": {"template": {"metadata": {"annotations": {"example.test/rolled": "out"}}}}})
    hephy.settle()
    assert succeeded(attempt(hephy, ROUTER, replicas=2, spread="hard"))["changed"] is False


def test_a_node_that_is_away(hephy: Installed) -> None:
    """With one node there is no second place: as many nodes are promised as can carry a router, and the next run spreads them."""
    hephy.cluster.kubectl("cordon", "node2")
    try:
        done = succeeded(attempt(hephy, ROUTER, replicas=2))
        assert done["proof"]["checks"][-1]["expected"] == "at least 1"
        refused = attempt(hephy, ROUTER, replicas=2, spread="hard")
        assert "1 nodes can carry one" in failure(refused, "Refused")
    finally:
        hephy.cluster.kubectl("uncordon", "node2")
    spread = succeeded(attempt(hephy, ROUTER, replicas=2))
    assert spread["changed"] is True
    assert [change["field"] for change in spread["plan"]] == ["(object)"], "one of two pods on the same node is deleted, and placed anew"
    assert spread["proof"]["checks"][-1]["observed"] == "2 (node1, node2)"


def autoscaler(lowest: int, highest: int) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": EDGE}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    spec = {"scaleTargetRef": target, "minReplicas": lowest, "maxReplicas": highest, "metrics": [metric]}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "by-load"}, "spec": spec}


def test_autoscaler_that_owns_the_count(hephy: Installed) -> None:
    with present(hephy, autoscaler(1, 3)):
        done = succeeded(attempt(hephy, ROUTER))
        fields = {(change["object"], change["field"]) for change in done["plan"]}
        assert (f"HorizontalPodAutoscaler {hephy.namespace}/by-load", "spec.minReplicas") in fields
        assert (f"Deployment {hephy.namespace}/{EDGE}", "spec.replicas") not in fields
        assert done["proof"]["verdict"] == "pass"
        assert succeeded(attempt(hephy, ROUTER))["changed"] is False


def test_autoscaler_that_allows_too_few(hephy: Installed) -> None:
    with present(hephy, autoscaler(1, 1)):
        result = attempt(hephy, ROUTER)
        assert "owns the number of routers and allows 1 at most" in failure(result, "Refused")
        assert result["changed"] is False


def budget(name: str, **bounds: Any) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": {"app": EDGE}}, **bounds}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}


def test_somebody_elses_budget(hephy: Installed) -> None:
    """One that covers the routers is left alone, and no second one is made: two of them make every eviction fail."""
    with present(hephy, budget("theirs", minAvailable=1)):
        done = succeeded(attempt(hephy, ROUTER, replicas=2))
        assert not [change for change in done["plan"] if change["object"].startswith("PodDisruptionBudget")]
        assert len(done["findings"]) == 1
    with present(hephy, budget("theirs", minAvailable=2)):
        until(lambda: "disruptionsAllowed" in hephy.objects.get("PodDisruptionBudget", "theirs", hephy.namespace).get("status", {}), "the budget's count")
        blocked = attempt(hephy, ROUTER, check=True, replicas=2)
        assert finding(blocked, "router-scale-drain-blocked")["status"] == "fail"


def test_a_budget_of_the_same_name_for_other_pods(hephy: Installed) -> None:
    other = {**budget(EDGE, minAvailable=1), "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "other"}}}}
    with present(hephy, other):
        result = attempt(hephy, ROUTER)
        assert "is somebody else's and does not select the routers" in failure(result, "Refused")
        assert result["changed"] is False
