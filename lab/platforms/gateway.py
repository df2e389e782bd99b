"""What stands beside Drycc: the Gateway API's definitions, a GatewayClass, and the data plane that Istio's controller would make of the Gateway."""

from __future__ import annotations

import datetime
import json
import subprocess
import zipfile
from typing import TYPE_CHECKING, Any

from lab import builds, paths
from lab.errors import LabError

if TYPE_CHECKING:
    from lab.cluster import Cluster

CLASS = "istio"
GATEWAY = "drycc-gateway"
NAME = f"{GATEWAY}-{CLASS}"
CONTROLLER = "istio.io/gateway-controller"
IMAGE = "docker.io/istio/proxyv2:1.27.1"
_FIELD_MANAGER = "lab-istio"
_MODULE = "sigs.k8s.io/gateway-api"


def apply_definitions(cluster: Cluster) -> None:
    """Apply the experimental channel of the Gateway API out of its Go module, and a GatewayClass; one that is there stays."""
    if not cluster.kubectl("get", "crd", "listenersets.gateway.networking.k8s.io", "--ignore-not-found", "-o", "name").strip():
        cluster.kubectl("apply", "--server-side", "--field-manager", _FIELD_MANAGER, "-f", "-", stdin=_definitions())
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    _apply(cluster, {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": CLASS}, "spec": {"controllerName": CONTROLLER}})


def _definitions() -> str:
    """The definitions as one YAML text. Raises LabError when the module cannot be had, or is not the one that go.sum names."""
    folder = paths.GO_MODULES / "gateway-api"
    command = [builds.go(), "mod", "download", "-json", _MODULE]
    done = subprocess.run(command, cwd=folder, env=builds.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    try:
        told = json.loads(done.stdout)
    except ValueError:
        told = {}
    # a Go that is older than the module asks for loads the archive all the same, and only refuses to unpack it
    if "Zip" not in told or f"{_MODULE} {told['Version']} {told['Sum']}" not in (folder / "go.sum").read_text().splitlines():
        raise LabError(f"cannot download {_MODULE}: {told.get('Error') or done.stderr.strip()}")
    with zipfile.ZipFile(told["Zip"]) as archive:
        place = f"{_MODULE}@{told['Version']}/config/crd/experimental/gateway.networking.k8s.io_"
        # the policies beside them only guard against a change of the channel
        names = sorted(name for name in archive.namelist() if name.startswith(place) and not name.startswith(f"{place}vap_"))
        return "\n---\n".join(archive.read(name).decode() for name in names)


def apply_data_plane(cluster: Cluster, namespace: str) -> None:
    """Make the Deployment and the Service beside the Gateway, as Istio's controller would: named after Gateway and class, owned by the Gateway."""
    gateway = json.loads(cluster.kubectl("get", "gateway", GATEWAY, "-n", namespace, "-o", "json"))
    labels = {"gateway.networking.k8s.io/gateway-name": GATEWAY, "gateway.istio.io/managed": "istio.io-gateway-controller"}
    owner = {"apiVersion": gateway["apiVersion"], "kind": "Gateway", "name": GATEWAY, "uid": gateway["metadata"]["uid"]}
    metadata = {"name": NAME, "namespace": namespace, "labels": labels, "ownerReferences": [owner]}
    selector = {"gateway.networking.k8s.io/gateway-name": GATEWAY}
    ports = sorted({(listener["port"], listener["protocol"]) for listener in gateway["spec"]["listeners"]})
    _apply(
        cluster,
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        # what Istio's controller would push to the proxy: this one reads it itself
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [{"apiGroups": ["gateway.networking.k8s.io"], "resources": ["httproutes", "tcproutes"], "verbs": ["get", "list"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": "LoadBalancer",
                "selector": selector,
                "ports": [{"name": "status-port", "port": 15021}, *({"name": f"{protocol.lower()}-{port}", "port": port} for port, protocol in ports)],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": selector},
                "template": {"metadata": {"labels": labels}, "spec": {"serviceAccountName": NAME, "containers": [_container(ports)]}},
            },
        },
    )
    _tell_status(cluster, gateway)


def _tell_status(cluster: Cluster, gateway: dict[str, Any]) -> None:
    """What the controller says of the class and of the Gateway: both are accepted, the Gateway has its data plane."""
    moment = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def status(api_version: str, kind: str, metadata: dict[str, Any], generation: int, *conditions: str) -> dict[str, Any]:
        told = [
            {"type": name, "status": "True", "reason": name, "message": "", "observedGeneration": generation, "lastTransitionTime": moment}
            for name in conditions
        ]
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "status": {"conditions": told}}

    metadata = {"name": GATEWAY, "namespace": gateway["metadata"]["namespace"]}
    _apply(
        cluster,
        status(gateway["apiVersion"], "GatewayClass", {"name": CLASS}, 1, "Accepted"),
        status(gateway["apiVersion"], "Gateway", metadata, gateway["metadata"]["generation"], "Accepted", "Programmed"),
        subresource="status",
    )


def _container(ports: list[tuple[int, str]]) -> dict[str, Any]:
    return {
        "name": "istio-proxy",
        "image": IMAGE,
        "env": [{"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
        "ports": [{"name": "status-port", "containerPort": 15021}, *({"containerPort": port} for port, _protocol in ports)],
        "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}, "periodSeconds": 2},
    }


def _apply(cluster: Cluster, *documents: dict[str, Any], subresource: str | None = None) -> None:
    """Server-side apply, so that what others own (a replica count) stays theirs."""
    part = ["--subresource", subresource] if subresource else []
    cluster.kubectl("apply", "--server-side", "--field-manager", _FIELD_MANAGER, *part, "-f", "-", stdin="\n---\n".join(map(json.dumps, documents)))
