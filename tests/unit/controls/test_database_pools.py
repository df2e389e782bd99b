"""How many connections a platform may open: replicas and workers as they are, a rollout that runs old and new pods side by side."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.database_pools import connections_of, cores_in, pods_at_most
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import FROZEN
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Pool, Workload


def workload(kind: str = "Deployment", env: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "api", "env": [{"name": name, "value": value} for name, value in (env or {}).items()]}]
    return {"kind": kind, "metadata": {"name": "api", "annotations": {}}, "spec": {"template": {"spec": {"containers": containers}}, **spec}}


@pytest.mark.parametrize(("text", "found"), [(None, 9), ("", 9), ("many", 9), ("0", 9), ("3", 3)])
def test_workers_are_what_the_variable_says_where_it_is_a_number(text: str | None, found: int) -> None:
    pool = Pool(Workload("Deployment", "api", "api"), 1, 4, "GUNICORN_WORKERS")
    assert connections_of(pool, workload(env=None if text is None else {"GUNICORN_WORKERS": text}), cores=2) == found


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (workload(), 2),
        (workload(replicas=5), 7),
        (workload(replicas=2, strategy={"type": "Recreate"}), 2),
        (workload(replicas=2, strategy={"rollingUpdate": {"maxSurge": 1}}), 3),
        (workload(replicas=2, strategy={"rollingUpdate": {"maxSurge": "100%"}}), 4),
        (workload("StatefulSet", replicas=3), 3),
    ],
)
def test_pods_during_a_rollout(document: dict[str, Any], found: int) -> None:
    assert pods_at_most(document) == found


def test_what_stands_still_counts_as_it_will_go_on() -> None:
    document = workload("StatefulSet", replicas=0)
    document["metadata"]["annotations"][FROZEN] = "4"
    assert pods_at_most(document) == 4


@pytest.mark.parametrize(("quantity", "cores"), [("2", 2.0), ("2500m", 2.5), ("1.5", 1.5), ("(absent)", 1.0)])
def test_cores(quantity: str, cores: float) -> None:
    assert cores_in(quantity) == cores
