"""Objects of a point on their way back, as files: each comes once, whatever a batch holds, and no key leads out of the folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.pack import Kept, Packs, PackWriter
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.batches import Batches
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven

BODY = b"body"
# Three pairs of which one is the other's folder, and many that are in nobody's way.
KEYS = sorted([*(f"many/{number}" for number in range(20)), "a", "a/b", "c", "c/d", "e", "e/f", "tab\u2409key"])


@pytest.fixture
def packs(tmp_path: Path) -> Iterator[Packs]:
    (tmp_path / "content").write_bytes(BODY)
    writer = PackWriter(str(tmp_path), "pack-1")
    writer.add(str(tmp_path / "content"))
    writer.close()
    with Packs(str(tmp_path)) as opened:
        yield opened


def inventory(keys: list[str], digest: str = hashlib.sha256(BODY).hexdigest()) -> Iterator[Kept]:
    """As an inventory is read: a generator, which is at its end once it was closed."""
    for key in keys:
        yield Kept(key.encode(), len(BODY), "", digest, 0.0, "pack-1", 0)


def files(place: Path) -> list[str]:
    return [str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("most", "most_bytes"), [(1, 1000), (3, 1000), (7, 1000), (1000, 1), (1000, 9), (1000, 1000)])
def test_each_object_comes_once_whatever_a_batch_holds(packs: Packs, tmp_path: Path, most: int, most_bytes: int) -> None:
    place, found = tmp_path / "objects", []
    batches = Batches(packs, inventory(KEYS), most, most_bytes)
    while batches.lay_out(str(place)):
        assert len(files(place)) <= most
        found += files(place)
    assert sorted(found) == sorted(key.replace("\u2409", "\t") for key in KEYS)
    assert os.listdir(place) == []


@pytest.mark.parametrize("key", ["../x", "/x", "a//b", ".", "", "x" * 5000])
def test_no_key_leads_elsewhere(packs: Packs, tmp_path: Path, key: str) -> None:
    with pytest.raises(NotProven, match="is none"):
        Batches(packs, inventory([key])).lay_out(str(tmp_path / "objects"))
    assert files(tmp_path / "objects") == []


def test_an_object_that_is_not_what_was_stored_is_no_file(packs: Packs, tmp_path: Path) -> None:
    with pytest.raises(NotProven, match="is not what was stored"):
        Batches(packs, inventory(["a"], "0" * 64)).lay_out(str(tmp_path / "objects"))
    assert files(tmp_path / "objects") == []
