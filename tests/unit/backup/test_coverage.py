"""What a point does not hold is said of it, and nothing that it does hold."""

from __future__ import annotations

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.coverage import uncovered
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import KINDS

WHOLE: dict[str, dict[str, object]] = {
    **{kind: {} for kind in KINDS},
    "objects": {"kinds": {"PersistentVolumeClaim": 2}, "left_out": {"ReplicaSet that its owner makes again": 3}},
}


def test_nothing_is_said_of_what_is_there() -> None:
    assert uncovered(WHOLE, KINDS) == []


@pytest.mark.parametrize(
    ("kind", "about", "told"),
    [
        pytest.param("buckets", {"not_there": ["git", "dbwal"]}, "buckets: the store has no git, dbwal", id="bucket"),
        pytest.param("buckets", {"not_there": [], "left_out": "older versions"}, "buckets: older versions", id="versions"),
        pytest.param("postgres", {"left_out": "roles"}, "postgres: roles", id="roles"),
        pytest.param(
            "postgres", {"engine": "pgbackrest"}, "postgres: the backup and its log are in the repository of pgBackRest, not in this one", id="archive"
        ),
    ],
)
def test_what_a_kind_leaves_out_is_told(kind: str, about: dict[str, object], told: str) -> None:
    assert uncovered({**WHOLE, kind: about}, KINDS) == [told]


def test_kinds_and_the_content_of_claims_that_are_not_there_are_told() -> None:
    some = {kind: about for kind, about in WHOLE.items() if kind not in ("etcd", "volumes")}
    first, second = uncovered(some, KINDS)
    assert first == "no etcd, volumes in this point"
    assert second == "objects: what the PersistentVolumeClaims hold (2): have a point of kind volumes on the host that has it"
    assert uncovered({"etcd": {}}, KINDS) == ["no postgres, objects, secrets, volumes, buckets in this point"]
