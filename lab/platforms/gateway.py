"""What stands beside Drycc: the Gateway API's definitions, a GatewayClass, and the data plane that Istio's controller would make of the Gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lab import builds
from lab.progress import silent

if TYPE_CHECKING:
    from lab.cluster import Cluster

CLASS = "istio"
GATEWAY = "drycc-gateway"
NAME = f"{GATEWAY}-{CLASS}"
CONTROLLER = "istio.io/gateway-controller"
IMAGE = "docker.io/istio/proxyv2:1.27.1"
_FIELD_MANAGER = "lab-istio"


def apply_definitions(cluster: Cluster) -> None:
    """Apply the experimental channel of the Gateway API out of its Go module, and a GatewayClass; one that is there stays."""
    if not cluster.kubectl("get", "crd", "listenersets.gateway.networking.k8s.io", "--ignore-not-found", "-o", "name").strip():
        folder = builds.module_source("gateway-api", "sigs.k8s.io/gateway-api", silent) / "config" / "crd" / "experimental"
        files = [argument for path in sorted(folder.glob("gateway.networking.k8s.io_*.yaml")) if "_vap_" not in path.name for argument in ("-f", str(path))]
        cluster.kubectl("apply", "--server-side", "--field-manager", _FIELD_MANAGER, *files)
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    _apply(cluster, {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": CLASS}, "spec": {"controllerName": CONTROLLER}})


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


def _container(ports: list[tuple[int, str]]) -> dict[str, Any]:
    return {
        "name": "istio-proxy",
        "image": IMAGE,
        "env": [{"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
        "ports": [{"name": "status-port", "containerPort": 15021}, *({"containerPort": port} for port, _protocol in ports)],
        "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}, "periodSeconds": 2},
    }


def _apply(cluster: Cluster, *documents: dict[str, Any]) -> None:
    """Server-side apply, so that what others own (a replica count) stays theirs."""
    cluster.kubectl("apply", "--server-side", "--field-manager", _FIELD_MANAGER, "-f", "-", stdin="\n---\n".join(map(json.dumps, documents)))
