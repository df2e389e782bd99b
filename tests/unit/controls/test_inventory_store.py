"""Which store of the inventory a platform moves to, as whom, and what is said when none will do."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.inventory_store import inventory_store

SECRET = secrets.token_hex(20)
BUCKETS = ("dbwal", "git", "registry")
DRYCC = {"builder": "paas-builder", "registry": "paas-registry", "quickwit": "quickwit"}
ENDPOINTS = {"endpoint": "https://s3:9000", "plain_endpoint": "http://10.0.0.2:9001", "region": "us-east-1", "authority": "PEM", "ready": True}


def identity(name: str, *buckets: str, **more: Any) -> dict[str, Any]:
    return {"access_key": name, "secret_key": SECRET, "buckets": list(buckets), **more}


def host(name: str = "s3", seen: bool = True, **more: Any) -> dict[str, Any]:
    own = {"buckets": [{"name": bucket} for bucket in BUCKETS], "identities": [identity("paas", *BUCKETS)], "plain_port": 9001, **more}
    result = {"__object_store_server_result": {"store": ENDPOINTS}} if seen else {}
    return {"inventory_hostname": name, **{f"object_store_server_{key}": value for key, value in own.items()}, **result}


def for_drycc(**more: Any) -> dict[str, Any]:
    names = tuple(DRYCC.values())
    return host(buckets=[{"name": name} for name in names], identities=[identity("paas", *names)], **more)


@pytest.mark.parametrize("platform", ["deis", "hephy", ""])
def test_a_platform_without_tls_goes_to_the_door_without_it(platform: str) -> None:
    assert inventory_store([host()], platform) == {
        "host": "s3",
        "seen": True,
        "ready": True,
        "problems": [],
        "endpoint": "http://10.0.0.2:9001",
        "region": "us-east-1",
        "ca_certificates": "",
        "access_key": "paas",
        "secret_key": SECRET,
    }


@pytest.mark.parametrize("platform", ["drycc-1.8", ""])
def test_a_platform_with_tls_takes_a_certificate_whose_authority_its_images_may_know(platform: str) -> None:
    own = inventory_store([for_drycc(plain_port=0, tls_certificate="/etc/ssl/s3.crt")], platform, DRYCC)
    assert (own["problems"], own["endpoint"], own["ca_certificates"]) == ([], "https://s3:9000", "PEM")
    assert inventory_store([for_drycc()], platform, DRYCC)["endpoint"] == "http://10.0.0.2:9001"


def test_the_first_host_with_all_of_it_and_the_identity_with_the_fewest_rights_are_taken() -> None:
    able = [identity("all", *BUCKETS, "more"), identity("reader", *BUCKETS, rights="read"), identity("paas", *BUCKETS), identity("one", "git")]
    hosts = [host("backups", buckets=[{"name": "backups"}]), host("first", identities=able), host("second")]
    found = inventory_store(hosts, "hephy")
    assert (found["host"], found["access_key"], found["problems"]) == ("first", "paas", [])


def test_a_host_that_was_not_looked_at_is_told_apart_from_one_that_is_not_ready() -> None:
    unseen = inventory_store([host(seen=False)], "hephy")
    assert (unseen["seen"], unseen["ready"], unseen["endpoint"]) == (False, False, "")
    planned = host()
    planned["__object_store_server_result"] = {"store": {**ENDPOINTS, "ready": False}}
    found = inventory_store([planned], "hephy")
    assert (found["seen"], found["ready"]) == (True, False)


MISSING: dict[str, tuple[dict[str, Any], str, dict[str, str], list[str]]] = {
    "buckets": ({"buckets": [{"name": "git"}]}, "hephy", {}, ["s3 has no bucket dbwal, registry", "object_store_server_buckets"]),
    "an identity": ({"identities": []}, "hephy", {}, ["no identity that may write in dbwal, git, registry", "object_store_server_identities"]),
    "one for all": ({"identities": [identity("a", "git"), identity("b", "dbwal", "registry")]}, "hephy", {}, ["no identity"]),
    "one that may write": ({"identities": [identity("a", *BUCKETS, rights="read")]}, "hephy", {}, ["no identity"]),
    "another region": ({"region": "eu-central-1"}, "hephy", {}, ["the region eu-central-1", "us-east-1 only"]),
    "a door": ({"plain_port": 0}, "hephy", {}, ["plain HTTP", "object_store_server_plain_port"]),
    "a door, with a certificate": ({"plain_port": 0, "tls_certificate": "/etc/ssl/s3.crt"}, "deis", {}, ["Deis Workflow speaks plain HTTP"]),
    "names": ({}, "drycc-head", {}, ["object_storage_buckets: missing"]),
    "trust": (
        {"plain_port": 0, "buckets": [{"name": name} for name in DRYCC.values()], "identities": [identity("paas", *DRYCC.values())]},
        *("drycc-1.8", DRYCC, ["cannot verify the authority", "object_store_server_plain_port", "object_store_server_tls_certificate"]),
    ),
}


@pytest.mark.parametrize("case", list(MISSING))
def test_what_is_missing_is_named_with_the_remedy_and_without_a_secret(case: str) -> None:
    more, platform, buckets, words = MISSING[case]
    found = inventory_store([host(**more)], platform, buckets)
    told = " ".join(found["problems"])
    assert [word for word in words if word not in told] == [], told
    assert len(found["problems"]) == 1
    assert SECRET not in str(found)
    assert "access_key" not in found
