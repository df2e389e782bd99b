"""What real helms left behind (see tests/integration/record_helm_fixtures.py): records of releases, live objects, and what upgrades did."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path as File
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import Release, decode
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Ref

FIXTURES = File(__file__).parent / "fixtures"
# The name of each fixture and of the way in which its release was made.
WAYS = {
    "helm2": "helm 2",
    "helm3": "helm 3",
    "helm3-then4": "helm 3, then 4",
    "helm4-clientside": "helm 4, client side",
    "helm4-serverside": "helm 4, server side",
}


@functools.cache
def _fixture(name: str) -> dict[str, Any]:
    return dict(json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8")))


def record(name: str) -> dict[str, Any]:
    """The Secret or ConfigMap in which helm keeps the release."""
    return copy.deepcopy(_fixture(name)["record"])


def release(name: str) -> Release:
    return decode(record(name))


def values(name: str) -> dict[str, Any]:
    """The effective values, in helm's own word."""
    return copy.deepcopy(_fixture(name)["values"])


def live(name: str, api_version: str, kind: str, object_name: str) -> dict[str, Any]:
    found = next(entry for entry in _fixture(name)["lives"] if (entry["kind"], entry["metadata"]["name"]) == (kind, object_name))
    assert found["apiVersion"] == api_version
    return copy.deepcopy(found)


def truth(name: str) -> dict[str, str]:
    """What a real upgrade did to every listed change: lasted, reverted or conflict."""
    return dict(_fixture("truth")[WAYS[name]])


def ref(name: str, api_version: str, kind: str, object_name: str) -> Ref:
    return Ref(api_version, kind, object_name, f"fixture-{name}")
