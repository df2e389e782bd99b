"""Images between real registries: copied whole, by digest, once; and nothing that lies, breaks off or refuses is taken for an image."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid, NotFound, NotProven, Refused, Unauthorized, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.registries.client import Account, Registry
from ansible_collections.paas.hardening.plugins.module_utils._host.registries.images import Name, copy, digest_at, manifest_of, missing_of, split
from lab.addresses import Addresses
from lab.pki import Authority
from tests.registries.servers import ACCOUNT, Door, ImageServer

LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def layers(seed: str, count: int = 2, size: int = 300_000) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(size + number) for number in range(count)]


def test_an_image_arrives_whole_and_is_not_sent_twice(inside: ImageServer, outside: ImageServer, source: Registry, target: Registry, repository: str) -> None:
    pushed = inside.seeder.push(repository, "git-abc1234", layers(repository))
    name, new = Name(repository, "git-abc1234"), Name(f"paas/{repository}", "git-abc1234")
    first = copy(source, name, target, new)
    assert (first.size, first.present) == (sum(pushed.blobs.values()), 0)
    assert outside.seeder.pull(type(pushed)(new.repository, new.reference, pushed.digest, pushed.blobs)) > 0
    assert missing_of(target, new) == ()
    again = copy(source, name, target, new)
    assert (again.size, again.present) == (0, len(pushed.blobs))


def test_an_interrupted_copy_goes_on_where_it_was(inside: ImageServer, source: Registry, target: Registry, repository: str) -> None:
    pushed = inside.seeder.push(repository, "v2", layers(repository))

    class Enough(Exception):
        pass

    seen = 0

    def tick() -> None:
        nonlocal seen
        seen += 1
        if seen > 14:
            raise Enough

    name, new = Name(repository, "v2"), Name(f"paas/{repository}", "v2")
    with pytest.raises(Enough):
        copy(source, name, target, new, tick)
    assert digest_at(target, new) == ""
    moved = copy(source, name, target, new)
    assert 0 < moved.present < len(pushed.blobs)
    assert 0 < moved.size < sum(pushed.blobs.values())
    assert digest_at(target, new) == pushed.digest


def test_a_list_of_images_is_copied_with_all_its_parts(inside: ImageServer, source: Registry, target: Registry, repository: str) -> None:
    parts = [inside.seeder.push(repository, f"part-{number}", layers(f"{repository}{number}")) for number in range(2)]
    entries = [
        {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "size": 1,
            "digest": part.digest,
            "platform": {"os": "linux", "architecture": arch},
        }
        for part, arch in zip(parts, ("amd64", "arm64"), strict=True)
    ]
    for entry, part in zip(entries, parts, strict=True):
        entry["size"] = len(manifest_of(source, Name(repository, part.digest)).body)
    body = json.dumps({"schemaVersion": 2, "mediaType": LIST, "manifests": entries}).encode()
    source.put_manifest(repository, "v3", LIST, body)
    new = Name(f"paas/{repository}", "v3")
    copy(source, Name(repository, "v3"), target, new)
    assert digest_at(target, new) == "sha256:" + hashlib.sha256(body).hexdigest()
    assert missing_of(target, new) == ()
    for part in parts:
        assert digest_at(target, Name(new.repository, part.digest)) == part.digest


def test_what_an_image_lacks_is_named(inside: ImageServer, source: Registry, repository: str) -> None:
    pushed = inside.seeder.push(repository, "v1", layers(repository))
    digest = max(pushed.blobs, key=lambda key: pushed.blobs[key])
    assert inside.seeder.ask("DELETE", f"/v2/{repository}/blobs/{digest}")[0] == 202
    assert missing_of(source, Name(repository, "v1")) == (digest,)
    with pytest.raises(NotFound):
        missing_of(source, Name(repository, "v2"))


def test_an_image_of_an_old_form_is_refused(inside: ImageServer, repository: str) -> None:
    inside.seeder.push(repository, "v1", layers(repository))
    door = Door(inside)
    door.manifest_kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    with door.listening() as address, pytest.raises(Refused, match="too old"):
        manifest_of(Registry(address, Account(), "http"), Name(repository, "v1"))


# Who we are


def test_an_account_is_let_in_and_may_push_and_nothing_is_left_of_the_attempt(outside: ImageServer, target: Registry, repository: str) -> None:
    target.log_in()
    target.try_push(f"paas/{repository}")
    # docker-registry itself keeps an empty place of what it gave up.
    assert [path for path in (outside.folder / "data").rglob("_uploads/*/startedat") if repository in str(path)] == []
    catalogue = json.loads(outside.seeder.ask("GET", "/v2/_catalog?n=1000")[2])["repositories"]
    assert f"paas/{repository}" not in catalogue


@pytest.mark.parametrize("account", [Account(), Account(ACCOUNT, "canary-wrong"), Account("nobody", "canary-wrong")])
def test_a_wrong_account_is_named_and_its_password_is_not(outside: ImageServer, account: Account) -> None:
    with pytest.raises(Unauthorized) as caught:
        Registry(outside.server, account, "http").log_in()
    assert "canary" not in str(caught.value)
    assert (account.name or "(none)") in caught.value.hint


def test_tokens_are_fetched_for_each_repository_and_for_no_more_than_is_needed(inside: ImageServer, source: Registry, repository: str) -> None:
    inside.seeder.push(repository, "v1", layers(repository))
    door = Door(inside)
    door.account = (ACCOUNT, "canary-token-password")
    with door.listening() as address:
        registry = Registry(address, Account(*door.account), "http")
        registry.log_in()
        new = Name(f"paas/{repository}", "v1")
        copy(source, Name(repository, "v1"), registry, new)
        assert missing_of(registry, new) == ()
        with pytest.raises(Unauthorized):
            Registry(address, Account(ACCOUNT, "wrong"), "http").log_in()
    basic = [path for _method, path, headers in door.requests if headers.get("Authorization", "").startswith("Basic")]
    assert basic
    assert all(path.startswith("/token") for path in basic), "the password goes to nobody but the token service"


def test_a_redirect_is_followed_without_our_credentials(inside: ImageServer, outside: ImageServer, source: Registry, target: Registry, repository: str) -> None:
    inside.seeder.push(repository, "v1", layers(repository))
    first, store = Door(inside), Door(inside)
    first.account = (ACCOUNT, "canary")
    with first.listening() as address, store.listening() as elsewhere:
        first.redirect = elsewhere
        copy(Registry(address, Account(*first.account), "http"), Name(repository, "v1"), target, Name(f"paas/{repository}", "v1"))
    assert store.requests
    assert [headers for _method, _path, headers in store.requests if "Authorization" in headers] == []


def test_a_redirect_that_goes_in_circles_is_not_followed_for_ever(inside: ImageServer, repository: str) -> None:
    inside.seeder.push(repository, "v1", layers(repository))
    door = Door(inside)
    with door.listening() as address:
        door.redirect = address
        registry = Registry(address, Account(), "http")
        blob = next(iter(manifest_of(registry, Name(repository, "v1")).blobs))
        with pytest.raises(Unavailable, match="redirect"), registry.blob(repository, blob) as pieces:
            list(pieces)


def test_tls_is_verified_by_the_given_authority_and_by_no_other(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki", Addresses(0))
    authority.ensure()
    with ImageServer(tmp_path / "registry", tls=authority).running() as server:
        who = Account(ACCOUNT, server.password)
        Registry(server.server, who, ca_file=str(authority.certificate)).log_in()
        with pytest.raises(Unavailable, match="certificate"):
            Registry(server.server, who).log_in()
        with pytest.raises(Unavailable):
            Registry(f"localhost:{server.port}", who, ca_file=str(authority.certificate)).log_in()
    with pytest.raises(Invalid, match="ca_file"):
        Registry("r.example.com", who, ca_file=str(tmp_path / "none.pem"))


# Lies and faults


@pytest.mark.parametrize("damage", ["change", "cut"])
def test_a_damaged_blob_is_stored_nowhere(inside: ImageServer, target: Registry, repository: str, damage: str) -> None:
    pushed = inside.seeder.push(repository, "v1", layers(repository))
    door = Door(inside)
    door.damage = damage
    new = Name(f"paas/{repository}", "v1")
    with door.listening() as address, pytest.raises((NotProven, Unavailable)):
        copy(Registry(address, Account(), "http"), Name(repository, "v1"), target, new)
    assert digest_at(target, new) == ""
    assert [digest for digest in pushed.blobs if target.blob_size(new.repository, digest) is not None] == []


def test_what_was_stored_is_read_back(inside: ImageServer, source: Registry, repository: str) -> None:
    inside.seeder.push(repository, "v1", layers(repository))
    door = Door(inside)
    door.damage = "change"
    with door.listening() as address, pytest.raises(NotProven):
        copy(source, Name(repository, "v1"), Registry(address, Account(), "http"), Name(f"other-{repository}", "v1"))


@pytest.mark.parametrize(("status", "failure"), [(403, Forbidden), (405, Forbidden), (404, NotFound), (401, Unauthorized)])
def test_a_refusal_is_told_in_our_words(inside: ImageServer, repository: str, status: int, failure: type[Exception]) -> None:
    door = Door(inside)
    door.refuse["POST"] = [2, status]
    with door.listening() as address, pytest.raises(failure) as caught:
        Registry(address, Account("robot", "canary"), "http").try_push(repository)
    assert "canary" not in str(caught.value)


def test_a_registry_that_is_away_for_a_moment_is_asked_again(inside: ImageServer, source: Registry, repository: str) -> None:
    inside.seeder.push(repository, "v1", layers(repository))
    door = Door(inside)
    door.refuse["POST"] = [3, 503]
    new = Name(f"other-{repository}", "v1")
    with door.listening() as address:
        registry = Registry(address, Account(), "http")
        copy(source, Name(repository, "v1"), registry, new)
        assert missing_of(registry, new) == ()
    assert door.refuse["POST"][0] == 0


def test_what_is_no_registry_is_told_from_one_that_is_away() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        Registry("127.0.0.1:1", Account(), "http").log_in()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("127.0.0.1:5555/shop:v2", ("127.0.0.1:5555", Name("shop", "v2"))),
        ("r.example.com/a/b", ("r.example.com", Name("a/b", "latest"))),
        ("paas/shop:v1", ("", Name("paas/shop", "v1"))),
        ("localhost/shop@sha256:" + "0" * 64, ("localhost", Name("shop", "sha256:" + "0" * 64))),
        ("r.example.com/a:v1@sha256:" + "0" * 64, ("r.example.com", Name("a", "sha256:" + "0" * 64))),
    ],
)
def test_names_of_images_are_taken_apart(image: str, expected: tuple[str, Name]) -> None:
    assert split(image) == expected
