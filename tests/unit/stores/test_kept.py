"""What was proved of a copy, kept and held against a later listing: what is gone or replaced is counted, and a record that is not whole counts for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.inventory import Inventory
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.kept import keep, recall, remains
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import Listing

WHEN = b"2026-11-22T01:00:00Z"


def listing(path: Path, **objects: bytes) -> Listing:
    """A bucket with objects of such digests, each of its length in bytes."""
    sorter = ordered.Sorter(str(path))
    for key, digest in objects.items():
        sorter.add(key.encode(), str(len(digest)).encode(), WHEN, digest)
    sorter.finish()
    return Listing(str(path), len(objects), 0, 2000.0)


def proved(path: Path, *keys: str) -> str:
    """The list of objects that were proved, as the inventory keeps them."""
    sorter = ordered.Sorter(str(path))
    for key in keys:
        digest = f"md5-{key}".encode()
        sorter.add(key.encode(), str(len(digest)).encode(), b"source", b"x", WHEN, digest, b"a" * 64, b"1999.0")
    sorter.finish()
    return str(path)


def test_what_is_still_there_is_not_counted(tmp_path: Path) -> None:
    known = proved(tmp_path / "proved", "one", "two")
    assert remains(known, listing(tmp_path / "now", one=b"md5-one", two=b"md5-two", newer=b"x")).keys == ()


def test_what_is_gone_and_what_was_replaced_are_counted_and_named(tmp_path: Path) -> None:
    known = proved(tmp_path / "proved", "one", "three", "two")
    found = remains(known, listing(tmp_path / "now", two=b"md5-two", three=b"md5-other"))
    assert (found.gone, found.replaced, found.keys) == (1, 1, ("one", "three"))


def test_a_record_is_recalled_as_it_was_kept(tmp_path: Path) -> None:
    known = proved(tmp_path / "proved", "one")
    keep(str(tmp_path / "record"), known, "minio/registry", "https://s3.example.com", "acme", 1, 7)
    kept = recall(str(tmp_path / "record"), known)
    assert (kept.source, kept.store, kept.bucket, kept.objects, kept.size) == ("minio/registry", "https://s3.example.com", "acme", 1, 7)


def test_an_empty_bucket_needs_no_list(tmp_path: Path) -> None:
    keep(str(tmp_path / "record"), str(tmp_path / "proved"), "minio/git", "s3", "acme", 0, 0)
    assert recall(str(tmp_path / "record"), str(tmp_path / "proved")).objects == 0


def test_a_record_that_is_not_whole_counts_for_nothing(tmp_path: Path) -> None:
    record, known = tmp_path / "record", tmp_path / "proved"
    with pytest.raises(NotFound):
        recall(str(record), str(known))
    proved(known, "one")
    keep(str(record), str(known), "minio/registry", "s3", "acme", 1, 7)
    proved(known, "one", "two")
    with pytest.raises(NotProven):
        recall(str(record), str(known))
    record.write_text("{}")
    with pytest.raises(NotProven):
        recall(str(record), str(known))


def test_only_objects_of_the_source_are_kept_as_proved(tmp_path: Path) -> None:
    inventory = Inventory(proved(tmp_path / "inventory", "gone-since", "one", "two"))
    source = tmp_path / "source"
    sorter = ordered.Sorter(str(source))
    for key in ("one", "two"):
        sorter.add(key.encode(), str(len(f"md5-{key}")).encode(), b"source", b"x")
    sorter.finish()
    target = listing(tmp_path / "target", one=b"md5-one", two=b"md5-two")
    inventory.keep_proved(Listing(str(source), 2, 0, 2000.0), target, str(tmp_path / "kept"))
    assert [record[0] for record in ordered.read(str(tmp_path / "kept"))] == [b"one", b"two"]
