"""A verified backup for those who are about to delete something: young enough, with what they ask for, and every byte as it was signed."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing, read_key
from ansible_collections.paas.hardening.plugins.module_utils._backup.verified import verified_backup
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from tests.unit.backup.points import publish


class Repository:
    """A repository on disk, and the options that name it."""

    def __init__(self, folder: Path) -> None:
        self.folder, key = folder / "points", folder / "key"
        key.touch(0o600)
        key.write_text(secrets.token_hex(32) + "\n")
        self.catalogue = Catalogue(str(self.folder), KeyRing(read_key(str(key), "key")))
        self.options: dict[str, Any] = {
            "backup_repository": str(self.folder),
            "backup_signing_key_file": str(key),
            "backup_older_key_files": [],
            "backup_kinds": ["etcd"],
            "backup_max_age": "24h",
        }

    def publish(self, age: float) -> Any:
        with self.catalogue.writing(Deadline(5)) as writer:
            return publish(writer, self.catalogue, time.time() - age)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_the_newest_point_that_is_young_enough(repository: Repository) -> None:
    repository.publish(7200)
    point = repository.publish(60)
    found = verified_backup(repository.options)
    assert (found.identifier, found.kinds) == (point.identifier, ("etcd",))


def test_an_old_point_is_refused_and_its_moment_said(repository: Repository) -> None:
    repository.publish(90000)
    with pytest.raises(Refused) as caught:
        verified_backup(repository.options)
    assert "the newest is of" in str(caught.value)
    assert verified_backup({**repository.options, "backup_max_age": "2d"})


def test_a_point_without_what_is_asked_for_is_none(repository: Repository) -> None:
    repository.publish(60)
    with pytest.raises(Refused) as caught:
        verified_backup({**repository.options, "backup_kinds": ["etcd", "buckets"]})
    assert "there is none" in str(caught.value)


def test_a_damaged_point_is_refused(repository: Repository) -> None:
    repository.publish(7200)
    point = repository.publish(60)
    file = repository.folder / "points" / point.identifier / point.files[0].path
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(Refused) as caught:
        verified_backup(repository.options)
    assert "damaged" in str(caught.value)


def test_a_point_of_the_future_is_none(repository: Repository) -> None:
    repository.publish(-90000)
    with pytest.raises(Refused):
        verified_backup(repository.options)


@pytest.mark.parametrize("option", ["backup_repository", "backup_signing_key_file"])
def test_without_a_repository_nothing_is_verified(repository: Repository, option: str) -> None:
    with pytest.raises(Invalid) as caught:
        verified_backup({**repository.options, option: None})
    assert caught.value.subject == option


def test_another_key_opens_nothing(repository: Repository, tmp_path: Path) -> None:
    repository.publish(60)
    other = tmp_path / "other"
    other.touch(0o600)
    other.write_text(secrets.token_hex(32))
    with pytest.raises(Failure):
        verified_backup({**repository.options, "backup_signing_key_file": str(other)})
