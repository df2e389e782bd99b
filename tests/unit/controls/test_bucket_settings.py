"""What bucket settings are wanted, and which entries of others are left alone. The stores that answer are in tests/stores."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.bucket_settings import (
    ARGUMENTS,
    RULE,
    STATEMENT,
    Bucket,
    BucketSettings,
    least_privilege,
    lets_everybody_in,
    tls_only,
    wanted_settings,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import plan_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.bucket_api import LIFECYCLE, POLICY, PUBLIC_ACCESS, VERSIONING

FOREIGN = {"Sid": "Auditor", "Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::1:user/a"]}, "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/*"]}
PUBLIC = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/*"]}
FOREIGN_RULE = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}


def params(**given: Any) -> dict[str, Any]:
    return {**{name: about.get("default") for name, about in ARGUMENTS.items()}, "buckets": {"registry": "b-b-b"}, **given}


def bucket(**settings: dict[str, Any]) -> Bucket:
    named = {"policy": POLICY, "public": PUBLIC_ACCESS, "versioning": VERSIONING, "lifecycle": LIFECYCLE}
    return Bucket("b", {named[name]: {"apiVersion": "s3", "kind": named[name], "metadata": {"name": "b"}, **parts} for name, parts in settings.items()})


def planned(found: Bucket, **given: Any) -> dict[str, Any]:
    """The values that the plan writes, by kind and field."""
    return {f"{change.ref.kind}.{change.field}": change.after for change in plan_of(wanted_settings(found, params(**given))).changes}


def test_nothing_asked_for_is_nothing_done() -> None:
    assert planned(bucket()) == {}


def test_our_statement_joins_those_of_others() -> None:
    found = bucket(policy={"Version": "2008-10-17", "Statement": [FOREIGN]})
    assert planned(found, tls_only=True) == {"BucketPolicy.Statement": [FOREIGN, tls_only("b")]}
    assert planned(bucket(policy={}), tls_only=True) == {"BucketPolicy.Version": "2012-10-17", "BucketPolicy.Statement": [tls_only("b")]}


@pytest.mark.parametrize(
    "spelling",
    [
        {},
        {"Principal": {"AWS": "*"}},
        {"Principal": {"AWS": ["*"]}},
        {"Action": ["s3:*"]},
        {"Resource": ["arn:aws:s3:::b/*", "arn:aws:s3:::b"]},
        {"Condition": {"Bool": {"aws:SecureTransport": ["false"]}}},
    ],
)
def test_our_statement_is_known_however_the_store_spells_it(spelling: dict[str, Any]) -> None:
    assert planned(bucket(policy={"Version": "2012-10-17", "Statement": [{**tls_only("b"), **spelling}, FOREIGN]}), tls_only=True) == {}


@pytest.mark.parametrize(
    "look_alike",
    [
        {"Effect": "Allow"},
        {"Principal": {"AWS": ["arn:aws:iam::1:user/a"]}},
        {"Action": "s3:GetObject"},
        {"Resource": ["arn:aws:s3:::b/*"]},
        {"Resource": ["arn:aws:s3:::other", "arn:aws:s3:::other/*"]},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
        {"Condition": {"Bool": {"aws:SecureTransport": "false"}, "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}},
    ],
)
def test_a_statement_that_only_looks_like_ours_is_mended_where_it_stands(look_alike: dict[str, Any]) -> None:
    found = bucket(policy={"Version": "2012-10-17", "Statement": [{**tls_only("b"), **look_alike}, FOREIGN]})
    assert planned(found, tls_only=True) == {"BucketPolicy.Statement": [tls_only("b"), FOREIGN]}


def test_the_way_back_leaves_what_others_have() -> None:
    ours = {"policy": {"Version": "2012-10-17", "Statement": [FOREIGN, tls_only("b")]}}
    assert planned(bucket(**ours), tls_only=False) == {"BucketPolicy.Statement": [FOREIGN]}
    alone = {"policy": {"Version": "2012-10-17", "Statement": [tls_only("b")]}}
    assert planned(bucket(**alone), tls_only=False) == {"BucketPolicy.Version": ABSENT, "BucketPolicy.Statement": ABSENT}
    rules = {"lifecycle": {"Rules": [FOREIGN_RULE, {"ID": RULE, "Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 3}}]}}
    assert planned(bucket(**rules), noncurrent_days=0) == {"BucketLifecycle.Rules": [FOREIGN_RULE]}
    assert planned(bucket(versioning={"Status": "Enabled"}), versioning=False) == {"BucketVersioning.Status": "Suspended"}
    assert planned(bucket(versioning={}), versioning=False) == {}


def test_everybody_is_shut_out_by_the_block_where_there_is_one_and_by_the_policy_where_not() -> None:
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True}
    assert planned(bucket(public=block), public_access_blocked=True) == {"BucketPublicAccessBlock.RestrictPublicBuckets": True}
    found = bucket(policy={"Version": "2012-10-17", "Statement": [PUBLIC, FOREIGN]})
    assert planned(found, public_access_blocked=True) == {"BucketPolicy.Statement": [FOREIGN]}
    # With the block the policy is not ours to change.
    blocked = bucket(public=dict.fromkeys((*block, "RestrictPublicBuckets"), True), policy={"Statement": [PUBLIC]})
    assert planned(blocked, public_access_blocked=True) == {}


@pytest.mark.parametrize(
    ("statement", "public"),
    [
        (PUBLIC, True),
        ({**PUBLIC, "Principal": "*"}, True),
        ({**PUBLIC, "Principal": {"AWS": "*"}}, True),
        ({**PUBLIC, "Effect": "Deny"}, False),
        ({**PUBLIC, "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, False),
        (FOREIGN, False),
        ({**PUBLIC, "Principal": {"Service": "logging.s3.amazonaws.com"}}, False),
    ],
)
def test_who_is_everybody(statement: dict[str, Any], public: bool) -> None:
    assert lets_everybody_in(statement) is public


def test_a_rule_never_removes_what_is_current() -> None:
    asked = {"noncurrent_days": 30, "abort_multipart_days": 7}
    (rule,) = planned(bucket(lifecycle={}), **asked)["BucketLifecycle.Rules"]
    assert rule["ID"] == RULE
    assert "Expiration" not in rule
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    # As AWS gives it back.
    returned = {**rule, "Filter": {}}
    assert planned(bucket(lifecycle={"Rules": [FOREIGN_RULE, returned]}), **asked) == {}
    assert planned(bucket(lifecycle={"Rules": [{**rule, "Status": "Disabled"}]}), **asked) == {"BucketLifecycle.Rules": [rule]}
    # A rule for one folder only is not ours.
    assert planned(bucket(lifecycle={"Rules": [{**rule, "Filter": {"Prefix": "x/"}}]}), **asked)


def test_a_component_has_rights_in_its_bucket_alone() -> None:
    resources = [resource for statement in least_privilege("b")["Statement"] for resource in statement["Resource"]]
    assert resources == ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]
    assert STATEMENT not in str(least_privilege("b"))


@pytest.mark.parametrize(
    ("given", "failure", "subject"),
    [
        ({"buckets": {}}, Invalid, "buckets"),
        ({"buckets": {"registry": "Not.A.Bucket"}}, Invalid, "buckets.registry"),
        ({"noncurrent_days": -1}, Invalid, "noncurrent_days"),
        ({"endpoint": "http://s3.example.com", "tls_only": True}, Refused, "tls_only"),
        ({"access_key": "only-one"}, Invalid, "secret_key"),
        ({"access_key": "a", "access_key_file": "/etc/hostname"}, Invalid, "access_key"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(given: dict[str, Any], failure: type[Failure], subject: str) -> None:
    with pytest.raises(failure) as caught:
        BucketSettings(params(**given))
    assert caught.value.subject == subject
