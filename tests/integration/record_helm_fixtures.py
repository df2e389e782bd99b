"""Writes tests/unit/helm/fixtures: records of releases that real helms made, live objects, and what real upgrades did to every listed change.

Run by hand when helm, the chart charts/probe or the list of changes is new, with the name of a lab that is up:

    python -m tests.integration.record_helm_fixtures LAB
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path as File
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection, connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from lab.cluster import Cluster
from tests.integration.live_changes import CHANGES
from tests.integration.probe_release import ProbeRelease
from tests.integration.test_upgrade_truth import EVERY_COPY, WAYS, let_go, opened, release_of, try_listed_changes, what_happened

FIXTURES = File(__file__).parents[1] / "unit" / "helm" / "fixtures"
# Other than these, metadata differs from run to run and says nothing about helm.
KEPT_METADATA = ("name", "namespace", "labels", "annotations", "managedFields")


def record(cluster: Cluster, connection: Connection) -> None:
    truth: dict[str, dict[str, str]] = {}
    for number, way in enumerate(WAYS):
        name = f"recorded-{os.getpid()}-{number}"
        connection.request("POST", "/api/v1/namespaces", body={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        with tempfile.TemporaryDirectory() as folder, opened(way, cluster, connection, name, File(folder), print) as probe:
            truth[way] = happened(probe, way)
        connection.request("DELETE", f"/api/v1/namespaces/{name}")
        fixed = f"fixture-{way.replace(', ', '-').replace(' ', '')}"
        connection.request("POST", "/api/v1/namespaces", body={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": fixed}})
        with tempfile.TemporaryDirectory() as folder, opened(way, cluster, connection, fixed, File(folder), print) as probe:
            probe.install({"mode": "enabled", "inner": {"nested": {"drop": None}}})
            if way == "helm 3, then 4":
                probe.upgrade()
            write(fixed.removeprefix("fixture-"), {"record": newest_record(connection, fixed), "values": probe.computed_values(), "lives": lives(probe)})
        connection.request("DELETE", f"/api/v1/namespaces/{fixed}")
    write("truth", truth)


def happened(probe: ProbeRelease, way: str) -> dict[str, str]:
    probe.install(EVERY_COPY)
    if WAYS[way][1][0] != WAYS[way][2][0]:
        probe.upgrade()
    trials = try_listed_changes(probe, release_of(probe))
    complaint = probe.upgrade()
    results = {trial.about: what_happened(probe, trial, complaint) for trial in trials}
    let_go(probe, trials)
    return results


def newest_record(connection: Connection, namespace: str) -> dict[str, Any]:
    found = [
        entry
        for kind in ("Secret", "ConfigMap")
        for labels in ("owner=helm,status=deployed", "OWNER=TILLER,STATUS=DEPLOYED")
        for entry in Objects(connection).list(kind, namespace=namespace, labels=labels)
    ]
    return slim(found[0])


def lives(probe: ProbeRelease) -> list[dict[str, Any]]:
    targets = sorted({change.target for change in CHANGES})
    return [slim(probe.read(probe.ref(api_version, kind, f"{name}-0"))) for api_version, kind, name in targets]


def slim(document: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in document["metadata"].items() if key in KEPT_METADATA}
    for entry in metadata.get("managedFields", ()):
        entry.pop("time", None)
    return {**{key: value for key, value in document.items() if key != "status"}, "metadata": metadata}


def write(name: str, content: Any) -> None:
    FIXTURES.mkdir(exist_ok=True)
    (FIXTURES / f"{name}.json").write_text(json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    lab = Cluster(sys.argv[1])
    record(lab, connect({"kubeconfig": str(lab.kubeconfig)}))
