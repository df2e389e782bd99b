"""The API server and the way to it: other writers, a server that dies in the middle, one that is not there, credentials that ran out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict
from tests.contract.audit_log import AuditLog
from tests.contract.catalogue import begin
from tests.contract.installed import GROUP, Installed, install
from tests.contract.playbook import Task, run_tasks, start_playbook
from tests.integration.attempts import REGISTRATION, ROUTER, attempt, failure, over_and_over, succeeded

if TYPE_CHECKING:
    from lab.cluster import Cluster

NOTE = "example.test/written-by-somebody-else"


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


def writer(platform: Installed, name: str) -> Callable[[], None]:
    """Somebody who writes the Deployment: each call puts the next number into an annotation."""
    connection = connect({"kubeconfig": str(platform.cluster.kubeconfig)})
    numbers = itertools.count(1)

    def write() -> None:
        body = {"metadata": {"annotations": {NOTE: str(next(numbers))}}}
        connection.request("PATCH", KINDS["Deployment"].path(platform.namespace, name), body=body, content_type="application/merge-patch+json")

    return write


def user(platform: Installed, name: str) -> str:
    """A kubeconfig of a user with the documented rights."""
    return str(platform.cluster.issue_client(name, groups=[GROUP]))


def test_a_write_in_between_is_noticed(hephy: Installed) -> None:
    job = begin(REGISTRATION, hephy.options())
    plan = job.plan(job.observe())
    writer(hephy, "deis-controller")()
    with pytest.raises(Conflict, match="changed by somebody else"):
        job.apply(next(iter(plan.pieces())))
    assert job.plan(job.observe()).changes == plan.changes
    assert succeeded(attempt(hephy, REGISTRATION))["changed"] is True


def test_somebody_who_writes_all_the_time(hephy: Installed, report: Callable[[str], None]) -> None:
    log, write = AuditLog(hephy.cluster.audit_log), writer(hephy, "deis-controller")
    kubeconfig = user(hephy, "one-of-two-writers")
    with over_and_over(write):
        result = attempt(hephy, REGISTRATION, kubeconfig=kubeconfig)
    mine = log.writes("one-of-two-writers")
    report(f"beside another writer: {[request.code for request in mine]}, {result.get('failure', {}).get('reason', 'done')}")
    assert mine
    if result.get("failed"):
        failure(result, "Conflict")
        assert result["changed"] is False
        assert {request.code for request in mine} == {409}
    else:
        assert [request.code for request in mine][-1] == 200
    finished = succeeded(attempt(hephy, REGISTRATION))
    assert finished["changed"] is bool(result.get("failed"))
    assert finished["proof"]["verdict"] == "pass"
    last = hephy.objects.get("Deployment", "deis-controller", hephy.namespace)["metadata"]["annotations"][NOTE]
    write()
    assert int(hephy.objects.get("Deployment", "deis-controller", hephy.namespace)["metadata"]["annotations"][NOTE]) == int(last) + 1, "a write was lost"


def test_server_killed_in_the_middle(hephy: Installed, tmp_path: Path, report: Callable[[str], None]) -> None:
    """It dies after the write, while the rollout is waited for, and comes back; the run goes on, or says that it could not."""
    name = "survivor"
    options = {"kubeconfig": user(hephy, name), "namespace": hephy.namespace, "retry_timeout": 240}
    playbook = tmp_path / "play.yml"
    task = Task("Close registration", REGISTRATION, options).as_data()
    playbook.write_text(str([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]))
    log = AuditLog(hephy.cluster.audit_log)
    running = start_playbook(tmp_path, playbook)
    end = time.monotonic() + 240
    while not log.writes(name):
        assert time.monotonic() < end, "nothing was written"
        time.sleep(0.05)
    hephy.cluster.kill_component("kube-apiserver")
    run = running.wait()
    hephy.cluster.wait_ready()
    result = run.result("Close registration")
    report(f"server killed after the write: {result.get('failure', {}).get('reason', 'done')}, waited {result.get('waited')} s")
    if run.status:
        failure(result, "Unavailable")
        assert result["changed"] is True
    else:
        assert result["proof"]["verdict"] == "pass"
    finished = succeeded(attempt(hephy, REGISTRATION, retry_timeout=240))
    assert finished["proof"]["verdict"] == "pass"
    assert finished["changed"] is False
    assert len([request for request in log.writes(name) if request.stored]) == 1, "a write that may have been done is not sent again"


def test_server_away_before_anything(hephy: Installed) -> None:
    hephy.cluster.stop_component("kube-apiserver")
    try:
        for module in (REGISTRATION, ROUTER):
            result = attempt(hephy, module, retry_timeout=1)
            assert "refuses the connection" in failure(result, "Unavailable")
            assert result["changed"] is False
    finally:
        hephy.cluster.start_component("kube-apiserver")
        hephy.cluster.wait_ready()
    assert succeeded(attempt(hephy, REGISTRATION, check=True))["changed"] is True


def test_no_way_to_the_server(installed: Installed, tmp_path: Path) -> None:
    """Over a real play, with a password in the address, which nobody may see."""
    secret = "canary-in-the-address"
    options = {"host": f"https://operator:{secret}@127.0.0.1:9", "api_key": secret, "retry_timeout": 1}
    tasks = [Task("Ask nobody", REGISTRATION, {**options, "namespace": "deis", "platform": "hephy"})]
    run = run_tasks(tmp_path, tasks, "-vvvv")
    assert run.status == 2
    assert "127.0.0.1:9" in failure(run.result("Ask nobody"), "Unavailable")
    assert secret not in run.output
    assert secret not in str(run.records)


def test_expired_client_certificate(installed: Installed) -> None:
    expired = installed.cluster.issue_client("yesterday", groups=[GROUP], valid_for_seconds=-3600)
    for module in (REGISTRATION, ROUTER):
        message = failure(attempt(installed, module, kubeconfig=str(expired), retry_timeout=1), "Unauthorized")
        assert "expired" in message


def test_certificate_of_a_stranger(installed: Installed) -> None:
    """A user that is known to the server, and has no rights at all."""
    stranger = str(installed.cluster.issue_client("stranger"))
    assert "may not" in failure(attempt(installed, REGISTRATION, kubeconfig=stranger), "Forbidden")
