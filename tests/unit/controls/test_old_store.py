"""What becomes of the bundled store: kept, scaled down, or deleted, and each condition of a deletion refused by its own words."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.old_store import (
    ARGUMENTS,
    Backup,
    Copy,
    Evidence,
    claims_of,
    left_on_nodes,
    retired,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.kept import Kept, Remains

NAME = "drycc-storage"
BACKUP = Backup("00000007-0a1b2c3d", "2026-11-22T01:00:00Z", ("etcd",))


def store(replicas: int = 0, pods: int = 0, kind: str = "StatefulSet", volumes: Any = (), templates: Any = ({"metadata": {"name": "storage-data"}},)) -> Any:
    metadata = {"name": NAME, "namespace": "paas", "resourceVersion": "3"}
    spec = {"replicas": replicas, "volumeClaimTemplates": list(templates), "template": {"spec": {"volumes": list(volumes)}}}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec, "status": {"replicas": pods}}


def claim(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "paas", "resourceVersion": "1", **metadata}}


def copy(gone: int = 0, replaced: int = 0) -> Copy:
    kept = Kept("drycc-storage/registry", "https://s3.example.com", "acme-registry", 40, 4000, 1000.0, "0" * 64)
    return Copy("registry", kept, Remains(gone, replaced, ("docker/one",) if gone + replaced else ()))


CLAIMS = (claim("storage-data-drycc-storage-0"), claim("storage-data-drycc-storage-1"))
GOOD = Evidence(CLAIMS, (copy(),), BACKUP)


def options(**changes: Any) -> dict[str, Any]:
    defaults = {name: about.get("default") for name, about in ARGUMENTS.items()}
    return {**defaults, "state": "external", "old_store": "deleted", "confirm_old_store_deletion": NAME, **changes}


def test_with_everything_that_makes_it_safe_the_claims_go_and_the_workload_last() -> None:
    wanted = retired(options(), store(), True, GOOD)
    assert [entry.document["metadata"]["name"] for entry in wanted] == ["storage-data-drycc-storage-0", "storage-data-drycc-storage-1", NAME]
    assert all(entry.path == () and entry.value is ABSENT and not entry.holds for entry in wanted)
    assert BACKUP.identifier in wanted[0].why


@pytest.mark.parametrize(
    ("changes", "bundled", "settled", "evidence", "subject", "said"),
    [
        ({}, store(), False, GOOD, "old_store", "may still be needed"),
        ({}, store(replicas=1), True, GOOD, NAME, "still runs"),
        ({}, store(pods=1), True, GOOD, NAME, "still runs"),
        ({"confirm_old_store_deletion": None}, store(), True, GOOD, "confirm_old_store_deletion", "not set"),
        ({"confirm_old_store_deletion": "yes"}, store(), True, GOOD, "confirm_old_store_deletion", "is yes"),
        ({}, store(), True, GOOD._replace(trouble=(NotFound("nobody knows what was proved.", "Run there.", "x.json"),)), "x.json", "nobody knows"),
        ({}, store(), True, GOOD._replace(copies=(copy(gone=2, replaced=1),)), "forgo_objects", "2 gone and 1 replaced of 40"),
        ({"forgo_objects": 2}, store(), True, GOOD._replace(copies=(copy(gone=2, replaced=1),)), "forgo_objects", "docker/one"),
        ({}, store(), True, GOOD._replace(backup=None), "backup_repository", "no verified backup"),
        ({"state": "reverted"}, store(), True, GOOD, "old_store", "leads back"),
    ],
)
def test_each_condition_is_refused_by_its_own_words(changes: dict[str, Any], bundled: Any, settled: bool, evidence: Evidence, subject: str, said: str) -> None:
    with pytest.raises(Refused) as caught:
        retired(options(**changes), bundled, settled, evidence)
    assert caught.value.subject == subject
    assert said in str(caught.value)
    assert caught.value.hint


def test_objects_that_components_deleted_themselves_can_be_forgone() -> None:
    assert retired(options(forgo_objects=3), store(), True, GOOD._replace(copies=(copy(gone=2, replaced=1),)))


def test_what_is_gone_already_needs_nothing() -> None:
    assert retired(options(confirm_old_store_deletion=None), None, True, Evidence()) == []


def test_kept_and_scaled_down() -> None:
    assert retired(options(old_store="keep"), store(replicas=1), True, Evidence()) == []
    (entry,) = retired(options(old_store="scaled_down"), store(replicas=1), False, Evidence())
    assert (entry.path, entry.value) == (("spec", "replicas"), 0)
    assert retired(options(old_store="scaled_down", state="reverted"), store(replicas=1), True, Evidence()) == []
    in_its_pod = store(replicas=1, kind="Deployment", templates=())
    with pytest.raises(Refused):
        retired(options(old_store="scaled_down"), in_its_pod, True, Evidence())
    assert retired(options(old_store="scaled_down", confirm_old_store_loss=True), in_its_pod, True, Evidence())


def test_only_the_claims_of_the_store_itself_are_found() -> None:
    others = [claim("storage-data-drycc-storage-console-0"), claim("data-drycc-storage-0"), claim("storage-data-drycc-storage-x")]
    leaving = claim("storage-data-drycc-storage-2", deletionTimestamp="2026-11-22T01:00:00Z")
    assert claims_of(store(), [*others, leaving, *reversed(CLAIMS)]) == CLAIMS
    named = store(kind="Deployment", templates=(), volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "minio"}}])
    assert claims_of(named, [claim("minio"), claim("minio-2")]) == (claim("minio"),)
    assert claims_of(store(templates=()), [claim("anything")]) == ()


def test_data_on_nodes_are_said_to_stay() -> None:
    assert left_on_nodes(store(templates=(), volumes=[{"name": "data", "hostPath": {"path": "/srv/minio"}}])) == ("hostPath /srv/minio",)
