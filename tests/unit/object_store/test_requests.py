"""Requests are signed as Amazon documents it, and policies mean the same in whatever order a store keeps them."""

from __future__ import annotations

import datetime
import json

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.bucket_settings import least_privilege
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server import buckets, policies
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import MINIO, VERSITY
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.identities import Accounts, Iam, statements_for
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.wishes import Bucket, Identity
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.signed import Answer, Keys, Request, signed

MOMENT = datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC)
# The examples of Amazon's documentation of Signature Version 4 for S3, with its own example keys.
EXAMPLE = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
HOST = {"host": "examplebucket.s3.amazonaws.com"}
SIGNATURES = {
    "get an object": (Request("GET", "/test.txt", "", b""), {"range": "bytes=0-9"}, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
    "get the lifecycle": (Request("GET", "/", "lifecycle=", b""), {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
    "list objects": (Request("GET", "/", "max-keys=2&prefix=J", b""), {}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
}


@pytest.mark.parametrize("name", list(SIGNATURES))
def test_a_request_is_signed_as_documented(name: str) -> None:
    request, headers, expected = SIGNATURES[name]
    found = signed(EXAMPLE, "us-east-1", request, {**HOST, **headers}, MOMENT)
    assert found["authorization"].endswith(f"Signature={expected}")
    assert EXAMPLE.secret not in repr(EXAMPLE)


def test_rights_are_those_that_the_collection_names_elsewhere() -> None:
    assert policies.rights_of(["one"], policies.WRITE) == policies.statements_of(least_privilege("one"))


def test_a_policy_survives_its_way_to_the_store_and_back() -> None:
    rights = policies.rights_of(["one", "two"], policies.READ, "app")
    kept = json.loads(json.dumps(policies.document_of(rights)))
    assert policies.statements_of(kept) == rights
    kept["Statement"].reverse()
    for statement in kept["Statement"]:
        statement["Resource"].reverse()
        statement["Sid"] = "named by somebody"
    assert policies.statements_of(kept) == rights


def test_everybody_is_shut_out_and_what_others_deny_stays() -> None:
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::one", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    allow = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::one/*"}
    found = policies.statements_of({"Statement": [deny, allow]})
    assert policies.lets_everybody_in(found)
    left = policies.shut(found, frozenset())
    assert [one.effect for one in left] == ["Deny"]
    assert json.loads(next(iter(left)).rest) == {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    assert policies.shut(left, frozenset()) == left


APP = Identity("app", "s" * 20, ("one",), policies.WRITE)


def test_where_identities_have_policies_those_of_buckets_let_in_nobody() -> None:
    assert statements_for(MINIO, "one", {"app": APP}) == frozenset()
    assert statements_for(VERSITY, "one", {"app": APP}) == policies.rights_of(["one"], policies.WRITE, "app")
    assert statements_for(VERSITY, "two", {"app": APP}) == frozenset()


def test_of_an_identity_everything_that_differs_is_told_and_no_secret() -> None:
    rights = policies.document_of(policies.rights_of(["one"], policies.WRITE))
    good = ({"app": {"secretKey": "s" * 20, "status": "enabled"}}, {"paas-hardening-app": rights}, {"app": {"policy": "paas-hardening-app"}}, {}, {}, {})
    assert Iam(*good).differences(APP) == []
    users, known, mapped = good[:3]
    for change, fields in (
        (({}, {}, {}), ["identity", "secret key", "policy", "rights"]),
        (({"app": {"secretKey": "other", "status": "enabled"}}, known, mapped), ["secret key"]),
        (({"app": {**users["app"], "status": "disabled"}}, known, mapped), ["status"]),
        ((users, known, {"app": {"policy": "consoleAdmin"}}), ["policy"]),
        ((users, {"paas-hardening-app": policies.document_of(policies.rights_of(["one", "two"], policies.WRITE))}, mapped), ["rights"]),
    ):
        differences = Iam(*change, {}, {}, {}).differences(APP)
        assert [field for field, _before, _after in differences] == fields
        assert APP.secret not in str(differences)
    assert Accounts({"app": {"Secret": "s" * 20, "Role": "user"}}).differences(APP) == []
    assert [entry[0] for entry in Accounts({"app": {"Secret": "other", "Role": "admin"}}).differences(APP)] == ["secret key", "role"]


def test_who_is_not_declared_or_has_more_by_another_way_is_named() -> None:
    users = {"app": {}, "boss": {}}
    groups, of_groups = {"chiefs": {"members": ["app"]}, "idle": {"members": ["app"]}}, {"chiefs": {"policy": "consoleAdmin"}}
    found = Iam(users, {}, {"boss": {"policy": "readwrite"}}, groups, {"KEY": {"parent": "store-root"}}, of_groups).strangers({"app": APP})
    assert [stranger.text for stranger in found] == [
        "There is an identity boss, with readwrite.",
        "app has more by the group chiefs: consoleAdmin.",
        "There is a further key KEY, with the rights of store-root.",
    ]


NO = frozenset[policies.Statement]()


@pytest.mark.parametrize(
    ("wanted", "seen", "fields"),
    [
        (Bucket("one", True, False, 0, "GOVERNANCE"), None, ["bucket", "versioning"]),
        (Bucket("one", False, False, 0, "GOVERNANCE"), None, ["bucket"]),
        (Bucket("one", True, True, 7, "GOVERNANCE"), None, ["bucket", "versioning", "object lock", "retention"]),
        (Bucket("one", True, False, 0, "GOVERNANCE"), buckets.Seen("Suspended", False, None, NO), ["versioning"]),
        (Bucket("one", False, False, 0, "GOVERNANCE"), buckets.Seen("Enabled", False, None, NO), ["versioning"]),
        (Bucket("one", False, False, 0, "GOVERNANCE"), buckets.Seen("Suspended", False, None, NO), []),
        (Bucket("one", True, True, 7, "GOVERNANCE"), buckets.Seen("Enabled", True, ("COMPLIANCE", 7), NO), ["retention"]),
        (Bucket("one", True, True, 0, "GOVERNANCE"), buckets.Seen("Enabled", True, ("GOVERNANCE", 7), NO), ["retention"]),
        # A lock cannot be had afterwards: that is told, not planned.
        (Bucket("one", True, True, 7, "GOVERNANCE"), buckets.Seen("Enabled", False, None, NO), []),
    ],
    ids=str,
)
def test_of_a_bucket_everything_that_differs_is_told(wanted: Bucket, seen: buckets.Seen | None, fields: list[str]) -> None:
    assert [field for field, _before, _after in buckets.differences(wanted, seen)] == fields


def test_nothing_of_what_a_store_sends_is_in_a_failure() -> None:
    failure = buckets.failure_of(Answer(403, "SignatureDoesNotMatch", b"<StringToSign>secret</StringToSign>"), "list of buckets")
    assert failure.reason == "Unauthorized"
    assert "secret<" not in str(failure)
