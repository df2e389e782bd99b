"""KWOK nodes: they report as nodes do and claim to run what is put on them, for tests of scale. Nothing there answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab import builds, paths
from lab.addresses import zone
from lab.layout import Layout

TAINT = "kwok.x-k8s.io/node"
_STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")


def _stages() -> str:
    folder = builds.module_source("tools", "sigs.k8s.io/kwok") / "kustomize" / "stage"
    files = [file for stage in _STAGES for file in sorted((folder / stage).glob("*.yaml")) if file.name != "kustomization.yaml"]
    return "---\n".join(file.read_text().rstrip("\n") + "\n" for file in files)


def arguments(layout: Layout) -> list[str]:
    """Write KWOK's stages (it has none of its own) and return its arguments."""
    stages: Path = layout.node(1) / "kwok-stages.yaml"
    paths.write(stages, _stages())
    return [
        f"--kubeconfig={layout.authority.kubeconfig('kwok')}",
        f"--config={stages}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-label-selector=type=kwok",
        f"--cidr={layout.addresses.kwok_pods}",
        f"--node-ip={layout.addresses.node(1)}",
        "--node-lease-duration-seconds=40",
        "--server-address=127.0.0.1:10247",
        "--v=WARN",
    ]


def nodes(count: int) -> list[dict[str, Any]]:
    """The Node objects; their taint keeps everything off that does not ask for them."""
    room = {"cpu": "32", "memory": "256Gi", "pods": "1000"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"kwok-{number}",
                "annotations": {TAINT: "fake"},
                "labels": {
                    "type": "kwok",
                    "kubernetes.io/hostname": f"kwok-{number}",
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    "node.kubernetes.io/exclude-from-external-load-balancers": "true",
                    "topology.kubernetes.io/zone": zone(number),
                },
            },
            "spec": {"taints": [{"key": TAINT, "value": "fake", "effect": "NoSchedule"}]},
            "status": {"capacity": room, "allocatable": room},
        }
        for number in range(1, count + 1)
    ]
