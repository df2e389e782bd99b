"""Recovery points by a CronJob of a real cluster: predicted, done, done once, a proved point in the claim, every drift mended, and gone without a trace."""

from __future__ import annotations

import base64
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup import scheduling
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from lab import images, processes
from tests.backup.asking import key_file, look, parameters, refused
from tests.backup.test_proof_rights import GROUP, RIGHTS
from tests.backup.whole import KINDS, Identity
from tests.contract.audit_log import AuditLog
from tests.contract.installed import Installed
from tests.contract.playbook import run_playbook

if TYPE_CHECKING:
    from lab.seed import Sown

USER = "scheduler"
NAME = "paas-hardening-backup-nightly"
CLAIM = "recovery-points"
VOLUME = """
apiVersion: v1
kind: PersistentVolume
metadata: {name: recovery-points}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: none
  local: {path: FOLDER}
  nodeAffinity:
    required:
      nodeSelectorTerms:
        - matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [NODE]}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: recovery-points, namespace: NAMESPACE}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, volumeName: recovery-points, resources: {requests: {storage: 1Gi}}}
"""
# What the documentation says that the task takes beside the rights of a point.
MORE_RIGHTS = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {USER}, namespace: NAMESPACE}}
rules:
  - {{apiGroups: [batch], resources: [cronjobs, jobs], verbs: [create, patch, delete]}}
  - {{apiGroups: [""], resources: [secrets], verbs: [create, patch, delete]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {USER}, namespace: NAMESPACE}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {USER}}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {USER}}}]
"""
_RUN_SECONDS = 600.0


@pytest.fixture(scope="module")
def disk(hephy: Installed, report: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the claim's volume lies on this machine; with the rights granted and the image in the nodes."""
    cluster, folder = hephy.cluster, tmp_path_factory.mktemp("volume")
    cluster.load(images.backup(report))
    cluster.kubectl("apply", "-n", hephy.namespace, "-f", str(RIGHTS))
    account = RIGHTS.with_name("rbac-backup-cronjob.yml").read_text().replace("NAMESPACE", hephy.namespace)
    cluster.kubectl("apply", "-f", "-", stdin=account)
    volume = VOLUME.replace("FOLDER", str(folder)).replace("NAMESPACE", hephy.namespace).replace("NODE", cluster.nodes[0])
    cluster.kubectl("apply", "-f", "-", stdin=volume)
    rights = MORE_RIGHTS.replace("NAMESPACE", hephy.namespace)
    cluster.kubectl("apply", "-f", "-", stdin=rights)
    yield folder
    cluster.kubectl("delete", "cronjob,secret,job", "-n", hephy.namespace, "-l", "app.kubernetes.io/name=paas-hardening-backup", "--ignore-not-found")
    for made in (volume, rights, account):
        cluster.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=made)
    cluster.kubectl("delete", "-n", hephy.namespace, "-f", str(RIGHTS), "--ignore-not-found")


