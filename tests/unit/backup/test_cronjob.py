"""A schedule of a cluster: what its objects say, what is refused, which drift is seen, and that no secret is shown. No cluster is asked here."""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup import scheduling
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule import pod
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron import cron_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_live import CronLive, as_data, problems_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_objects import (
    PROVED,
    USER,
    CronWish,
    Documents,
    cron_wish_of,
    files_of,
    names_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_plan import planned, removal
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.pod_places import LONGEST_LAST_WORDS, PROGRAM
from ansible_collections.paas.hardening.plugins.module_utils._cluster.patches import strategic_patch
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Plan
from ansible_collections.paas.hardening.plugins.module_utils._host.archive import archive, compressed, digest_of
from tests.backup.asking import key_file, parameters

HOUR, DAY = 3600.0, 86400.0
NAMESPACE, IMAGE = "deis", "registry.example.test/backup:1"
SECRET = b"a key of more than thirty-two bytes, to be seen nowhere"
NOW = 1_764_000_000.0


def options(**changed: Any) -> dict[str, Any]:
    """Options of a schedule with an image; those of ``schedule`` are laid over it."""
    schedule = {"on_calendar": "30 2 * * *", "image": IMAGE, "volume_claim": "points", **changed.pop("schedule", {})}
    given = {"repository": "/backup/points", "signing_key_file": "/srv/key", "kinds": ["postgres", "secrets"], "max_age": "20h", "state": "scheduled"}
    return parameters(scheduling.VERB, {**given, "schedule": schedule, **changed})


def wish(**changed: Any) -> CronWish:
    return cron_wish_of(options(**changed), scheduling.ARGUMENTS, files_of(SECRET, [b"older " + SECRET]))


@pytest.fixture(scope="module")
def program() -> bytes:
    return archive(pod.__name__)


@pytest.fixture
def documents(program: bytes) -> Documents:
    return wish().documents(program, NAMESPACE, "hephy")


def live(document: Mapping[str, Any]) -> dict[str, Any]:
    """The object as a server gives it back: with what it keeps about it, and with its defaults."""
    found = copy.deepcopy(dict(document))
    found["metadata"].update(uid="1-2-3", resourceVersion="7", creationTimestamp="2025-11-24T16:00:00Z")
    if found["kind"] == "CronJob":
        template = found["spec"]["jobTemplate"]["spec"]["template"]
        template["metadata"]["creationTimestamp"] = None
        template["spec"].update(dnsPolicy="ClusterFirst", schedulerName="default-scheduler", serviceAccount=template["spec"]["serviceAccountName"])
        template["spec"]["containers"][0].update(imagePullPolicy="IfNotPresent", terminationMessagePath="/dev/termination-log")
        found["status"] = {"lastScheduleTime": "2025-11-24T02:30:00Z"}
    return found


@pytest.mark.parametrize(
    ("expression", "shortest", "longest"),
    [
        ("hourly", HOUR, HOUR),
        ("daily", DAY, DAY),
        ("weekly", 7 * DAY, 7 * DAY),
        ("monthly", 28 * DAY, 31 * DAY),
        ("30 2 * * *", DAY, DAY),
        ("0 */6 * * *", 6 * HOUR, 6 * HOUR),
        ("0 8,20 * * *", 12 * HOUR, 12 * HOUR),
        ("*/15 * * * *", 900.0, 900.0),
        ("5/20 3 * * *", 1200.0, DAY - 2400),
        ("0 2 * * mon-fri", DAY, 3 * DAY),
        ("0 0 1 JAN *", 365 * DAY, 366 * DAY),
        # One of two restrictions is enough, unless one of them is none.
        ("0 0 1 * 1", DAY, 7 * DAY),
        ("0 0 29 2 *", 1461 * DAY, 1461 * DAY),
        ("0 0 1-7/3 * *", 3 * DAY, 25 * DAY),
    ],
)
def test_how_far_runs_lie_apart(expression: str, shortest: float, longest: float) -> None:
    found = cron_of(expression)
    assert (found.shortest, found.longest) == (shortest, longest)
    assert len(found.text.split()) == 5


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", ["schedule.on_calendar", "''", "five fields"]),
        ("*-*-* 02:30:00", ["*-*-* 02:30:00", "five fields"]),
        ("60 2 * * *", ["minute", "60", "0 to 59"]),
        ("0 24 * * *", ["hour", "24"]),
        ("0 0 * * 7", ["day of the week", "'7'", "Sunday is 0"]),
        ("0 0 0 * *", ["day of the month", "'0'"]),
        ("0 0 * 13 *", ["month", "13"]),
        ("0 0 5-1 * *", ["day of the month", "5-1"]),
        ("*/0 * * * *", ["minute", "*/0"]),
        ("0 0 ? * *", ["day of the month", "?"]),
        ("@daily", ["@daily"]),
        ("0 0 30 2 *", ["never comes"]),
        ("TZ=UTC 0 0 * * *", ["TZ=UTC"]),
    ],
)
def test_other_expressions_are_refused_with_field_and_remedy(expression: str, words: list[str]) -> None:
    with pytest.raises(Invalid) as refusal:
        cron_of(expression)
    assert [word for word in words if word not in str(refusal.value)] == []
    assert refusal.value.subject == "schedule.on_calendar"


