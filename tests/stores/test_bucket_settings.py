"""Bucket settings on two real servers: what is written stays, nothing is written twice, and everybody is seen to be shut out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.bucket_settings import ARGUMENTS, VERB, least_privilege
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.access import check_access
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.bucket_api import LIFECYCLE, BucketApi
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine
from tests.stores.servers import Gateway, Minio, ObjectServer

ASKED: dict[str, Any] = {"public_access_blocked": True, "versioning": True}


def settings(server: ObjectServer, bucket: str, check: bool = False, **options: Any) -> dict[str, Any]:
    """Run the verb as a module would."""
    given = {"endpoint": server.endpoint, "access_key": server.access_key, "secret_key": server.secret_key, "buckets": {"registry": bucket}}
    defaults = {name: about.get("default") for name, about in ARGUMENTS.items()}
    ca_file = str(server.authority) if server.authority else None
    return run(VERB.begin, {**defaults, **given, "ca_file": ca_file, **options}, check=check, diff=True)


def publish(server: ObjectServer, bucket: str) -> None:
    """Let everybody read the objects, beside a statement that is somebody else's business."""
    arn = f"arn:aws:s3:::{bucket}"
    public = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": [arn, f"{arn}/*"]}
    answer = server.client().send("PUT", f"/{bucket}", json.dumps({"Version": "2012-10-17", "Statement": [public]}).encode(), {"policy": ""})
    assert answer.status in (200, 204), answer.body


@pytest.fixture
def versioned(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that keeps versions, behind TLS."""
    server = Gateway(tmp_path / "versioned", versions=True)
    server.speak_tls()
    with server.running():
        yield server


@pytest.fixture(params=["minio", "gateway"])
def server(request: pytest.FixtureRequest, source: Minio, versioned: Gateway) -> ObjectServer:
    return source if request.param == "minio" else versioned


def test_check_mode_predicts_the_run_and_the_second_run_does_nothing(server: ObjectServer, bucket: str) -> None:
    server.bucket(bucket, {"manifest": b"content"})
    publish(server, bucket)
    predicted = settings(server, bucket, check=True, **ASKED)
    assert not predicted.get("failed"), predicted
    assert predicted["findings"][0]["status"] == "would-fix"
    # Nothing was written: everybody still gets in.
    assert [check["verdict"] for check in predicted["proof"]["checks"]] == ["fail", "fail"]
    done = settings(server, bucket, **ASKED)
    assert not done.get("failed"), done
    assert done["plan"] == predicted["plan"]
    assert {entry["object"].split()[0] for entry in done["plan"]} == {"BucketPolicy", "BucketVersioning"}
    assert [check["observed"] for check in done["proof"]["checks"]] == ["HTTP 403", "HTTP 403"]
    assert done["findings"][0]["status"] == "fixed"
    again = settings(server, bucket, **ASKED)
    assert (again["changed"], again["plan"], again["findings"][0]["status"]) == (False, [], "pass")
    server.put(bucket, "manifest", b"other content")
    assert server.get(bucket, "manifest") == b"other content"


def test_old_versions_go_and_a_rule_of_others_stays(source: Minio, bucket: str) -> None:
    source.bucket(bucket)
    foreign = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    BucketApi(source.store()).write({"apiVersion": "s3", "kind": LIFECYCLE, "metadata": {"name": bucket}, "Rules": [foreign]})
    done = settings(source, bucket, versioning=True, noncurrent_days=30)
    assert not done.get("failed"), done
    kept = source.client().send("GET", f"/{bucket}", query={"lifecycle": ""}).body.decode()
    assert "<NoncurrentDays>30</NoncurrentDays>" in kept
    assert "logs/" in kept
    assert not settings(source, bucket, versioning=True, noncurrent_days=30)["changed"]
    back = settings(source, bucket, versioning=False, noncurrent_days=0)
    assert back["changed"]
    kept = source.client().send("GET", f"/{bucket}", query={"lifecycle": ""}).body.decode()
    assert "NoncurrentDays" not in kept
    assert "logs/" in kept
    assert not settings(source, bucket, versioning=False, noncurrent_days=0)["changed"]


def test_a_setting_that_the_store_has_not_is_said_and_nothing_else_is_lost(versioned: Gateway, bucket: str) -> None:
    versioned.bucket(bucket)
    failed = settings(versioned, bucket, noncurrent_days=30)
    assert failed["failed"]
    assert failed["failure"]["reason"] == "Refused"
    assert "BucketLifecycle" in failed["msg"]
    assert failed["changed"] is False


def test_a_public_object_that_the_policy_does_not_name_is_noticed(source: Minio, bucket: str) -> None:
    """A condition that holds for everybody is not taken for public; what is seen from outside says so all the same."""
    source.bucket(bucket, {"manifest": b"content"})
    arn = f"arn:aws:s3:::{bucket}"
    condition = {"IpAddress": {"aws:SourceIp": ["127.0.0.0/8"]}}
    statement = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"], "Resource": [f"{arn}/*"], "Condition": condition}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    assert source.client().send("PUT", f"/{bucket}", policy, {"policy": ""}).status in (200, 204)
    failed = settings(source, bucket, public_access_blocked=True)
    assert failed["failed"]
    assert failed["failure"]["reason"] == "NotProven"
    assert "HTTP 200" in failed["msg"]


def test_a_component_gets_into_its_own_bucket_only(engine: Engine, target: Gateway, bucket: str) -> None:
    other = f"{bucket}-other"
    target.bucket(bucket)
    target.bucket(other, {"manifest": b"content"})
    access_key, secret_key = target.add_user()
    policy = least_privilege(bucket)
    statements = [{**statement, "Principal": {"AWS": [access_key]}} for statement in policy["Statement"]]
    answer = target.client().send("PUT", f"/{bucket}", json.dumps({**policy, "Statement": statements}).encode(), {"policy": ""})
    assert answer.status in (200, 204), answer.body
    store = target.store(access_key=access_key, secret_key=secret_key)
    assert check_access(engine, store, bucket).empty
    with pytest.raises(Forbidden):
        check_access(engine, store, other)


@pytest.mark.parametrize(
    ("options", "reason", "said"),
    [
        ({"buckets": {"registry": "not-there-at-all"}}, "NotFound", "not-there-at-all"),
        ({"secret_key": "wrong-secret-of-some-length"}, "Unauthorized", "credentials"),
        ({"endpoint": "http://127.0.0.1:9", "probe": False}, "Unavailable", "does not answer"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is_shown(source: Minio, bucket: str, options: dict[str, Any], reason: str, said: str) -> None:
    source.bucket(bucket)
    failed = settings(source, bucket, **{**ASKED, **options})
    assert failed["failed"]
    assert failed["failure"]["reason"] == reason, failed
    assert said in failed["msg"]
    for secret in (source.secret_key, "wrong-secret-of-some-length"):
        assert secret not in json.dumps(failed)


def test_tls_only_is_kept_by_a_store_that_knows_conditions(tmp_path: Path, bucket: str) -> None:
    server = Minio(tmp_path / "minio-tls")
    server.speak_tls()
    with server.running():
        server.bucket(bucket)
        done = settings(server, bucket, tls_only=True)
        assert not done.get("failed"), done
        assert done["proof"]["verdict"] == "pass"
        assert not settings(server, bucket, tls_only=True)["changed"]
        assert settings(server, bucket, tls_only=False)["changed"]
        assert not settings(server, bucket, tls_only=False)["changed"]
