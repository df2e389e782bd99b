"""What an inventory may want of an S3 server, and what is refused before anything is looked at."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server import plain, service
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.wishes import (
    ARGUMENTS,
    BUCKET_OPTIONS,
    IDENTITY_OPTIONS,
    Wish,
    secrets_of,
    wish_of,
)

SECRET = secrets.token_hex(20)


def bucket(name: str, **more: Any) -> dict[str, Any]:
    return {**{key: option.get("default") for key, option in BUCKET_OPTIONS.items()}, "name": name, **more}


def identity(access: str, *buckets: str, **more: Any) -> dict[str, Any]:
    return {**{key: option.get("default") for key, option in IDENTITY_OPTIONS.items()}, "access_key": access, "secret_key": SECRET, "buckets": buckets, **more}


def options(**more: Any) -> dict[str, Any]:
    given = {name: option.get("default", [] if option.get("type") == "list" else None) for name, option in ARGUMENTS.items()}
    needed = {"binary_sha256": "0" * 64, "address": "10.0.0.2", "names": ["s3"], "root_access_key": "store-root", "root_secret_key": SECRET[::-1]}
    return {**given, **needed, **more}


def wish(**more: Any) -> Wish:
    return wish_of(options(**more))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "MinIO's own default": ({"root_access_key": "minioadmin"}, "root_access_key"),
    "its secret": ({"root_secret_key": "minioadmin"}, "root_secret_key"),
    "in other letters": ({"root_secret_key": "MinioAdmin"}, "root_secret_key"),
    "Amazon's example": ({"root_secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, "root_secret_key"),
    "a short secret": ({"root_secret_key": "a" * 15}, "root_secret_key"),
    "a secret with a quote": ({"root_secret_key": 'a"' * 10}, "root_secret_key"),
    "a secret with a newline": ({"root_secret_key": "a\n" * 10}, "root_secret_key"),
    "no secret": ({"root_secret_key": ""}, "root_secret_key"),
    "two secrets": ({"root_secret_key_file": "/nowhere"}, "root_secret_key"),
    "a file that is not there": ({"root_secret_key": "", "root_secret_key_file": "/nowhere"}, "root_secret_key_file"),
    "a key like its secret": ({"root_access_key": "b" * 20, "root_secret_key": "b" * 20}, "root_secret_key"),
    "every address": ({"address": "0.0.0.0"}, "address"),
    "no checksum": ({"binary_sha256": "abc"}, "binary_sha256"),
    "a port": ({"listen_port": 0}, "listen_port"),
    "a door where the server is": ({"plain_port": 9000}, "plain_port"),
    "two disks for Versity": ({"backend": "versity", "data_disks": ["/dev/a", "/dev/b"]}, "data_disks"),
    "one disk twice": ({"data_disks": ["/dev/a", "/dev/a"]}, "data_disks"),
    "a variable of ours": ({"settings": {"MINIO_ROOT_PASSWORD": "x"}}, "settings"),
    "a variable that breaks the file": ({"settings": {"A": 'x"\nMINIO_ROOT_USER="y'}}, "settings"),
    "a bucket twice": ({"buckets": [bucket("one"), bucket("one")]}, "buckets.name"),
    "a bucket that cannot be": ({"buckets": [bucket("One")]}, "buckets.name"),
    "a lock without versions": ({"buckets": [bucket("one", object_lock=True, versioning=False)]}, "buckets.object_lock"),
    "days without a lock": ({"buckets": [bucket("one", retention_days=1)]}, "buckets.retention_days"),
    "an identity of no bucket": ({"identities": [identity("app")]}, "identities.buckets"),
    "an identity of another bucket": ({"buckets": [bucket("one")], "identities": [identity("app", "two")]}, "identities.buckets"),
    "an identity twice": ({"buckets": [bucket("one")], "identities": [identity("app", "one"), identity("app", "one")]}, "identities.access_key"),
    "the root as an identity": ({"buckets": [bucket("one")], "identities": [identity("store-root", "one")]}, "identities.access_key"),
    "an identity with a known secret": ({"buckets": [bucket("one")], "identities": [identity("app", "one", secret_key="changeme")]}, "identities.secret_key"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_meant_is_refused_by_the_name_of_its_option_and_never_shown(case: str) -> None:
    given, option = REFUSED[case]
    with pytest.raises(Invalid) as caught:
        wish(**given)
    assert caught.value.subject == option
    assert caught.value.hint
    for name in ("root_secret_key", "settings"):
        assert str(given.get(name) or SECRET) not in str(caught.value)


def test_a_secret_may_come_from_a_file_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "root").write_text(f"{SECRET}\n")
    given = options(root_secret_key="", root_secret_key_file=str(tmp_path / "root"), identities=[], buckets=[])
    assert wish_of(given).root == ("store-root", SECRET)
    assert secrets_of(given) == [SECRET]


def test_secrets_are_in_no_text_of_a_wish() -> None:
    made = wish(buckets=[bucket("one")], identities=[identity("app", "one")])
    assert SECRET not in repr(made) + repr(made.identities)
    assert SECRET[::-1] not in repr(made)


def test_the_order_of_an_inventory_means_nothing() -> None:
    one = wish(buckets=[bucket("one"), bucket("two")], identities=[identity("x-1", "one", "two"), identity("y-1", "two")])
    other = wish(buckets=[bucket("two"), bucket("one")], identities=[identity("y-1", "two"), identity("x-1", "two", "one")])
    assert one == other


def test_the_command_line_of_each_backend() -> None:
    minio = wish(data_disks=["/dev/vdb", "/dev/vdc"])
    assert minio.backend.command(minio.places)[1:] == [
        *("server", "--quiet", "--address=10.0.0.2:9000", "--certs-dir=/etc/paas-hardening/object-store/tls", "/srv/objects/disk{1...2}"),
    ]
    assert wish(address="2001:db8::2").backend.command(wish(address="2001:db8::2").places)[3] == "--address=[2001:db8::2]:9000"
    versity = wish(backend="versity")
    assert versity.backend.command(versity.places)[-4:] == [
        *("--iam-dir=/srv/objects/disk1/accounts", "posix", "--versioning-dir=/srv/objects/disk1/versions", "/srv/objects/disk1/buckets"),
    ]
    for made in (minio, versity):
        assert not any(secret in word for word in made.backend.command(made.places) for secret in (SECRET, SECRET[::-1]))
        assert not any(secret in service.unit_text(made) for secret in (SECRET, SECRET[::-1]))


def test_an_environment_file_is_read_as_it_was_written() -> None:
    made = wish(settings={"MINIO_API_REQUESTS_MAX": 100, "MINIO_PROMETHEUS_AUTH_TYPE": "public", "B": True})
    assert made.variables["B"] == "true"
    assert service.environment_of(service.environment_text(made.variables)) == dict(made.variables)


def test_a_server_without_its_disk_is_not_started() -> None:
    made = wish(data_disks=["/dev/vdb", "/dev/vdc"])
    text = service.unit_text(made)
    assert [line for line in text.splitlines() if line.startswith("Assert")] == [
        "AssertPathIsMountPoint=/srv/objects/disk1",
        "AssertPathIsMountPoint=/srv/objects/disk2",
    ]
    assert "Assert" not in service.unit_text(wish())
    assert "AmbientCapabilities=\n" in text
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in service.unit_text(wish(listen_port=443))


def test_the_door_without_tls_insists_on_the_name_of_the_server_and_has_no_key() -> None:
    made = wish(plain_port=80, names=["s3.example.com"])
    text = plain.configuration_text(made)
    assert "accept = 10.0.0.2:80\nconnect = 10.0.0.2:9000\n" in text
    assert "verifyChain = yes\ncheckHost = s3.example.com\nsni = s3.example.com\n" in text
    assert "checkIP = 10.0.0.9" in plain.configuration_text(wish(plain_port=9001, names=["10.0.0.9"]))
    assert "key" not in text
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in plain.unit_text(made)
    assert "InaccessiblePaths=-/srv/objects\n" in plain.unit_text(made)
    assert made.backend.command(made.places) == wish().backend.command(wish().places)
