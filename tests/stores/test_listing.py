"""Listings of real servers: every key, in constant memory, and nothing left out in silence."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotFound, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import differences, list_bucket, peek, seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine
from tests.stores.liar import Liar
from tests.stores.servers import Gateway, Minio

ODD = {
    "plain": b"1",
    "empty": b"",
    "  blanks  ": b"2",
    "umlaut-\u00e4": b"composed",
    "umlaut-a\u0308": b"decomposed",
    "snow/\u2603/\U0001d11e": b"3",
    "% 41%41+": b"4",
    "quote\"'`$(id)": b"5",
    "#comment": b"6",
    "; --config=/etc/passwd": b"7",
    "[a-z]*{b,c}?": b"8",
    "Case": b"upper",
    "case": b"lower",
    "dots./...": b"9",
    ".hidden": b"10",
    "a:b": b"11",
    "long/" + "x" * 200: b"12",
    "tab\tin the middle": b"13",
}


def test_every_key_is_listed_with_its_size(engine: Engine, source: Minio, bucket: str, work: str) -> None:
    os.makedirs(work)
    source.bucket(bucket, ODD)
    listing = list_bucket(engine, source.store(), bucket, work)
    found = {entry.key: entry.size for entry in listing.entries()}
    assert found == {key.replace("\t", "\u2409"): len(content) for key, content in ODD.items()}
    assert (listing.objects, listing.bytes, listing.odd) == (len(ODD), sum(map(len, ODD.values())), 0)
    assert list(found) == sorted(found, key=str.encode)
    assert all(abs(seconds_of(entry.modified) - listing.begun) < 60 for entry in listing.entries())


def test_what_cannot_be_asked_for_again_is_named(engine: Engine, source: Minio, bucket: str, work: str) -> None:
    os.makedirs(work)
    source.bucket(bucket, {"good": b"1", "folder/": b"", "full/": b"2", "\u201bquoted": b"3", "\uff0e\uff0e": b"4"})
    listing = list_bucket(engine, source.store(), bucket, work)
    assert listing.objects == 5
    assert sorted(listing.odd_keys) == sorted(["folder/", "full/", "\u201b\u201bquoted", "\uff0e\uff0e"])
    assert listing.odd == 4


@pytest.mark.parametrize("key", ["a//b", "/lead", "x/../y", "./z", "..", "/", "trail//"])
def test_keys_that_only_some_stores_allow(engine: Engine, source: Minio, bucket: str, work: str, key: str) -> None:
    # MinIO refuses to store these; a listing that names one stands for the stores that do not.
    os.makedirs(work)
    source.bucket(bucket, {"place-holder": b"1"})
    liar = Renamed(source.port, key)
    with liar.listening() as url:
        listing = list_bucket(engine, source.store(endpoint=url), bucket, work)
    assert (listing.objects, listing.odd) == (1, 1)


class Renamed(Liar):
    """Puts another key in place of the only one of a listing."""

    def __init__(self, port: int, key: str) -> None:
        super().__init__(port, lambda _method, _path: None)
        self.key = key

    def change(self, content: bytes) -> bytes:
        return content.replace(b"place-holder", self.key.encode())


def test_differences_of_two_servers(engine: Engine, source: Minio, target: Gateway, bucket: str, work: str) -> None:
    os.makedirs(work)
    source.bucket(bucket, {"same": b"1", "only here": b"2", "longer": b"333"})
    target.bucket(bucket, {"same": b"1", "only there": b"2", "longer": b"33"})
    one, other = (list_bucket(engine, server.store(), bucket, work, name) for name, server in (("one", source), ("other", target)))
    assert [(found.key, found.kind) for found in differences(one, other)] == [("longer", "size"), ("only here", "missing"), ("only there", "extra")]
    assert not list(differences(one, one))


def test_peek_reads_a_page(engine: Engine, source: Minio, bucket: str) -> None:
    source.bucket(bucket, {f"key-{number:03}": b"x" for number in range(30)})
    counted = Liar(source.port, lambda _method, _path: None)
    with counted.listening() as url:
        found, more = peek(engine, source.store(endpoint=url), bucket, 5)
    assert ([entry.key for entry in found], more) == ([f"key-{number:03}" for number in range(5)], True)
    assert counted.requests <= 3
    assert peek(engine, source.store(), bucket, 30)[1] is False


def test_an_empty_bucket_and_none(engine: Engine, source: Minio, bucket: str, work: str) -> None:
    os.makedirs(work)
    source.bucket(bucket)
    assert list_bucket(engine, source.store(), bucket, work).objects == 0
    assert peek(engine, source.store(), bucket) == ([], False)
    with pytest.raises(NotFound, match="bucket does not exist"):
        list_bucket(engine, source.store(), f"{bucket}-none", work)
    assert os.listdir(work) == ["listing"]


def test_listing_costs_no_request_for_each_object(engine: Engine, source: Minio, bucket: str, work: str) -> None:
    os.makedirs(work)
    source.bucket(bucket, {f"part/{number}": b"x" for number in range(40)})
    source.put_in_parts(bucket, "large", os.urandom(6 << 20))
    counted = Liar(source.port, lambda _method, _path: None)
    with counted.listening() as url:
        list_bucket(engine, source.store(endpoint=url), bucket, work)
    assert counted.requests <= 2


@pytest.mark.parametrize("lie", ["error body", "cut", "short", "503"])
def test_a_broken_listing_is_no_listing(engine: Engine, source: Minio, bucket: str, work: str, lie: str) -> None:
    os.makedirs(work)
    source.bucket(bucket, {f"key-{number:03}": b"x" for number in range(30)})
    with Liar(source.port, lambda _method, _path: lie).listening() as url, pytest.raises(Unavailable):
        list_bucket(engine, source.store(endpoint=url), bucket, work)
    assert os.listdir(work) == []


def test_the_role_of_the_machine(engine: Engine, source: Minio, bucket: str, tmp_path: Path) -> None:
    # The service that hands out a container's credentials, as AWS describes it; asked only by a store without keys.
    source.bucket(bucket, {"key": b"x"})
    document = f'{{"AccessKeyId": "{source.access_key}", "SecretAccessKey": "{source.secret_key}", "Expiration": "2099-01-01T00:00:00Z"}}'
    told = tmp_path / "role.json"
    told.write_text(document)
    with Role(document).listening() as url:
        os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{url}/role"
        os.environ["AWS_ACCESS_KEY_ID"] = "of-somebody-else"
        try:
            found, _more = peek(engine, source.store(access_key="", secret_key=""), bucket)
        finally:
            del os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], os.environ["AWS_ACCESS_KEY_ID"]
    assert [entry.key for entry in found] == ["key"]
    with pytest.raises(Invalid, match="does not accept the credentials"):
        peek(engine, source.store(access_key="", secret_key=""), bucket)


class Role(Liar):
    """Answers everything with one document."""

    def __init__(self, document: str) -> None:
        super().__init__(0, lambda _method, _path: None)
        self.document = document

    def answer(self) -> bytes | None:
        return self.document.encode()


def test_the_hash_of_an_object_in_parts_is_not_taken_for_its_content(engine: Engine, source: Minio, bucket: str, work: str) -> None:
    os.makedirs(work)
    source.bucket(bucket)
    content = os.urandom(6 << 20)
    source.put_in_parts(bucket, "large", content)
    entry = next(list_bucket(engine, source.store(), bucket, work).entries())
    assert entry.digest in ("", hashlib.md5(content).hexdigest())
