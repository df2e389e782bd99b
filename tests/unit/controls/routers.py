"""Routers, nodes, budgets and autoscalers as a cluster shows them, compact: for tests of the router control."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._controls.router_observation import Observed

Document = dict[str, Any]
LABELS = {"app": "deis-router"}
DEFAULTS: dict[str, Any] = {"replicas": None, "one_per_node": False, "maximum": 5, "spread": "soft", "disruption_budget": True}
HOST_PORTS = (80, 443)


def params(**changed: Any) -> dict[str, Any]:
    """The options of the verb with their defaults."""
    return {**DEFAULTS, **changed}


def router(replicas: int | None = 1, host_ports: tuple[int, ...] = (), strategy: Document | None = None, **pod_spec: Any) -> Document:
    """The router's Deployment as the chart renders it."""
    ports = [{"containerPort": port, "hostPort": port} for port in host_ports] or [{"containerPort": 8080}, {"containerPort": 9090}]
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spec: Document = {
        "selector": {"matchLabels": dict(LABELS)},
        "strategy": strategy or rolling,
        "template": {"metadata": {"labels": dict(LABELS)}, "spec": {"containers": [{"name": "deis-router", "image": "r:1", "ports": ports}], **pod_spec}},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    metadata = {"name": "deis-router", "namespace": "deis", "resourceVersion": "40"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def ready(state: bool = True) -> Document:
    return {"conditions": [{"type": "Ready", "status": "True" if state else "False"}]}


def node(name: str, usable: bool = True, labels: dict[str, str] | None = None, taints: list[Document] | None = None, cordoned: bool = False) -> Document:
    spec: Document = {"taints": taints} if taints else {}
    if cordoned:
        spec["unschedulable"] = True
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": ready(usable),
    }


def pod(name: str, on: str | None, usable: bool = True, host_ports: tuple[int, ...] = (), created: str = "2026-01-01T00:00:00Z", **more: Any) -> Document:
    ports = [{"containerPort": port, "hostPort": port} for port in host_ports]
    metadata = {"name": name, "namespace": "deis", "uid": f"uid-{name}", "creationTimestamp": created, "resourceVersion": "7", **more.pop("metadata", {})}
    spec: Document = {"containers": [{"name": "c", "ports": ports}], **({"nodeName": on} if on else {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {**ready(usable), "phase": "Running", **more}}


def budget(name: str = "other", selector: Any = None, allowed: int = 1, owned: bool = False, **spec: Any) -> Document:
    """A disruption budget over the routers, somebody else's unless it is owned. A selector of False is none at all."""
    labels = {"app.kubernetes.io/managed-by": "paas.hardening"} if owned else {}
    chosen = {} if selector is False else {"selector": {"matchLabels": dict(LABELS)} if selector is None else selector}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "deis", "resourceVersion": "3", "labels": labels},
        "spec": {**chosen, **(spec or {"maxUnavailable": 1})},
        "status": {"disruptionsAllowed": allowed},
    }


def autoscaler(lowest: int | None = 1, highest: int = 10) -> Document:
    spec: Document = {"maxReplicas": highest, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "deis-router"}}
    if lowest is not None:
        spec["minReplicas"] = lowest
    metadata = {"name": "routers", "namespace": "deis", "resourceVersion": "8"}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec}


def observed(workload: Document | None = None, **changed: Any) -> Observed:
    """One router on the first of two nodes, unless something else is said."""
    plain = Observed(
        workload=workload or router(),
        pods=(pod("r-1", "one"),),
        nodes=(node("one"), node("two")),
        other_pods=(),
        budgets=(),
        autoscaler=None,
        health_port=9090,
        health_path="/healthz",
    )
    return replace(plain, **{name: tuple(value) if isinstance(value, list) else value for name, value in changed.items()})


def term(key: str = "kubernetes.io/hostname", selector: Any = None, **more: Any) -> Document:
    """A term of anti-affinity, over the routers themselves unless another selector is given."""
    return {"labelSelector": {"matchLabels": dict(LABELS)} if selector is None else selector, "topologyKey": key, **more}


def soft(*terms: Document) -> Document:
    weighted = [{"weight": 1, "podAffinityTerm": entry} for entry in terms]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}


def hard(*terms: Document) -> Document:
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}
