"""What tests do to a platform, as somebody beside us would: objects that appear, Deployments that change, and waiting until that is so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from tests.contract.installed import Installed


@contextmanager
def present(platform: Installed, *documents: Mapping[str, Any]) -> Iterator[None]:
    """Objects that exist until the block ends; those that have a namespace lie in the platform's when they name none."""
    text = yaml.safe_dump_all(documents)
    kubectl, where = platform.cluster.kubectl, ("-n", platform.namespace)
    kubectl("apply", *where, "-f", "-", stdin=text)
    try:
        yield
    finally:
        kubectl("delete", *where, "--ignore-not-found", "-f", "-", stdin=text)


def patch(platform: Installed, name: str, body: Mapping[str, Any], dry: bool = False) -> None:
    """Change a Deployment by a strategic merge patch, as the cluster's administrator."""
    path = KINDS["Deployment"].path(platform.namespace, name)
    query = {"dryRun": "All"} if dry else None
    platform.objects.connection.request("PATCH", path, query, body=body, content_type="application/strategic-merge-patch+json")


def in_pods(**container: Any) -> dict[str, Any]:
    """A patch of one container of the pods, by its name."""
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def setting(container: str, variable: str, value: str) -> dict[str, Any]:
    """A patch of one environment variable."""
    return in_pods(name=container, env=[{"name": variable, "value": value}])


def pods(platform: Installed, app: str) -> list[Mapping[str, Any]]:
    """The pods with this label that are there to stay."""
    found = platform.objects.list(KINDS["Pod"], namespace=platform.namespace, labels=f"app={app}")
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def until(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    """Wait for something. Raises AssertionError that says what did not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: waited in vain for {seconds:g} s"
        time.sleep(0.2)


def refused(call: Callable[[], object]) -> bool:
    """Tell whether the server refuses."""
    try:
        call()
    except Failure:
        return True
    return False
