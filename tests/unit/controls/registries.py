"""Platforms on their bundled image registry, as their charts make them, and an app whose image is in it."""

from __future__ import annotations

import base64
import copy
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_target import Target
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._host.registries.client import Account, Registry
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import ImageRegistry

SIGNED = {"meta.helm.sh/release-name": "workflow", "meta.helm.sh/release-namespace": "paas"}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def facts_of(platform: str) -> ImageRegistry:
    facts = PLATFORMS[platform].registry
    assert facts is not None
    return facts


def target_of(platform: str, location: str = "off-cluster", server: str = "registry.example.com:5000", password: str = "canary-password") -> Target:
    fields = {
        "server": server,
        "hostname": "" if server == "docker.io" else server,
        "organization": "paas",
        "account": "robot",
        "account_password": password,
        "access_key": "canary-access",
        "secret_key": "canary-secret",
        "region": "eu-central-1",
        "service_account": '{"project_id": "p"}',
        "nothing": "",
    }
    known = next(entry for entry in facts_of(platform).locations if entry.name == location)
    return Target(known, fields, Registry(server, Account("robot", password)) if location == "off-cluster" else None)


def secret(name: str, namespace: str = "paas", labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "resourceVersion": "4", "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {key: encoded(text) for key, text in data.items()}}


def settings_of(platform: str) -> Settings:
    facts = facts_of(platform)
    workloads: dict[tuple[str, str], Any] = {}
    for user in facts.users:
        env: list[dict[str, Any]] = [{"name": facts.variable, "value": facts.inside}] if user.told else []
        if user.workload == facts.prefix_variable[0]:
            env.append({"name": facts.prefix_variable[1], "value": "private-registry"})
        if user.workload == facts.builder:
            address = ["127.0.0.1", "5555"] if len(facts.address_variables) > 1 else ["127.0.0.1:5555"]
            env += [{"name": name, "value": text} for name, text in zip(facts.address_variables, address, strict=True)]
            env += [{"name": variable, "value": "drycc-registry:5000"} for variable, _secret, key in user.references if key == "registry-host"]
        main = user.workload.container or "job"
        pod = {"initContainers": [{"name": "wait", "env": copy.deepcopy(env)}], "containers": [{"name": main, "env": env}, {"name": "sidecar"}]}
        metadata = {"name": user.workload.name, "namespace": "paas", "resourceVersion": "9", "annotations": dict(SIGNED)}
        metadata["labels"] = {"app.kubernetes.io/managed-by": "Helm"}
        spec: dict[str, Any] = {"template": {"metadata": {}, "spec": pod}}
        group, spec = ("batch/v1", {"jobTemplate": {"spec": spec}}) if user.workload.kind == "CronJob" else ("apps/v1", spec)
        workloads[user.workload.kind, user.workload.name] = {"apiVersion": group, "kind": user.workload.kind, "metadata": metadata, "spec": spec}
    there = {}
    if facts.credentials:
        there = {"registry-secret": secret("registry-secret", username="inside", password="inside"), "builder-secret": secret("builder-secret")}
    return Settings(workloads, there)


def app(namespace: str = "shop", image: str = "127.0.0.1:5555/shop:git-abc1234", process: str = "web", **more: Any) -> dict[str, Any]:
    labels = {"app": namespace, "heritage": "deis", "type": process}
    metadata = {"name": f"{namespace}-{process}", "namespace": namespace, "resourceVersion": "5", "labels": labels, "annotations": {}}
    pod = {"containers": [{"name": f"{namespace}-{process}", "image": image}], **more}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": {"spec": pod}}}


def applied(settings: Settings, wanted: list[Wanted]) -> Settings:
    """Write what is wanted into a copy of the documents, as the API server would."""
    result = copy.deepcopy(settings)
    secrets, workloads = dict(result.secrets), dict(result.workloads)
    for entry in wanted:
        metadata = entry.document["metadata"]
        if not entry.path:
            secrets.pop(metadata["name"], None)
            if entry.value is not ABSENT:
                made = copy.deepcopy(entry.value)
                made["metadata"]["resourceVersion"] = "1"
                secrets[metadata["name"]] = made
            continue
        document: Any = secrets[metadata["name"]] if entry.document["kind"] == "Secret" else workloads[entry.document["kind"], metadata["name"]]
        write(document, entry)
    return Settings(workloads, secrets)


def write(document: Any, entry: Wanted) -> None:
    """Write one field."""
    for step in entry.path[:-1]:
        if isinstance(step, str):
            document = document.setdefault(step, [] if step in ("env", "imagePullSecrets") else {})
            continue
        found = next((item for item in document if item[step.key] == step.value), None)
        if found is None:
            found = {step.key: step.value}
            document.append(found)
        document = found
    last = entry.path[-1]
    if not isinstance(last, str):
        document[:] = [item for item in document if item[last.key] != last.value] + ([] if entry.value is ABSENT else [entry.value])
    elif entry.value is ABSENT:
        document.pop(last, None)
    else:
        document[last] = entry.value
