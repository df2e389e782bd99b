"""Kubernetes objects reduced to what a shape table holds: names, labels, annotations, environment, ports, probes, mounts, keys, rights, hooks."""

from __future__ import annotations

from typing import Any

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job")
_RBAC = "rbac.authorization.k8s.io"


def name_of(document: dict[str, Any]) -> str:
    """Kind/name, as the tables have it."""
    return f"{document['kind']}/{document['metadata']['name']}"


def reduced(document: dict[str, Any]) -> dict[str, Any]:
    """What the table says of an object. What is empty is left out."""
    kind, metadata = document["kind"], document["metadata"]
    shape: dict[str, Any] = {"labels": metadata.get("labels"), "annotations": metadata.get("annotations")}
    if kind in WORKLOADS:
        shape |= _workload(kind, document["spec"])
    elif kind == "Service":
        shape |= _service(document["spec"])
    elif kind in ("Secret", "ConfigMap"):
        shape["keys"] = sorted(document.get("data") or ())
        shape["type"] = document.get("type")
    elif kind in ("Role", "ClusterRole"):
        shape["rules"] = [_rule(rule) for rule in document["rules"]]
    elif kind in ("RoleBinding", "ClusterRoleBinding"):
        shape["role"] = document["roleRef"]["name"]
        shape["subjects"] = [subject["name"] for subject in document["subjects"]]
    elif kind == "MutatingWebhookConfiguration":
        fields = ("name", "failurePolicy", "rules", "objectSelector")
        shape["webhooks"] = [{field: hook[field] for field in fields} for hook in document["webhooks"]]
    elif "spec" in document:
        shape["spec"] = document["spec"]
        if kind != "PodDisruptionBudget":
            shape["version"] = document["apiVersion"]
    return {key: value for key, value in shape.items() if value not in (None, {}, [])}


def _rule(rule: dict[str, Any]) -> str:
    return "|".join((",".join(rule.get("apiGroups", [])), ",".join(rule.get("resources", [])), ",".join(rule["verbs"])))


def _service(spec: dict[str, Any]) -> dict[str, Any]:
    ports = [f"{port.get('name', '')} {port['port']}->{port['targetPort']}".strip() for port in spec.get("ports", ())]
    return {"type": spec.get("type", "ClusterIP"), "selector": spec.get("selector"), "ports": ports, "headless": spec.get("clusterIP") == "None" or None}


def _workload(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    schedule = spec.get("schedule")
    if kind == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template = spec["template"]
    pod, metadata = template["spec"], template.get("metadata") or {}
    volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
    volumes |= {claim["metadata"]["name"]: {"claim": {}} for claim in spec.get("volumeClaimTemplates", ())}
    containers = {}
    for init, group in ((True, "initContainers"), (False, "containers")):
        for container in pod.get(group, ()):
            containers[container["name"]] = ({"init": True} if init else {}) | _container(container, volumes)
    return {
        "replicas": spec.get("replicas"),
        "schedule": schedule,
        "strategy": _strategy(spec.get("strategy") or spec.get("updateStrategy")),
        "selector": spec.get("selector", {}).get("matchLabels"),
        "pod_labels": metadata.get("labels"),
        "pod_annotations": metadata.get("annotations"),
        "account": pod.get("serviceAccountName"),
        "host_network": pod.get("hostNetwork") or None,
        "containers": containers,
    }


def _strategy(strategy: dict[str, Any] | None) -> str | None:
    if not strategy:
        return None
    numbers = strategy.get("rollingUpdate")
    return str(strategy["type"]) + (f" {numbers['maxSurge']}/{numbers['maxUnavailable']}" if numbers else "")


def _container(container: dict[str, Any], volumes: dict[str, Any]) -> dict[str, Any]:
    mounts = {mount["mountPath"]: _volume(volumes[mount["name"]]) + (" ro" if mount.get("readOnly") else "") for mount in container.get("volumeMounts", ())}
    shape = {
        "image": container["image"],
        "pull": container.get("imagePullPolicy"),
        "command": container.get("command"),
        "args": container.get("args"),
        "env": {entry["name"]: _value(entry) for entry in container.get("env", ())},
        "ports": [_port(port) for port in container.get("ports", ())],
        "ready": _probe(container.get("readinessProbe")),
        "live": _probe(container.get("livenessProbe")),
        "hooks": sorted(container.get("lifecycle", ())),
        "mounts": mounts,
        "resources": container.get("resources"),
    }
    return {key: value for key, value in shape.items() if value not in (None, {}, [])}


def _volume(volume: dict[str, Any]) -> str:
    if "secret" in volume:
        return f"secret:{volume['secret']['secretName']}"
    if "configMap" in volume:
        return f"configMap:{volume['configMap']['name']}"
    return f"hostPath:{volume['hostPath']['path']}" if "hostPath" in volume else "emptyDir:" if "emptyDir" in volume else "claim:"


def _value(entry: dict[str, Any]) -> str:
    source = entry.get("valueFrom")
    if source is None:
        return str(entry.get("value", ""))
    if "fieldRef" in source:
        return f"<field {source['fieldRef']['fieldPath']}>"
    kind = "secret" if "secretKeyRef" in source else "configmap"
    place = source[{"secret": "secretKeyRef", "configmap": "configMapKeyRef"}[kind]]
    return f"<{kind} {place['name']}/{place['key']}>"


def _port(port: dict[str, Any]) -> str:
    words = [str(port["containerPort"]), port.get("name"), f"host {port['hostPort']}" if "hostPort" in port else None]
    return " ".join(word for word in words if word)


def _probe(probe: dict[str, Any] | None) -> str | None:
    if not probe:
        return None
    if "httpGet" in probe:
        what = f"GET {probe['httpGet']['path']} :{probe['httpGet']['port']}"
    elif "tcpSocket" in probe:
        what = f"tcp :{probe['tcpSocket']['port']}"
    else:
        what = f"exec {' '.join(probe['exec']['command'])}"
    return f"{what} (delay {probe['initialDelaySeconds']} s, timeout {probe['timeoutSeconds']} s)"
