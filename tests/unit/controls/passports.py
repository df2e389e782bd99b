"""Workloads that hold a registration setting, compact: for tests that look at what stands beside it."""

from __future__ import annotations

from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Workload

Document = dict[str, Any]


def workload(facts: Workload, env: list[dict[str, Any]], **container: Any) -> Document:
    """A workload of that name with that environment in the container that does the work."""
    return {
        "apiVersion": "apps/v1",
        "kind": facts.kind,
        "metadata": {"name": facts.name, "namespace": "paas", "resourceVersion": "1"},
        "spec": {"template": {"spec": {"containers": [{"name": facts.container, "image": "c:1", "env": env, **container}]}}},
    }


def holder(platform: str, env: dict[str, str | None], **container: Any) -> Document:
    """The workload that the platform's registration setting belongs to; None stands for a reference."""
    reference = {"secretKeyRef": {"name": "settings", "key": "k"}}
    entries = [{"name": name, "valueFrom": reference} if value is None else {"name": name, "value": value} for name, value in env.items()]
    return workload(PLATFORMS[platform].registration.workload, entries, **container)