@pytest.fixture(scope="module")
def options(hephy: Installed, disk: Path, keys: list[Identity], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of a schedule of the platform, as a user of its own, whom the audit log knows."""
    folder = tmp_path_factory.mktemp("controller")
    config = hephy.cluster.issue_client(USER, [GROUP])
    assert disk.is_dir()
    return {
        "state": "scheduled",
        "repository": "/backup/points",
        "signing_key_file": key_file(folder),
        "older_key_files": [key_file(folder, "older")],
        "kinds": KINDS,
        "max_age": "20h",
        "cluster": {"kubeconfig": str(config), "namespace": hephy.namespace},
        "objects": {"apiserver_folder": "/usr/local/bin"},
        "secrets": {"recipients": [entry.recipient for entry in keys]},
        "schedule": {
            "name": "nightly",
            "on_calendar": "30 2 * * *",
            "randomized_delay": "0",
            "timeout": "1h",
            "image": images.BACKUP,
            "volume_claim": CLAIM,
        },
    }


def schedule(options: dict[str, Any], check: bool = False, **changed: Any) -> dict[str, Any]:
    given = {**options, "state": changed.pop("state", options["state"]), "schedule": {**options["schedule"], **changed}}
    return run(scheduling.VERB.begin, parameters(scheduling.VERB, given), check=check, diff=True)


def there(platform: Installed) -> list[str]:
    """What there is of the schedule, Jobs and pods of a trial among it."""
    kinds = "cronjob,secret,job,pod"
    found = platform.cluster.kubectl("get", kinds, "-n", platform.namespace, "-l", "app.kubernetes.io/name=paas-hardening-backup", "-o", "name")
    return sorted(found.split())


def written(platform: Installed) -> list[Any]:
    """What the Secret and the CronJob say."""
    secret, cronjob = (platform.objects.get(kind, NAME, platform.namespace) for kind in ("Secret", "CronJob"))
    return [secret["data"], cronjob["spec"], cronjob["metadata"]["annotations"]]


def read(disk: Path, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What workflow_backup_info says of the claim's repository, of a copy: a repository is read by its owner alone."""
    shutil.copytree(disk / "points", folder / "copy")
    return look(folder, repository=str(folder / "copy"), signing_key_file=options["signing_key_file"], verify="all")


@pytest.fixture(scope="module")
def scheduled(hephy: Installed, sown: Sown, options: dict[str, Any]) -> dict[str, Any]:
    """What the first run said; it did what had been predicted, and nothing that was not."""
    assert sown.apps
    log = AuditLog(hephy.cluster.audit_log)
    predicted = schedule(options, check=True)
    assert predicted.get("msg") is None, predicted["msg"]
    assert [str(request) for request in log.writes(USER)] == []
    assert there(hephy) == []
    done = schedule(options)
    assert done.get("msg") is None, done["msg"]
    assert (done["changed"], done["plan"], done["diff"]) == (True, predicted["plan"], predicted["diff"])
    assert [change["object"] for change in done["plan"]] == [f"Secret {hephy.namespace}/{NAME}", f"CronJob {hephy.namespace}/{NAME}"]
    return done


def test_done_is_what_was_predicted_and_was_tried(hephy: Installed, options: dict[str, Any], scheduled: dict[str, Any]) -> None:
    assert scheduled["findings"][0]["status"] == "fixed"
    assert (scheduled["proof"]["verdict"], scheduled["problems"]) == ("pass", [])
    assert {check["observed"] for check in scheduled["proof"]["checks"]} == {"on", "ready"}
    assert {name: scheduled["schedule"][name] for name in ("cronjob", "enabled", "running", "scheduled", "succeeded")} == {
        "cronjob": NAME,
        "enabled": True,
        "running": False,
        "scheduled": "",
        "succeeded": "",
    }
    told, held = json.dumps(scheduled), hephy.objects.get("Secret", NAME, hephy.namespace)["data"]
    for name in ("signing-key", "older-key-0", "options.json", "program"):
        assert held[name] not in told
        assert base64.b64decode(held[name]).decode("latin-1").strip() not in told
    # The trial is gone, and so is its pod.
    assert processes.wait_until(lambda: there(hephy) == [f"cronjob.batch/{NAME}", f"secret/{NAME}"], 60), there(hephy)


def test_a_second_run_writes_nothing(hephy: Installed, options: dict[str, Any], scheduled: dict[str, Any]) -> None:
    log = AuditLog(hephy.cluster.audit_log)
    again = schedule(options)
    assert (again.get("msg"), again["changed"], again["plan"], again["proof"]["verdict"]) == (None, False, [], "pass")
    sent = log.requests(USER)
    assert sent
    assert [str(request) for request in sent if request.writes] == []


def test_a_run_that_is_stopped_midway_is_told_and_leaves_no_point(
    hephy: Installed, disk: Path, options: dict[str, Any], scheduled: dict[str, Any], tmp_path: Path
) -> None:
    cluster, place = hephy.cluster, hephy.namespace
    cluster.kubectl("create", "job", "-n", place, f"--from=cronjob/{NAME}", "stopped")

    def pod() -> str:
        return cluster.kubectl("get", "pod", "-n", place, "-l", "job-name=stopped", "--field-selector=status.phase=Running", "-o", "name").strip()

    # The first of its kinds is being written then.
    assert processes.wait_until(lambda: bool(pod()) and any((disk / "points").glob("work/point-*/*")), 60, pause=0.05)
    cluster.kubectl("delete", "-n", place, pod(), "--grace-period=0", "--force")
    assert processes.wait_until(lambda: bool((hephy.objects.get("Job", "stopped", place).get("status") or {}).get("failed")), 60)
    assert read(disk, options, tmp_path)["points"] == []
    seen = schedule(options)
    assert (seen.get("msg"), seen["changed"], seen["schedule"]["outcome"]) == (None, False, "failed")
    assert ["failed" in problem for problem in seen["problems"]] == [True], seen["problems"]


def test_a_job_of_it_makes_a_proved_point_in_the_claim(
    hephy: Installed, disk: Path, options: dict[str, Any], scheduled: dict[str, Any], tmp_path: Path
) -> None:
    log, begun = AuditLog(hephy.cluster.audit_log), time.monotonic()
    hephy.cluster.kubectl("create", "job", "-n", hephy.namespace, f"--from=cronjob/{NAME}", "by-hand")

    def state() -> dict[str, Any]:
        return dict(hephy.objects.get("Job", "by-hand", hephy.namespace).get("status") or {})

    assert processes.wait_until(lambda: bool(state().get("active")), 60)
    reason, message = refused(schedule(options, state="absent"))
    assert (reason, "by-hand" in message) == ("Refused", True), message
    assert processes.wait_until(lambda: bool(state().get("succeeded") or state().get("failed")), _RUN_SECONDS, pause=2)
    print(f"a point in a pod after {time.monotonic() - begun:.0f} s: {hephy.cluster.kubectl('logs', '-n', hephy.namespace, 'job/by-hand')}")
    assert state().get("succeeded") == 1
    found = read(disk, options, tmp_path)
    assert (found.get("msg"), found["problems"], len(found["points"])) == (None, [], 1)
    assert set(found["newest"]["kinds"]) == set(KINDS)
    assert {proof["verdict"] for proof in found["newest"]["proofs"].values()} == {"pass"}
    # What the pod does there is what its rights are for: it reads, and enters the bundled servers.
    sent = log.requests(f"system:serviceaccount:{hephy.namespace}:paas-hardening-backup")
    assert "pods/portforward" in {request.resource for request in sent}
    assert [str(request) for request in sent if request.writes and request.resource != "pods/portforward"] == []
    after = schedule(options)
    assert (after["changed"], after["schedule"]["outcome"], bool(after["schedule"]["succeeded"])) == (False, "succeeded", True)


def test_the_clock_starts_it(hephy: Installed, options: dict[str, Any], scheduled: dict[str, Any]) -> None:
    often = schedule({**options, "max_age": "1s"}, on_calendar="* * * * *")
    assert (often.get("msg"), often["changed"]) == (None, True)

    def started() -> list[Any]:
        jobs = hephy.objects.list("Job", hephy.namespace, labels="app.kubernetes.io/instance=nightly")
        # Such a name has the CronJob controller given: the minute that was due.
        return [job for job in jobs if re.fullmatch(rf"{NAME}-[0-9]+", job["metadata"]["name"])]

    assert processes.wait_until(lambda: any((job.get("status") or {}).get("succeeded") for job in started()), 150, pause=1), started()
    back = schedule(options)
    assert (back.get("msg"), back["changed"], back["schedule"]["outcome"], bool(back["schedule"]["scheduled"])) == (None, True, "succeeded", True)


def test_the_role_looks_at_the_cronjob_and_at_no_folder_of_its_own(
    hephy: Installed, options: dict[str, Any], scheduled: dict[str, Any], tmp_path: Path
) -> None:
    names = ("repository", "signing_key_file", "older_key_files", "kinds", "max_age", "cluster", "objects", "secrets", "schedule")
    variables = {f"backup_{name}": options[name] for name in names}
    run = run_playbook(tmp_path, "paas.hardening.backup", variables=variables).ok()
    assert (run.recap()["changed"], run.recap()["failed"], f"CronJob {NAME}: on, last success: 20" in run.output) == (0, 0, True), run.output
    hephy.cluster.kubectl("patch", "cronjob", NAME, "-n", hephy.namespace, "-p", json.dumps({"spec": {"suspend": True}}))
    assert run_playbook(tmp_path, "paas.hardening.backup", "--check", variables=variables).ok().recap()["changed"] == 1
    assert run_playbook(tmp_path, "paas.hardening.backup", variables=variables).ok().recap()["changed"] == 1
    assert schedule(options)["schedule"]["enabled"] is True


def test_what_somebody_changed_is_seen_and_mended(hephy: Installed, options: dict[str, Any], scheduled: dict[str, Any]) -> None:
    template = {"spec": {"jobTemplate": {"spec": {"template": {"spec": {}}}}}}
    pod = template["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    pod.update(hostNetwork=True, containers=[{"name": "backup", "image": "lab.local/other:1", "command": ["true"], "env": [{"name": "PGHOST", "value": "x"}]}])
    broken = {**template, "spec": {**template["spec"], "suspend": True, "schedule": "0 0 1 1 *"}}
    hephy.cluster.kubectl("patch", "cronjob", NAME, "-n", hephy.namespace, "-p", json.dumps(broken))
    wrong = {"data": {"options.json": base64.b64encode(b"{}").decode(), "more": base64.b64encode(b"x").decode()}}
    hephy.cluster.kubectl("patch", "secret", NAME, "-n", hephy.namespace, "-p", json.dumps(wrong))
    predicted = schedule(options, check=True)
    assert {(change["object"].partition(" ")[0], change["field"].rpartition(".")[2]) for change in predicted["plan"]} == {
        ("Secret", 'json"]'),
        ("Secret", "more"),
        ("CronJob", "suspend"),
        ("CronJob", "schedule"),
        ("CronJob", "hostNetwork"),
        ("CronJob", "image"),
        ("CronJob", "command"),
        ("CronJob", "env[PGHOST]"),
    }
    assert predicted["schedule"]["enabled"] is False
    assert "the CronJob is suspended" in predicted["problems"]
    done = schedule(options)
    assert (done.get("msg"), done["plan"], done["findings"][0]["status"], done["problems"]) == (None, predicted["plan"], "fixed", [])
    assert schedule(options)["changed"] is False


def test_a_pod_that_cannot_work_changes_no_schedule(hephy: Installed, options: dict[str, Any], scheduled: dict[str, Any]) -> None:
    kept = written(hephy)
    worse = {**options, "max_age": "10h"}
    for _attempt in range(2):
        reason, message = refused(schedule(worse, image=images.BASE))
        assert (reason, "In a pod of the image lab.local/base:1" in message, "The Secret is as it was before." in message) == ("NotProven", True, True), message
        # Nothing of it stays, so it is tried again, and told again.
        assert written(hephy) == kept
    assert processes.wait_until(lambda: not [name for name in there(hephy) if "trial" in name], 60), there(hephy)
    assert schedule(options)["changed"] is False
    before = there(hephy)
    reason, message = refused(schedule(options, name="another", image=images.BASE))
    assert (reason, "The Secret is as it was before." in message) == ("NotProven", True), message
    assert processes.wait_until(lambda: there(hephy) == before, 60), there(hephy)


def test_a_pod_for_which_there_is_no_room_is_told(hephy: Installed, options: dict[str, Any], scheduled: dict[str, Any]) -> None:
    kept = written(hephy)
    hephy.cluster.kubectl("create", "quota", "full", "-n", hephy.namespace, "--hard=pods=1")
    try:
        assert processes.wait_until(lambda: "used" in (hephy.objects.get("ResourceQuota", "full", hephy.namespace).get("status") or {}), 30)
        reason, message = refused(schedule({**options, "max_age": "10h"}))
    finally:
        hephy.cluster.kubectl("delete", "quota", "full", "-n", hephy.namespace)
    assert (reason, "the ResourceQuota full" in message) == ("Refused", True), message
    assert written(hephy) == kept
    assert schedule(options)["changed"] is False


def test_a_server_that_is_empty_for_the_first_run_only_is_refused(options: dict[str, Any], scheduled: dict[str, Any]) -> None:
    reason, message = refused(schedule({**options, "objects": {"empty_server": "/etc/hostname"}}))
    assert (reason, "one proof" in message) == ("Invalid", True), message


def test_it_goes_and_no_point_with_it(hephy: Installed, disk: Path, options: dict[str, Any], scheduled: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    points = read(disk, options, tmp_path / "before")["points"]
    assert len(points) > 1
    predicted = schedule(options, check=True, state="absent")
    done = schedule(options, state="absent")
    assert (done.get("msg"), done["plan"]) == (None, predicted["plan"])
    assert [change["object"] for change in done["plan"]] == [f"CronJob {hephy.namespace}/{NAME}", f"Secret {hephy.namespace}/{NAME}"]
    assert processes.wait_until(lambda: there(hephy) == [], 60), there(hephy)
    assert hephy.objects.get("PersistentVolumeClaim", CLAIM, hephy.namespace)["status"]["phase"] == "Bound"
    assert read(disk, options, tmp_path)["points"] == points
    log = AuditLog(hephy.cluster.audit_log)
    again = schedule(options, state="absent")
    assert (again["changed"], [str(request) for request in log.writes(USER)]) == (False, [])
