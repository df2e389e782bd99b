"""The table of merge keys, against what the API server publishes about every field of the kinds that it knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.merge import Merge, Place

KINDS_OF = {
    "apps/v1": ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "batch/v1": ("Job", "CronJob"),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "policy/v1": ("PodDisruptionBudget",),
    "rbac.authorization.k8s.io/v1": ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"),
    "v1": ("ConfigMap", "LimitRange", "Namespace", "PersistentVolumeClaim", "Pod", "ResourceQuota", "Secret", "Service", "ServiceAccount"),
}
# Nobody states these: the server and its controllers write them.
NOT_STATED = ("status", "managedFields")


class Schemas:
    """What the server publishes about one group and version."""

    def __init__(self, connection: Connection, api_version: str) -> None:
        path = f"/openapi/v3/{'apis' if '/' in api_version else 'api'}/{api_version}"
        self._all: dict[str, Any] = connection.request("GET", path).data["components"]["schemas"]
        group, _slash, version = api_version.rpartition("/")
        self._wanted = {"group": group, "version": version}

    def of(self, kind: str) -> dict[str, Any]:
        return next(schema for schema in self._all.values() if {**self._wanted, "kind": kind} in schema.get("x-kubernetes-group-version-kind", ()))

    def fields(self, schema: dict[str, Any], place: Place = (), above: tuple[int, ...] = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
        """Yield every field below a schema, with all that is said about it; a schema inside itself is not entered again."""
        for name, field in schema.get("properties", {}).items():
            if name in NOT_STATED or id(schema) in above:
                continue
            full = {**self._meant(field), **field}
            here = (*place, name)
            yield here, full
            if full.get("type") == "array":
                # Inside a list that is one value to both, nothing is looked at.
                if full.get("x-kubernetes-list-type", "atomic") == "atomic" and "x-kubernetes-patch-merge-key" not in full:
                    continue
                yield from self.fields(self._meant(full["items"]), (*here, (("name", "x"),)), (*above, id(schema)))
            else:
                yield from self.fields(full, here, (*above, id(schema)))

    def _meant(self, field: dict[str, Any]) -> dict[str, Any]:
        reference = field.get("$ref") or next((part["$ref"] for part in field.get("allOf", ()) if "$ref" in part), None)
        return self._all[reference.rpartition("/")[2]] if reference else field


@pytest.mark.parametrize(("api_version", "kind"), [(api_version, kind) for api_version, kinds in KINDS_OF.items() for kind in kinds])
def test_same_keys(connection: Connection, api_version: str, kind: str) -> None:
    schemas = Schemas(connection, api_version)
    strategic, apply = Merge(api_version, kind, apply=False), Merge(api_version, kind, apply=True)
    wrong = []
    seen = 0
    for place, field in schemas.fields(schemas.of(kind)):
        seen += 1
        strategy = field.get("x-kubernetes-patch-strategy", "").split(",")
        if field.get("type") == "array":
            key = field.get("x-kubernetes-patch-merge-key")
            merged = None if "merge" not in strategy else (key,) if key else ()
            published = {"map": tuple(field.get("x-kubernetes-list-map-keys", ())), "set": ()}.get(field.get("x-kubernetes-list-type", "atomic"))
            for name, expected, known in (("merge", merged, strategic.list_keys(place)), ("apply", published, apply.list_keys(place))):
                if expected != known:
                    wrong.append(f"{place}: {name} by {expected}, not {known}")
            keeps = strategic.retains((*place, (("name", "x"),)))
        else:
            whole = field.get("x-kubernetes-map-type") == "atomic"
            if whole != apply.one_value({}, {}, place):
                wrong.append(f"{place}: atomic {whole}")
            if ("replace" in strategy) != strategic.one_value({}, {}, place):
                wrong.append(f"{place}: replaced {'replace' in strategy}")
            keeps = strategic.retains(place)
        if ("retainKeys" in strategy) != keeps:
            wrong.append(f"{place}: takes away what is not listed {'retainKeys' in strategy}")
    assert seen > 8
    assert not wrong, "\n".join(wrong)