@pytest.mark.parametrize(
    ("changed", "option"),
    [
        ({"kinds": ["etcd"]}, "kinds"),
        ({"kinds": ["secrets", "volumes"]}, "kinds"),
        ({"postgres": {"engine": "pgbackrest"}}, "postgres.engine"),
        ({"secrets": {"files": ["/etc/kubernetes/pki/sa.key"]}}, "secrets.files"),
        ({"schedule": {"account": "keeper"}}, "schedule.account"),
        ({"schedule": {"on_failure": "tell-somebody.service"}}, "schedule.on_failure"),
        ({"schedule": {"metrics_file": "/var/lib/node/paas.prom"}}, "schedule.metrics_file"),
        ({"schedule": {"volume_claim": None}}, "schedule.volume_claim"),
        ({"schedule": {"volume_claim": "Of Mine"}}, "schedule.volume_claim"),
        ({"schedule": {"service_account": "../x"}}, "schedule.service_account"),
        ({"schedule": {"image": "two words"}}, "schedule.image"),
        ({"schedule": {"name": "x" * 31}}, "schedule.name"),
        ({"schedule": {"timeout": "soon"}}, "schedule.timeout"),
        ({"schedule": {"on_calendar": "hourly"}}, "max_age"),
        ({"max_age": "1430m"}, ""),
        ({"max_age": "1431m"}, "max_age"),
        ({"repository": "/points"}, "repository"),
        ({"repository": "/var/points"}, "repository"),
        ({"repository": "/etc/paas/points"}, "repository"),
        ({"repository": "/usr/points"}, "repository"),
        ({"repository": "/tmp/points"}, "repository"),
        ({"repository": "/var/tmp/a/points"}, "repository"),
        ({"repository": "/var/backups/paas"}, ""),
        ({"postgres": {"scratch_folder": "/backup/scratch"}}, "repository"),
        ({"postgres": {"scratch_folder": "/etc"}}, "postgres.scratch_folder"),
    ],
)
def test_what_a_cronjob_cannot_do_is_refused(changed: dict[str, Any], option: str) -> None:
    if not option:
        wish(**changed)
        return
    with pytest.raises(Invalid) as refusal:
        wish(**changed)
    assert refusal.value.subject == option
    assert refusal.value.hint


