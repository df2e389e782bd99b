"""A drill of points that cannot be what they say: it fails, and says which; it never looks for more than the point has."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._backup.drill import ARGUMENTS, VERB
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import read_keys
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from tests.backup.asking import drilled, key_file, refused
from tests.unit.backup.points import make, manifest, publish


def test_nothing_is_a_point_until_there_is_one(tmp_path: Path) -> None:
    reason, message = refused(drilled(tmp_path))
    assert (reason, "There is no proved point at all" in message) == ("NotFound", True)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return make(tmp_path / "repository", 2, read_keys(key_file(tmp_path), [], ""))


def test_a_kind_that_the_point_lacks_is_no_kind_to_drill(tmp_path: Path, catalogue: Catalogue) -> None:
    reason, message = refused(drilled(tmp_path, kinds=["postgres"]))
    assert reason == "NotFound"
    assert f"The point {catalogue.read().points[-1].identifier} has no postgres" in message


def test_an_older_point_does_not_stand_in_for_one_that_is_damaged(tmp_path: Path, catalogue: Catalogue) -> None:
    older, newest = catalogue.read().points
    (tmp_path / "repository/points" / newest.identifier / "etcd/file0").unlink()
    reason, message = refused(drilled(tmp_path))
    assert (reason, newest.identifier in message, "file0 is missing" in message) == ("NotProven", True, True)
    assert refused(drilled(tmp_path, point=newest.identifier))[0] == "NotProven"
    # Who names an older one gets that: here it fails for what it holds, which is no snapshot.
    assert "snapshot.db cannot be read" in refused(drilled(tmp_path, point=older.identifier, etcd_programs=programs(tmp_path)))[1]


def test_an_older_one_that_is_damaged_is_in_nobodys_way(tmp_path: Path, catalogue: Catalogue) -> None:
    older, _newest = catalogue.read().points
    (tmp_path / "repository/points" / older.identifier / "etcd/file0").unlink()
    assert "snapshot.db cannot be read" in refused(drilled(tmp_path, etcd_programs=programs(tmp_path)))[1]


def programs(folder: Path) -> str:
    """Programs of etcd that say their version, and can do nothing else."""
    place = folder / "programs"
    place.mkdir(exist_ok=True)
    for name in ("etcd", "etcdctl", "etcdutl"):
        (place / name).write_text(f"#!/bin/sh\necho '{name} version: 3.6.1'\n")
        (place / name).chmod(0o755)
    return str(place)


@pytest.mark.parametrize(("age", "wanted", "said"), [(90_000.0, "1d", "and max_age is 1d"), (-90_000.0, "1d", "and max_age is 1d"), (3600.0, "1d", "SHA-256")])
def test_a_point_of_another_time_is_refused(tmp_path: Path, age: float, wanted: str, said: str) -> None:
    catalogue = make(tmp_path / "repository", 0, read_keys(key_file(tmp_path), [], ""))
    with catalogue.writing(Deadline(5)) as writer:
        point = publish(writer, catalogue, time.time() - age)
    path = tmp_path / "repository/points" / point.identifier / "etcd/file0"
    path.write_bytes(bytes(path.stat().st_size))
    reason, message = refused(drilled(tmp_path, max_age=wanted))
    assert (reason, said in message) == ("NotProven", True), message
    assert "max_age is 'soon'" in refused(drilled(tmp_path, max_age="soon"))[1]


def test_files_are_read_before_anything_is_started(tmp_path: Path, catalogue: Catalogue) -> None:
    (path,) = [path for path in (tmp_path / "repository/points").rglob("file0") if catalogue.read().points[0].identifier in str(path)]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    reason, message = refused(drilled(tmp_path, point=catalogue.read().points[0].identifier))
    assert (reason, "its SHA-256 differs" in message) == ("NotProven", True)


def test_buckets_that_are_not_what_was_promised_fail(tmp_path: Path) -> None:
    catalogue = make(tmp_path / "repository", 1, read_keys(key_file(tmp_path), [], ""))
    promised: dict[str, Any] = {"git": {"bucket": "git", "objects": 1, "content": "0" * 64}}
    with catalogue.writing(Deadline(5)) as writer, writer.stage() as stage:
        (Path(stage.folder) / "buckets" / "git").mkdir(parents=True)
        (Path(stage.folder) / "buckets" / "git" / "inventory").write_bytes(b"")
        identity = catalogue.read().identity
        passed = {"verdict": "pass", "checks": [], "restored_in": 0.1}
        about = {"buckets": {"store": "one", "buckets": promised, "needs": []}}
        writer.publish(stage, manifest(stage, identity, kinds=about, proofs={"buckets": passed}))
    reason, message = refused(drilled(tmp_path))
    assert reason == "NotProven"
    assert "objects of git that come back: 0, not 1" in message


def test_impossible_time_is_refused(tmp_path: Path) -> None:
    params = {name: option.get("default") for name, option in ARGUMENTS.items()}
    given = {**params, "repository": str(tmp_path / "repository"), "signing_key_file": key_file(tmp_path), "timeout": 0}
    assert run(VERB.begin, given, check=True, diff=False)["failure"]["object"] == "timeout"
