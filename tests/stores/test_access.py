"""Whether a bucket can be used, asked of real servers, with users who may do less than everything."""

from __future__ import annotations

import time

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid, NotFound, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.access import check_access
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine
from tests.stores.liar import Liar
from tests.stores.servers import Gateway, Minio

ALL = ("s3:ListBucket", "s3:PutObject", "s3:GetObject", "s3:DeleteObject")


def test_all_rights_and_nothing_left(engine: Engine, target: Gateway, bucket: str) -> None:
    target.bucket(bucket, {"key": b"1"})
    found = check_access(engine, target.store(), bucket)
    assert (found.created, found.empty) == (False, False)
    assert found.skew_seconds == pytest.approx(0, abs=2)
    assert target.keys(bucket) == ["key"]


@pytest.mark.parametrize("server", ["source", "target"])
def test_a_missing_bucket_is_made_when_asked(engine: Engine, request: pytest.FixtureRequest, server: str, bucket: str) -> None:
    there: Minio | Gateway = request.getfixturevalue(server)
    with pytest.raises(NotFound, match=f"no bucket {bucket}"):
        check_access(engine, there.store(), bucket)
    found = check_access(engine, there.store(), bucket, create=True)
    assert (found.created, found.empty) == (True, True)
    assert there.keys(bucket) == []
    assert not check_access(engine, there.store(), bucket, create=True).created


@pytest.mark.parametrize("lacking", [["list"], ["put"], ["get"], ["list", "get"]])
def test_each_missing_right_is_named(engine: Engine, target: Gateway, bucket: str, lacking: list[str]) -> None:
    target.bucket(bucket)
    access_key, secret_key = target.add_user()
    names = {"list": "s3:ListBucket", "put": "s3:PutObject", "get": "s3:GetObject", "delete": "s3:DeleteObject"}
    target.allow(bucket, access_key, *(name for right, name in names.items() if right not in lacking))
    with pytest.raises(Forbidden, match="lack rights") as caught:
        check_access(engine, target.store(access_key=access_key, secret_key=secret_key), bucket)
    said = caught.value.message
    assert [right for right, name in names.items() if name in said] == lacking
    assert secret_key not in str(caught.value)
    assert target.keys(bucket) == []


def test_what_cannot_be_deleted_is_named(engine: Engine, target: Gateway, bucket: str) -> None:
    target.bucket(bucket)
    access_key, secret_key = target.add_user()
    target.allow(bucket, access_key, "s3:ListBucket", "s3:PutObject", "s3:GetObject")
    with pytest.raises(Forbidden, match="s3:DeleteObject") as caught:
        check_access(engine, target.store(access_key=access_key, secret_key=secret_key), bucket)
    left = target.keys(bucket)
    assert len(left) == 1
    assert left[0] in caught.value.message


def test_no_right_at_all(engine: Engine, target: Gateway, bucket: str) -> None:
    target.bucket(bucket)
    access_key, secret_key = target.add_user()
    user = target.store(access_key=access_key, secret_key=secret_key)
    with pytest.raises(Forbidden, match=r"s3:ListBucket.*s3:PutObject"):
        check_access(engine, user, bucket)
    with pytest.raises(Forbidden):
        check_access(engine, user, f"{bucket}-new", create=True)
    assert target.client().send("HEAD", f"/{bucket}-new").status == 404


@pytest.mark.parametrize("change", ["access_key", "secret_key"])
def test_wrong_credentials(engine: Engine, target: Gateway, bucket: str, change: str) -> None:
    target.bucket(bucket)
    canary = "canary-of-a-wrong-key-0123"
    with pytest.raises(Invalid, match="does not accept the credentials") as caught:
        check_access(engine, target.store(**{change: canary}), bucket)
    assert canary not in str(caught.value)
    assert target.secret_key not in str(caught.value)


def test_a_name_that_cannot_be(engine: Engine, target: Gateway) -> None:
    with pytest.raises(Invalid, match="has a dot"):
        check_access(engine, target.store(), "dot.ted")


@pytest.mark.parametrize("lie", ["flipped", "short"])
def test_a_store_that_returns_something_else(engine: Engine, target: Gateway, bucket: str, lie: str) -> None:
    target.bucket(bucket)

    def rule(method: str, path: str) -> str | None:
        return lie if method == "GET" and "probe/" in path.partition("?")[0] else None

    with Liar(target.port, rule).listening() as url, pytest.raises(NotProven, match="other content"):
        check_access(engine, target.store(endpoint=url), bucket)
    assert target.keys(bucket) == []


class Behind(Liar):
    """A store whose clock is an hour behind in its listings."""

    def change(self, content: bytes) -> bytes:
        now = time.gmtime(time.time())
        behind = time.gmtime(time.time() - 3600)
        return content.replace(time.strftime("%Y-%m-%dT%H:", now).encode(), time.strftime("%Y-%m-%dT%H:", behind).encode())


def test_the_skew_of_the_clocks(engine: Engine, target: Gateway, bucket: str) -> None:
    target.bucket(bucket)
    with Behind(target.port, lambda _method, _path: None).listening() as url:
        found = check_access(engine, target.store(endpoint=url), bucket)
    assert found.skew_seconds == pytest.approx(-3600, abs=60)
