"""Workloads for tests on a real cluster, made of the one image that every lab has."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Path, Plan, Ref, look, ref_of, same

IMAGE = "lab.local/base:1"
SLEEP = ["sleep", "1000"]
_numbers = itertools.count(1)


@contextlib.contextmanager
def namespace(objects: Objects) -> Iterator[str]:
    """Make a namespace in which pods can be made, and delete it afterwards."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    create(objects, plain("v1", "Namespace", "", name))
    end = time.monotonic() + 30
    while objects.find("ServiceAccount", "default", name) is None:
        assert time.monotonic() < end, "the controller-manager makes no service accounts"
        time.sleep(0.1)
    try:
        yield name
    finally:
        objects.connection.request("DELETE", f"/api/v1/namespaces/{name}")


def container(command: list[str], image: str = IMAGE, **fields: Any) -> dict[str, Any]:
    return {"name": "main", "image": image, "command": command, **fields}


def workload(kind: str, namespace: str, name: str, first: dict[str, Any], replicas: int = 1, **pod: Any) -> dict[str, Any]:
    """A Deployment, StatefulSet, DaemonSet or Job with one container."""
    template = {"metadata": {"labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [first], **pod}}
    spec: dict[str, Any] = {"template": template}
    if kind != "Job":
        spec["selector"] = {"matchLabels": {"app": name}}
    if kind in ("Deployment", "StatefulSet"):
        spec["replicas"] = replicas
    if kind == "StatefulSet":
        spec["serviceName"] = name
    version = "batch/v1" if kind == "Job" else "apps/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def plain(api_version: str, kind: str, namespace: str, name: str, **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def changes_for(live: dict[str, Any], wanted: Iterable[tuple[Path, Any]]) -> Plan:
    """Plan the fields (path, value) of a live object that are not as wanted, under the version in which it was read."""
    ref, changes = ref_of(live), []
    for path, value in wanted:
        found = look(live, path)
        if found is not value and (found is ABSENT or value is ABSENT or not same(found, value)):
            changes.append(Change(ref, path, found, value, "a test wants it"))
    return Plan(tuple(changes), {ref: live["metadata"]["resourceVersion"]})


def create(objects: Objects, *documents: dict[str, Any]) -> list[Ref]:
    """Create objects, and return their addresses."""
    return objects.apply_plan(Plan(tuple(Change(ref_of(document), (), ABSENT, document, "a test needs it") for document in documents)))


def at_rest(objects: Objects, kind: str, name: str, namespace: str) -> dict[str, Any]:
    """Read a workload when its controller has written the status for the last time: before, every write would meet a conflict."""
    live, end = objects.get(kind, name, namespace), time.monotonic() + 20
    while True:
        time.sleep(0.3)
        again = objects.get(kind, name, namespace)
        if again["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"] and again["status"].get("observedGeneration"):
            return again
        assert time.monotonic() < end, f"{kind} {name} does not come to rest"
        live = again


def delete(objects: Objects, kind: str, name: str, namespace: str = "") -> None:
    """Delete an object as it stands now."""
    live = objects.get(kind, name, namespace)
    objects.apply_plan(Plan((Change(ref_of(live), (), live, ABSENT, "the test is over"),)))
