"""Twenty objects in one task: a verb of the benchmark's own (action/fleet.py), against one task of kubernetes.core with a list of definitions."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from tests.contract.audit_log import AuditLog
from tests.perf.figures import Figure, ratio, told
from tests.perf.plays import Race, Stage

COUNT, TASKS = 20, 5
_SPACE = "bench-fleet"
_LABEL = "paas.hardening/fleet"
_CONTAINER, _VARIABLE, _VALUE = "web", "SETTING", "hardened"


def twenty_objects(stage: Stage, log: AuditLog, user: str, rounds: int, report: Callable[[str], None]) -> list[Figure]:
    """One task that asserts a field of twenty Deployments, which has nothing left to do, with either; and how many requests each sends."""
    _populate(stage)
    selection = {"label": _LABEL, "container": _CONTAINER, "variable": _VARIABLE, "value": _VALUE}
    site = {"kubeconfig": str(stage.kubeconfig), "platform": stage.platform, "namespace": _SPACE}
    ours = {"fleet": {**site, **selection, "probe": False, "durability": False}}
    theirs = {"kubernetes.core.k8s": _asserted(stage)}
    first = stage.run(stage.play("fleet-first", [ours]))
    assert first.changed == 1, "the verb found nothing to change in Deployments that had yet to be changed"
    assert stage.run(stage.play("fleet-warm", [theirs])).changed == 0, "the two do not assert the same"
    sent = {}
    for name, task in (("one task", ours), ("kubernetes.core.k8s", theirs)):
        before = len(log.requests(user))
        stage.run(stage.play("fleet-counted", [task]))
        sent[name] = len(log.requests(user)) - before
    plays = {"empty": stage.play("empty", []), "ours": stage.play("fleet", TASKS * [ours]), "kubernetes.core": stage.play("fleet-core", TASKS * [theirs])}
    race = Race({name: lambda play=play: stage.run(play) for name, play in plays.items()}).run(rounds, report)
    assert race.changes("ours") == race.changes("kubernetes.core") == 0, "the Deployments were not as they should be"
    fast, slow = race.walls("ours", "empty", TASKS), race.walls("kubernetes.core", "empty", TASKS)
    what = f"{COUNT} Deployments; the engine with a verb of the benchmark's own, since no verb takes a list yet; against one kubernetes.core.k8s with a list"
    return [
        told("20 objects in one task: kubernetes.core.k8s / in process", ratio(slow, fast), "times", what, race.raw()),
        told(
            "20 objects in one task: the same in processor time",
            ratio(race.processor("kubernetes.core", "empty"), race.processor("ours", "empty")),
            "times",
        ),
        told("20 objects in one task: in process", statistics.median(fast) * 1000, "ms per task", f"requests: {sent['one task']}"),
        told("20 objects in one task: kubernetes.core.k8s", statistics.median(slow) * 1000, "ms per task", f"requests: {sent['kubernetes.core.k8s']}"),
    ]


def _populate(stage: Stage) -> None:
    """Make the Deployments anew, without a replica, and without the setting."""
    objects = Objects(connect({"kubeconfig": str(stage.kubeconfig)}))
    if objects.find(KINDS["Namespace"], _SPACE) is None:
        objects.connection.request("POST", KINDS["Namespace"].path(), body={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _SPACE}})
    deployments = KINDS["Deployment"]
    for number in range(COUNT):
        body = _deployment(f"fleet-{number}")
        if objects.find(deployments, body["metadata"]["name"], _SPACE) is not None:
            objects.connection.request("DELETE", deployments.path(_SPACE, body["metadata"]["name"]))
        objects.connection.request("POST", deployments.path(_SPACE), body=body)


def _deployment(name: str) -> dict[str, Any]:
    containers = [{"name": _CONTAINER, "image": "example.com/web:1.0", "env": [{"name": "OTHER", "value": "1"}]}]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": _SPACE, "labels": {_LABEL: "yes"}}, "spec": spec}


def _asserted(stage: Stage) -> dict[str, Any]:
    containers = [{"name": _CONTAINER, "env": [{"name": _VARIABLE, "value": _VALUE}]}]
    definitions = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"fleet-{number}", "namespace": _SPACE},
            "spec": {"template": {"spec": {"containers": containers}}},
        }
        for number in range(COUNT)
    ]
    return {"kubeconfig": str(stage.kubeconfig), "state": "patched", "merge_type": ["strategic-merge"], "definition": definitions}
