"""Reading very many objects: 5,000 Deployments through Objects.list, against a bare paged list of the same."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from tests.perf.figures import Figure, at_most, ratio, told
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.cluster import Cluster

COUNT, NAMESPACES, PAGE = 5000, 50, 250
_LABEL = "paas.hardening/bulk"
_WAYS = ("bare", "objects")
_WRITERS = 4


def bulk_read(cluster: Cluster, rounds: int, report: Callable[[str], None]) -> list[Figure]:
    """Make the Deployments, read them all in turn with both, and compare time and memory; each reading is a process of its own."""
    readings: dict[str, list[dict[str, float]]] = {way: [] for way in _WAYS}
    with _still(cluster):
        size = _populate(cluster.kubeconfig, report)
        for way in _WAYS:
            _read(way, cluster.kubeconfig)
        for number in range(rounds):
            for way in _WAYS[:: -1 if number % 2 else 1]:
                readings[way].append(_read(way, cluster.kubeconfig))
            report("  " + ", ".join(f"{way} {readings[way][-1]['wall']:.2f} s, {readings[way][-1]['peak_mb']:.0f} MB" for way in _WAYS))
    walls = {way: [reading["wall"] for reading in readings[way]] for way in _WAYS}
    compared = ratio(walls["objects"], walls["bare"])
    peak = max(reading["peak_mb"] for reading in readings["objects"])
    what = f"{COUNT} Deployments of {size / 1000:.1f} kB in {NAMESPACES} namespaces, {PAGE} a page"
    return [
        at_most("bulk read: Objects.list / bare list", compared, "times", 1.25, what, readings),
        at_most("bulk read: peak memory of Objects.list", peak, "MB", 120),
        told("bulk read: Objects.list", statistics.median(walls["objects"]), "s"),
        told("bulk read: bare list", statistics.median(walls["bare"]), "s"),
    ]


@contextmanager
def _still(cluster: Cluster) -> Iterator[None]:
    """Without the controllers nothing is written while we read, and 5,000 Deployments set nothing in motion."""
    cluster.stop_component("kube-controller-manager")
    try:
        yield
    finally:
        cluster.start_component("kube-controller-manager")


def _populate(kubeconfig: Path, report: Callable[[str], None]) -> float:
    """Make what is missing of the Deployments; return the bytes of one as the server sends it."""
    objects = Objects(connect({"kubeconfig": str(kubeconfig)}))
    there = {item["metadata"]["name"] for item in objects.list_metadata(KINDS["Deployment"], labels=_LABEL)}
    missing = [number for number in range(COUNT) if f"bulk-{number}" not in there]
    if missing:
        report(f"  {len(missing)} Deployments are made")
        spaces = {item["metadata"]["name"] for item in objects.list_metadata(KINDS["Namespace"], labels=_LABEL)}
        for name in sorted({_namespace(number) for number in missing} - spaces):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {_LABEL: "yes"}}}
            objects.connection.request("POST", "/api/v1/namespaces", body=body)
        own = threading.local()

        def make(number: int) -> None:
            if not hasattr(own, "connection"):
                own.connection = connect({"kubeconfig": str(kubeconfig)})
            own.connection.request("POST", f"/apis/apps/v1/namespaces/{_namespace(number)}/deployments", body=_deployment(number))

        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(make, missing))
    return statistics.mean(len(json.dumps(item, separators=(",", ":"))) for item in objects.list(KINDS["Deployment"], namespace="bulk-0", managed_fields=True))


def _namespace(number: int) -> str:
    return f"bulk-{number % NAMESPACES}"


def _deployment(number: int) -> dict[str, Any]:
    """A Deployment as charts write them: two containers with variables, probes and limits. Paused and without a replica, it makes nothing."""
    name = f"bulk-{number}"
    metadata = {"name": name, "labels": {_LABEL: "yes", "app": name}, "annotations": {f"example.com/note-{index}": 40 * "n" for index in range(4)}}
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "timeoutSeconds": 2}
    containers = [
        {
            "name": container,
            "image": f"example.com/{container}:1.0",
            "env": [{"name": f"SETTING_{index}", "value": f"value {index} of {name}"} for index in range(12)],
            "ports": [{"containerPort": 8080, "name": container}],
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
            "livenessProbe": probe,
            "readinessProbe": probe,
            "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        }
        for container in ("web", "beside")
    ]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers, "volumes": [{"name": "scratch", "emptyDir": {}}]}}
    spec = {"replicas": 0, "paused": True, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _read(way: str, kubeconfig: Path) -> dict[str, float]:
    answer = subprocess.run(
        [sys.executable, "-m", "tests.perf.bulk_reader", way, str(kubeconfig), str(PAGE)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if answer.returncode:
        raise RuntimeError(f"the bulk reader failed:\n{answer.stderr[-2000:]}")
    reading: dict[str, float] = json.loads(answer.stdout)
    assert reading["count"] >= COUNT, f"{way} read {reading['count']} Deployments of {COUNT}"
    return reading
