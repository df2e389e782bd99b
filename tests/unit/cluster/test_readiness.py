"""Ready, on its way or failed: a table for each kind. Waiting for real workloads is proved in tests/integration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.readiness import readiness_of, selector_of

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def workload(kind: str, spec: dict[str, Any], status: dict[str, Any], generation: int = 2) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "w", "generation": generation}, "spec": spec, "status": {"observedGeneration": 2, **status}}


def condition(kind: str, status: str, reason: str = "", message: str = "", since: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}


def pod(*states: dict[str, Any], **status: Any) -> dict[str, Any]:
    containers = [{"name": f"c{number}", "state": state, "restartCount": state.pop("restarts", 0)} for number, state in enumerate(states)]
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Pending", "containerStatuses": containers, **status}}


def replicas(total: int, updated: int, available: int, **more: Any) -> dict[str, Any]:
    return {"replicas": total, "updatedReplicas": updated, "availableReplicas": available, **more}


LATE = {"conditions": [condition("Progressing", "False", "ProgressDeadlineExceeded")]}


@pytest.mark.parametrize(
    ("spec", "status", "generation", "state", "reason"),
    [
        ({"replicas": 2}, replicas(2, 2, 2), 2, "ready", "2 of 2"),
        ({}, replicas(1, 1, 1), 2, "ready", "1 of 1"),
        ({"replicas": 0}, {}, 2, "ready", "0 of 0"),
        ({"replicas": 2}, replicas(2, 2, 2), 3, "progressing", "not seen"),
        ({"replicas": 2}, {"observedGeneration": None}, 1, "progressing", "not seen"),
        ({"replicas": 2}, replicas(2, 1, 2), 2, "progressing", "1 of 2 replicas updated"),
        ({"replicas": 2}, replicas(3, 2, 3), 2, "progressing", "1 old replicas"),
        ({"replicas": 2}, replicas(2, 2, 1), 2, "progressing", "1 of 2 replicas available"),
        ({"replicas": 1}, replicas(2, 2, 2), 2, "progressing", "available"),
        ({"replicas": 2}, replicas(2, 2, 1, **LATE), 2, "failed", "ProgressDeadlineExceeded"),
        ({"replicas": 2}, replicas(2, 2, 2, **LATE), 2, "ready", ""),
        ({"replicas": 2}, replicas(2, 2, 1, **LATE), 3, "progressing", "not seen"),
        ({"replicas": 2}, {"conditions": [condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota: q, used")]}, 2, "failed", "the ResourceQuota q"),
        ({"replicas": 2}, {"conditions": [condition("ReplicaFailure", "True", "FailedCreate", "secret words")]}, 2, "failed", "cannot be created"),
        ({"replicas": 2, "paused": True}, replicas(2, 0, 2), 2, "failed", "paused"),
    ],
)
def test_deployment(spec: dict[str, Any], status: dict[str, Any], generation: int, state: str, reason: str) -> None:
    verdict = readiness_of(workload("Deployment", spec, status, generation))
    assert verdict.state == state
    assert reason in verdict.reason
    assert "secret" not in verdict.reason


@pytest.mark.parametrize(
    ("spec", "status", "state"),
    [
        ({"replicas": 2}, {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "updateRevision": "b", "currentRevision": "b"}, "ready"),
        ({"replicas": 2}, {"replicas": 2, "readyReplicas": 2, "updateRevision": "b", "currentRevision": "b"}, "ready"),
        ({"replicas": 2}, {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b", "currentRevision": "a"}, "progressing"),
        ({"replicas": 2}, {"replicas": 2, "readyReplicas": 1, "updatedReplicas": 2, "updateRevision": "b", "currentRevision": "b"}, "progressing"),
        ({"replicas": 1}, {"replicas": 2, "readyReplicas": 2, "updateRevision": "b", "currentRevision": "b"}, "progressing"),
        (
            {"replicas": 2, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}},
            {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b", "currentRevision": "a"},
            "ready",
        ),
        (
            {"replicas": 2, "updateStrategy": {"type": "OnDelete"}},
            {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 0, "updateRevision": "b", "currentRevision": "a"},
            "ready",
        ),
    ],
)
def test_stateful_set(spec: dict[str, Any], status: dict[str, Any], state: str) -> None:
    assert readiness_of(workload("StatefulSet", spec, status)).state == state


@pytest.mark.parametrize(
    ("spec", "status", "state"),
    [
        ({}, {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}, "ready"),
        ({}, {"desiredNumberScheduled": 3, "updatedNumberScheduled": 2, "numberAvailable": 3}, "progressing"),
        ({}, {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}, "progressing"),
        ({"updateStrategy": {"type": "OnDelete"}}, {"desiredNumberScheduled": 3, "updatedNumberScheduled": 0, "numberAvailable": 3}, "ready"),
        ({}, {"desiredNumberScheduled": 0}, "ready"),
    ],
)
def test_daemon_set(spec: dict[str, Any], status: dict[str, Any], state: str) -> None:
    assert readiness_of(workload("DaemonSet", spec, status)).state == state


@pytest.mark.parametrize(
    ("kind", "spec", "conditions", "state"),
    [
        ("Job", {}, [condition("Complete", "True")], "ready"),
        ("Job", {}, [condition("Failed", "True", "BackoffLimitExceeded")], "failed"),
        ("Job", {}, [condition("FailureTarget", "True", "PodFailurePolicy")], "failed"),
        ("Job", {}, [], "progressing"),
        ("Job", {"suspend": True}, [], "failed"),
        ("CustomResourceDefinition", {}, [condition("Established", "True")], "ready"),
        ("CustomResourceDefinition", {}, [condition("Established", "False"), condition("NamesAccepted", "False", "ListKindConflict")], "failed"),
        ("CustomResourceDefinition", {}, [], "progressing"),
        ("ConfigMap", {}, [], "ready"),
    ],
)
def test_other_kinds(kind: str, spec: dict[str, Any], conditions: list[dict[str, Any]], state: str) -> None:
    assert readiness_of(workload(kind, spec, {"conditions": conditions})).state == state


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (pod({"waiting": {"reason": "ErrImagePull"}}), "container c0: ErrImagePull"),
        (pod({"running": {}}, {"waiting": {"reason": "ImagePullBackOff"}}), "container c1: ImagePullBackOff"),
        (pod({"waiting": {"reason": "InvalidImageName"}}), "InvalidImageName"),
        (pod({"waiting": {"reason": "CreateContainerConfigError", "message": "secret words"}}), "CreateContainerConfigError"),
        (pod({"waiting": {"reason": "CrashLoopBackOff"}}), "CrashLoopBackOff"),
        (pod({"terminated": {"exitCode": 3}, "restarts": 1}), "CrashLoopBackOff (exit code 3)"),
        (pod({"terminated": {"exitCode": 0}, "restarts": 1}), "CrashLoopBackOff (exit code 0)"),
        (pod(initContainerStatuses=[{"name": "i", "state": {"terminated": {"exitCode": 1}}, "restartCount": 1}]), "container i: CrashLoopBackOff"),
        (pod(conditions=[condition("PodScheduled", "False", "Unschedulable", since="2026-01-01T11:59:10Z")]), "no node takes it"),
    ],
)
def test_a_pod_that_will_not_start_fails_its_workload(seen: dict[str, Any], reason: str) -> None:
    verdict = readiness_of(workload("Deployment", {"replicas": 2}, replicas(2, 1, 1)), [pod({"running": {}}), seen], NOW)
    assert verdict.state == "failed"
    assert reason in verdict.reason
    assert "secret" not in verdict.reason


@pytest.mark.parametrize(
    "seen",
    [
        pod({"waiting": {"reason": "ContainerCreating"}}),
        pod({"waiting": {"reason": "PodInitializing"}}),
        pod({"terminated": {"exitCode": 1}, "restarts": 0}),
        pod(initContainerStatuses=[{"name": "i", "state": {"terminated": {"exitCode": 0}}, "restartCount": 1}]),
        pod({"running": {}, "restarts": 9}),
        pod(conditions=[condition("PodScheduled", "False", "Unschedulable", since="2026-01-01T11:59:20Z")]),
        pod(conditions=[condition("PodScheduled", "False", "SchedulingGated", since="2026-01-01T11:00:00Z")]),
    ],
)
def test_a_pod_that_still_may_start_does_not(seen: dict[str, Any]) -> None:
    assert readiness_of(workload("Deployment", {"replicas": 2}, replicas(2, 1, 1)), [seen], NOW).state == "progressing"


def test_pods_are_not_looked_at_when_the_workload_is_ready() -> None:
    broken = pod({"waiting": {"reason": "CrashLoopBackOff"}})
    assert readiness_of(workload("Deployment", {"replicas": 2}, replicas(2, 2, 2)), [broken], NOW).state == "ready"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"phase": "Succeeded"}, "ready"),
        ({"phase": "Running", "conditions": [condition("Ready", "True")]}, "ready"),
        ({"phase": "Running", "conditions": [condition("Ready", "False")]}, "progressing"),
        ({"phase": "Failed", "reason": "Evicted"}, "failed"),
        ({"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ErrImagePull"}}}]}, "failed"),
        ({}, "progressing"),
    ],
)
def test_pod(status: dict[str, Any], state: str) -> None:
    assert readiness_of({"kind": "Pod", "metadata": {"name": "p"}, "status": status}).state == state


def test_selector() -> None:
    rules = [{"key": "a", "operator": "In", "values": ["x", "y"]}, {"key": "b", "operator": "Exists"}, {"key": "c", "operator": "DoesNotExist"}]
    spec = {"selector": {"matchLabels": {"app": "w", "tier": "z"}, "matchExpressions": rules}}
    assert selector_of(workload("Deployment", spec, {})) == "app=w,tier=z,a in (x,y),b,!c"
    assert selector_of(workload("Deployment", {}, {})) == ""
