"""What is decided about a copy without asking a store: how long it is locked, what a name vouches for, what is told of it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.metrics import Copies, of_copy
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.send import Locking
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.there import Place, contents_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing
from ansible_collections.paas.hardening.plugins.module_utils._backup.store_keys import read_store_keys
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.objects_api import COMPLIANCE, GOVERNANCE, Lock, ObjectApi, Protection, Version
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from tests.unit.backup.points import make, ring

DAY = 86400.0
NOON = 20_000 * DAY + DAY / 2
PLAIN, OTHER = hashlib.sha256(b"plain").hexdigest(), hashlib.sha256(b"other").hexdigest()


@pytest.mark.parametrize(
    ("locking", "bucket", "expected"),
    [
        (Locking("", DAY), Protection(True, True, COMPLIANCE, DAY), Lock()),
        (Locking(COMPLIANCE, DAY), Protection(True, False), Lock()),
        (Locking(GOVERNANCE, DAY), Protection(True, True), Lock(GOVERNANCE, 20_002 * DAY)),
        # What the bucket does by itself is never made weaker, nor shorter.
        (Locking(GOVERNANCE, DAY), Protection(True, True, COMPLIANCE, 7 * DAY), Lock(COMPLIANCE, 20_008 * DAY)),
        (Locking(COMPLIANCE, 30 * DAY), Protection(True, True, GOVERNANCE, 7 * DAY), Lock(COMPLIANCE, 20_031 * DAY)),
    ],
)
def test_a_lock_is_as_asked_and_never_weaker_than_the_bucket_s_own(locking: Locking, bucket: Protection, expected: Lock) -> None:
    assert locking.of(bucket, NOON) == expected
    # A run that is begun anew on the same day asks for the same.
    assert locking.of(bucket, NOON + DAY / 3) == expected


@functools.cache
def api() -> ObjectApi:
    """A store that nobody asks for anything."""
    return ObjectApi(Store("s3", "http://127.0.0.1:9", access_key="nobody", secret_key="0" * 40), "far-away")


def place(keys: KeyRing) -> Place:
    return Place(api(), "here", keys)


def blobs(keys: KeyRing, objects: Mapping[str, list[tuple[str, int]]]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The versions that are taken for each name, and what is said."""
    there = place(keys)
    problems: list[str] = []
    found: dict[str, tuple[str, ...]] = {}
    for name, versions in objects.items():
        entries = [Version(f"here/{name}", size, float(number), version, not version) for number, (version, size) in enumerate(versions)]
        blob = there._blob(name, entries, {PLAIN: 5}, problems)
        if blob is not None:
            found[name] = blob.versions
    return found, problems


def test_a_name_vouches_for_what_lies_there() -> None:
    keys = ring()
    name = place(keys).sealed_key(PLAIN, OTHER, 200).removeprefix("here/")
    assert blobs(keys, {name: [("one", 200)]}) == ({name: ("one",)}, [])
    # Of a changed key the size, what lies there, or what it holds is not believed.
    for forged in (name.replace(".200.", ".201."), name.replace(PLAIN, OTHER), name[:-5] + "0.age", f"data/{PLAIN}.{OTHER}.200.{'0' * 32}.age"):
        assert blobs(keys, {forged: [("one", 200)]})[0] == {} or forged == name
    assert blobs(ring(), {name: [("one", 200)]})[0] == {}
    # A key that is still believed is enough.
    assert blobs(KeyRing(ring().current, (keys.current,)), {name: [("one", 200)]})[0] == {name: ("one",)}


def test_only_versions_of_the_right_size_are_taken_and_the_rest_is_said() -> None:
    keys, name = ring(), f"data/{PLAIN}"
    assert blobs(keys, {name: [("first", 5), ("second", 4), ("third", 5)]}) == (
        {name: ("first", "third")},
        [f"here/{name} in far-away at http://127.0.0.1:9 was overwritten or deleted by somebody"],
    )
    assert blobs(keys, {name: [("first", 5), ("", 0)]})[0] == {name: ("first",)}
    assert blobs(keys, {name: [("first", 4)]}) == ({name: ()}, [])
    assert blobs(keys, {"data/README": [("first", 4)], "points/x": [("first", 4)]}) == ({}, [])


def test_a_content_goes_once(tmp_path: Path) -> None:
    catalogue = make(tmp_path / "repository", 2)
    one, two = catalogue.read().points
    assert [file.path for file in contents_of(one)] == ["etcd/file0", "etcd/file1"]
    assert [file.sha256 for file in contents_of(one)] == [file.sha256 for file in contents_of(two)]


def test_what_prometheus_is_told() -> None:
    text = of_copy("/points", 100.0, 60.0, Copies(2, 50.0, 0.0))
    assert 'paas_backup_copy_missing{repository="/points"} 2\n' in text
    assert 'paas_backup_copy_success{repository="/points"} 1\n' in text
    failed = of_copy("/points", 100.0, 60.0, None)
    assert ("copy_missing" in failed, 'paas_backup_copy_success{repository="/points"} 0\n' in failed) == (False, True)


def test_keys_of_a_store_are_read_from_a_file_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_text("access\nsecret\n")
    assert read_store_keys(str(path), "keys_file") == ("access", "secret")
    path.chmod(0o640)
    with pytest.raises(Invalid, match=r"keys_file .* is open to other users"):
        read_store_keys(str(path), "keys_file")
    path.chmod(0o600)
    path.write_text("only-one")
    with pytest.raises(Invalid, match="does not have two lines") as told:
        read_store_keys(str(path), "keys_file")
    assert "only-one" not in str(told.value)