def test_the_pod_may_nothing_and_has_what_it_needs(documents: Documents) -> None:
    spec = documents.cronjob["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"], spec["suspend"]) == ("30 2 * * *", "Etc/UTC", "Forbid", False)
    assert (spec["startingDeadlineSeconds"], spec["jobTemplate"]["spec"]["activeDeadlineSeconds"]) == (int(DAY), int(12 * HOUR) + 600)
    made = spec["jobTemplate"]["spec"]["template"]["spec"]
    container = made["containers"][0]
    assert (made["automountServiceAccountToken"], made["serviceAccountName"], made["restartPolicy"]) == (False, "paas-hardening-backup", "Never")
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert set(container["resources"]) == {"requests", "limits"}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert (mounts["/backup"], mounts["/tmp"], mounts["/var/tmp"]) == ("repository", "scratch", "scratch")
    volumes = {volume["name"]: volume for volume in made["volumes"]}
    assert volumes["kept"]["emptyDir"]["medium"] == "Memory"
    # A run reads its token once, at its beginning.
    assert volumes["identity"]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] > spec["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    given = json.loads(base64.b64decode(documents.secret["data"]["options.json"]))
    assert given["options"]["signing_key_file"] == "/paas/kept/signing-key"
    assert given["options"]["older_key_files"] == ["/paas/kept/older-key-0"]
    assert (given["options"]["cluster"]["namespace"], given["options"]["cluster"]["kubeconfig"]) == (NAMESPACE, "/paas/kept/kubeconfig")
    assert "schedule" not in given["options"]


def test_the_trial_is_the_same_pod_that_only_looks(documents: Documents) -> None:
    names = names_of(options()["schedule"])
    trial = documents.trial(names)
    run = documents.cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    tried = trial["spec"]["template"]["spec"]
    assert tried["containers"][0].pop("command") == [*run["containers"][0]["command"], "--look"]
    assert tried == {**run, "containers": [{key: value for key, value in run["containers"][0].items() if key != "command"}]}
    # It is no run: what looks for runs does not find it.
    wanted = dict(part.split("=") for part in names.selector().split(","))
    assert not wanted.items() <= trial["metadata"]["labels"].items()
    assert wanted.items() <= documents.cronjob["spec"]["jobTemplate"]["metadata"]["labels"].items()


def test_a_new_schedule_shows_no_secret(documents: Documents) -> None:
    plan = planned(documents, None, None)
    assert [change.ref.kind for change in plan.changes] == ["Secret", "CronJob"]
    told = json.dumps([plan.as_data(), plan.as_diff()])
    assert [value for value in documents.secret["data"].values() if value in told] == []
    assert SECRET.decode() not in told


def test_what_is_as_it_has_to_be_is_left_alone(documents: Documents, program: bytes) -> None:
    secret, cronjob = live(documents.secret), live(documents.cronjob)
    assert planned(documents, secret, cronjob).changes == ()
    # Where it may run is nobody's here.
    pod_spec(cronjob).update(nodeSelector={"disk": "fast"}, tolerations=[{"operator": "Exists"}], priorityClassName="low")
    # Another zlib packs the same program in other bytes.
    secret["data"][PROGRAM] = base64.b64encode(program).decode()
    assert secret["data"][PROGRAM] != documents.secret["data"][PROGRAM]
    assert planned(documents, secret, cronjob).changes == ()


def pod_spec(cronjob: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


def container_of(cronjob: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod_spec(cronjob)["containers"][0]
    return found


POD = "spec.jobTemplate.spec.template.spec"
CONTAINER = f"{POD}.containers[backup]"


@pytest.mark.parametrize(
    ("spoil", "fields"),
    [
        (lambda entry: entry["spec"].update(suspend=True), ["spec.suspend"]),
        (lambda entry: entry["spec"].update(schedule="0 0 1 1 *"), ["spec.schedule"]),
        (lambda entry: entry["spec"].pop("timeZone"), ["spec.timeZone"]),
        (lambda entry: entry["spec"].update(concurrencyPolicy="Allow"), ["spec.concurrencyPolicy"]),
        (lambda entry: entry["metadata"]["annotations"].pop(PROVED), [f'metadata.annotations["{PROVED}"]']),
        (lambda entry: container_of(entry).update(image="another:1"), [f"{CONTAINER}.image"]),
        (lambda entry: container_of(entry).update(command=["true"]), [f"{CONTAINER}.command"]),
        (lambda entry: container_of(entry).update(args=["more"]), [f"{CONTAINER}.args"]),
        (lambda entry: container_of(entry)["securityContext"].update(privileged=True), [f"{CONTAINER}.securityContext.privileged"]),
        (lambda entry: container_of(entry)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]), [f"{CONTAINER}.securityContext.capabilities.add"]),
        (lambda entry: container_of(entry)["env"].append({"name": "PGHOST", "value": "x"}), [f"{CONTAINER}.env[PGHOST]"]),
        (lambda entry: pod_spec(entry).update(hostNetwork=True), [f"{POD}.hostNetwork"]),
        (lambda entry: pod_spec(entry).update(serviceAccountName="default"), [f"{POD}.serviceAccountName"]),
        (lambda entry: pod_spec(entry)["containers"].append({"name": "second", "image": "another:1"}), [f"{POD}.containers[second]"]),
        (
            lambda entry: pod_spec(entry)["volumes"][3].update(emptyDir=pod_spec(entry)["volumes"][3].pop("persistentVolumeClaim") and {}),
            [f"{POD}.volumes[repository].persistentVolumeClaim", f"{POD}.volumes[repository].emptyDir"],
        ),
        (
            lambda entry: pod_spec(entry)["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"].update(expirationSeconds=600),
            [f"{POD}.volumes[identity].projected.sources"],
        ),
    ],
)
def test_what_somebody_changed_is_seen_field_by_field(documents: Documents, spoil: Callable[[dict[str, Any]], Any], fields: list[str]) -> None:
    cronjob = live(documents.cronjob)
    spoil(cronjob)
    plan = planned(documents, live(documents.secret), cronjob)
    assert [change.field for change in plan.changes] == fields
    assert all(change.why for change in plan.changes)
    assert list(plan.versions.values()) == ["7"]
    # The server takes it in one patch.
    assert strategic_patch("CronJob", plan.changes)


def test_a_changed_secret_is_seen_and_not_shown(documents: Documents) -> None:
    secret = live(documents.secret)
    secret["data"].update({"options.json": base64.b64encode(b"planted").decode(), "more": base64.b64encode(b"unasked").decode()})
    del secret["data"]["signing-key"]
    plan = planned(documents, secret, live(documents.cronjob))
    assert [change.path[-1] for change in plan.changes] == ["options.json", "signing-key", "more"]
    told = json.dumps([plan.as_data(), plan.as_diff()])
    assert [value for value in (*documents.secret["data"].values(), *secret["data"].values()) if value in told] == []


def test_what_somebody_else_made_is_refused(documents: Documents) -> None:
    foreign = live(documents.cronjob)
    del foreign["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    with pytest.raises(Refused, match="is not of this collection"):
        planned(documents, None, foreign)
    refs = names_of(options()["schedule"]).refs(NAMESPACE)
    with pytest.raises(Refused, match="is not of this collection"):
        removal(refs, (None, foreign))


def test_it_goes_in_the_order_in_which_nothing_is_missed(documents: Documents) -> None:
    refs = names_of(options()["schedule"]).refs(NAMESPACE)
    plan = removal(refs, (live(documents.secret), live(documents.cronjob)))
    assert [(change.ref.kind, change.after) for change in plan.changes] == [("CronJob", ABSENT), ("Secret", ABSENT)]
    told = json.dumps([plan.as_data(), plan.as_diff()])
    assert [value for value in documents.secret["data"].values() if value in told] == []
    assert removal(refs, (None, None)) == Plan()


@pytest.mark.parametrize(
    "changed",
    [{"schedule": {"image": "registry.example.test/backup:2"}}, {"schedule": {"timeout": "1h"}}, {"kinds": ["secrets"]}, {"max_age": "10h"}],
    ids=["image", "time", "kinds", "age"],
)
def test_another_pod_has_to_be_tried_again(documents: Documents, program: bytes, changed: dict[str, Any]) -> None:
    other = wish(**changed).documents(program, NAMESPACE, "hephy")
    assert other.cronjob["metadata"]["annotations"] != documents.cronjob["metadata"]["annotations"]
    same = wish().documents(compressed(program), NAMESPACE, "hephy")
    assert same.cronjob["metadata"]["annotations"] == documents.cronjob["metadata"]["annotations"]


def test_too_much_for_a_secret_is_refused(program: bytes) -> None:
    many = files_of(SECRET, [os.urandom(4096) for _number in range(256)])
    with pytest.raises(Refused, match="a Secret holds 1048576"):
        cron_wish_of(options(), scheduling.ARGUMENTS, many).documents(program, NAMESPACE, "hephy")


def test_the_program_fits_and_starts_without_ansible(program: bytes, tmp_path: Path) -> None:
    packed = compressed(program)
    assert len(packed) < 512 << 10
    assert digest_of(packed) == digest_of(program) != ""
    assert digest_of(b"PK no program") == digest_of(packed[:1000]) == ""
    # The very steps of the pod, in folders that are there: copied for this user alone, then started from the copy.
    given, kept = tmp_path / "given", tmp_path / "kept"
    for folder in (given, kept):
        folder.mkdir()
    (given / "program").write_bytes(packed)
    (given / "..data").symlink_to(given)
    (given / "signing-key").write_bytes(SECRET)
    (given / "signing-key").chmod(0o440)
    (tmp_path / "backup").mkdir()
    pod.settle(str(given), str(kept))
    assert sorted(path.name for path in kept.iterdir()) == ["program", "signing-key"]
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o600}
    main = f"import sys; sys.path.insert(0, sys.argv[1]); from {pod.__name__} import READY; print(READY)"
    said = subprocess.run([sys.executable, "-I", "-c", main, str(kept / "program")], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "ready\n"), said.stderr


def test_last_words_are_short_enough_and_said_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "last"
    assert pod.last_words(["first", "x" * 5000], 3, str(path)) == 3
    assert len(path.read_bytes()) == LONGEST_LAST_WORDS
    assert capsys.readouterr().out.startswith("first\n")
    assert pod.last_words(["ready"], 0, str(tmp_path / "not" / "there")) == 0


def job(name: str, hour: int, condition: str) -> dict[str, Any]:
    conditions = [{"type": condition, "status": "True"}] if condition else []
    created = f"2025-11-24T{hour:02}:00:00Z"
    status = {"conditions": conditions, "active": 0 if condition else 1, **({"completionTime": created} if condition == "Complete" else {})}
    return {"kind": "Job", "metadata": {"name": name, "creationTimestamp": created}, "spec": {}, "status": status}


@pytest.mark.parametrize(
    ("changed", "jobs", "message", "words"),
    [
        ({}, [job("one", 2, "Complete")], "", []),
        ({}, [], "", []),
        ({"suspend": True}, [job("one", 2, "Complete")], "", ["suspended"]),
        ({}, [job("one", 1, "Complete"), job("two", 2, "Failed")], "it was full", ["began at 2025-11-24T02:00:00Z failed: it was full"]),
        ({}, [job("one", 1, "Failed"), job("two", 2, "Complete")], "", []),
    ],
    ids=["well", "not yet", "suspended", "failed", "better"],
)
def test_what_is_wrong_with_it_is_said(documents: Documents, changed: dict[str, Any], jobs: list[dict[str, Any]], message: str, words: list[str]) -> None:
    cronjob = live(documents.cronjob)
    cronjob["spec"].update(changed)
    names = names_of(options()["schedule"])
    found = problems_of(names, CronLive(live(documents.secret), cronjob, tuple(jobs), message), DAY, NOW)
    assert len(found) == len(words), found
    assert [word for word, problem in zip(words, found, strict=True) if word not in problem.what] == []


def test_silence_is_a_problem(documents: Documents) -> None:
    names = names_of(options()["schedule"])
    seen = CronLive(live(documents.secret), live(documents.cronjob), (job("one", 2, "Complete"),))
    assert problems_of(names, seen, DAY, NOW + 10 * HOUR) == []
    assert [problem.what for problem in problems_of(names, seen, DAY, NOW + 30 * HOUR)] == ["the last run that succeeded ended 44.0 h ago"]
    never = CronLive(live(documents.secret), live(documents.cronjob))
    assert [problem.what for problem in problems_of(names, never, DAY, NOW + 40 * HOUR)] == ["no run has succeeded for 40.0 h"]
    assert "no such schedule" in problems_of(names, CronLive(None, None), DAY, NOW)[0].what


def test_the_result_tells_a_schedule(documents: Documents) -> None:
    names = names_of(options()["schedule"])
    told = as_data(names, NAMESPACE, CronLive(live(documents.secret), live(documents.cronjob), (job("one", 1, "Complete"), job("two", 2, ""))))
    assert told == {
        "cronjob": "paas-hardening-backup-platform",
        "namespace": NAMESPACE,
        "on_calendar": "30 2 * * *",
        "enabled": True,
        "running": True,
        "scheduled": "2025-11-24T02:30:00Z",
        "succeeded": "2025-11-24T01:00:00Z",
        "outcome": "running",
        "message": "",
    }
    gone = as_data(names, NAMESPACE, CronLive(None, None))
    assert (gone["enabled"], gone["succeeded"]) == (False, "")


def test_keys_are_read_where_the_task_runs(tmp_path: Path) -> None:
    from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_job import CronSchedule

    given = options(signing_key_file=key_file(tmp_path), older_key_files=[key_file(tmp_path, "older")])
    assert CronSchedule(given, True)
    with pytest.raises(Invalid, match="older_key_files"):
        CronSchedule({**given, "older_key_files": [str(tmp_path / "none")]}, True)
