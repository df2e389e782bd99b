"""Buckets in a point: objects by content in few files, inventories that are torn, the store that is in use."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.kind import proved
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.pack import INVENTORY, Kept, Packs, PackWriter, read_inventory
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.source import elsewhere
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven
from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS

BODIES = {b"a": b"one", b"a/b": b"", b"home/app:git-1/push/slug.tgz": bytes(range(256)) * 9000, "ünï".encode(): b"one"}


def made(folder: Path) -> list[Kept]:
    """A bucket's files with some objects in one pack."""
    folder.mkdir()
    writer = PackWriter(str(folder), "pack-1")
    kept = []
    for key, body in sorted(BODIES.items()):
        (folder / "object").write_bytes(body)
        offset = writer.add(str(folder / "object"))
        kept.append(Kept(key, len(body), "2026-01-01T00:00:00Z", hashlib.sha256(body).hexdigest(), 1767225700.0, "pack-1", offset))
    writer.close()
    (folder / "object").unlink()
    (folder / INVENTORY).write_bytes(b"".join(ordered.SEPARATOR.join(entry.as_record()) + ordered.END for entry in kept))
    return kept


def test_objects_come_back_by_key_and_content(tmp_path: Path) -> None:
    kept = made(tmp_path / "git")
    assert list(read_inventory(str(tmp_path / "git" / INVENTORY))) == kept
    with Packs(str(tmp_path / "git")) as packs:
        assert {entry.key: b"".join(packs.pieces(entry)) for entry in kept} == BODIES
    held, digest = proved(str(tmp_path / "git"))
    assert held == len(BODIES)
    made(tmp_path / "again")
    assert proved(str(tmp_path / "again")) == (held, digest)


def test_every_changed_byte_of_a_pack_loses_the_object_that_it_belongs_to(tmp_path: Path) -> None:
    kept = made(tmp_path / "git")
    pack = tmp_path / "git" / "pack-1"
    whole = pack.read_bytes()
    for entry in kept:
        for place in {0, entry.size // 2, entry.size - 1} if entry.size else ():
            changed = bytearray(whole)
            changed[entry.offset + place] ^= 4
            pack.write_bytes(changed)
            assert proved(str(tmp_path / "git"))[0] == len(BODIES) - 1
    pack.write_bytes(whole[:-1])
    assert proved(str(tmp_path / "git"))[0] == len(BODIES) - 1
    pack.unlink()
    with pytest.raises(NotProven, match="pack-1 is missing"):
        proved(str(tmp_path / "git"))


@pytest.mark.parametrize("fields", [(b"key",), (b"key", b"x", b"t", b"d", b"1", b"pack-1", b"0"), (b"key", b"1", b"t", b"d", b"1", b"../pack-1", b"0")])
def test_a_record_that_is_none_is_refused(tmp_path: Path, fields: tuple[bytes, ...]) -> None:
    (tmp_path / INVENTORY).write_bytes(ordered.SEPARATOR.join(fields) + ordered.END)
    with pytest.raises(NotProven, match="is torn"):
        list(read_inventory(str(tmp_path / INVENTORY)))


def test_a_time_counts_only_when_the_clock_has_moved_on(tmp_path: Path) -> None:
    entry = made(tmp_path / "git")[0]  # written at 1767225600, listed 100 seconds later
    assert entry.lasts(60)
    assert not entry.lasts(900)
    assert not entry._replace(modified="never").lasts(60)


def test_no_pack_is_made_for_nothing(tmp_path: Path) -> None:
    PackWriter(str(tmp_path), "pack-1").close()
    assert os.listdir(tmp_path) == []


def test_a_platform_that_has_left_its_bundled_store_is_seen() -> None:
    def place(platform: str, number: int, *env: dict[str, Any]) -> str:
        facts = PLATFORMS[platform].object_storage
        return elsewhere(facts, facts.users[number], {"name": "one", "env": list(env)}, lambda _name, _key: "https://s3.example.com")

    assert place("hephy", 0) == ""
    assert place("hephy", 0, {"name": "DATABASE_STORAGE", "value": "minio"}) == ""
    assert place("hephy", 0, {"name": "DATABASE_STORAGE", "value": "s3"}) == "a store of the kind s3"
    assert place("hephy", 2, {"name": "DEIS_MINIO_SERVICE_HOST", "value": "192.0.2.9"}) == "the store at 192.0.2.9"
    facts = PLATFORMS["drycc-head"].object_storage
    number, variable = next(
        (number, setting.variable)
        for number, user in enumerate(facts.users)
        for setting in (user.settings or facts.ways[0].settings)
        if setting.field == "endpoint" and setting.variable
    )
    assert place("drycc-head", number, {"name": variable, "value": f"http://{facts.bundled.workload.name}.drycc:9000"}) == ""
    reference = {"name": variable, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    assert place("drycc-head", number, reference) == "the store at https://s3.example.com"
