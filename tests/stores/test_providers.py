"""The stores of Azure, Google and OpenStack, and Ceph's: a bucket is made there, filled from the bundled store, proved, and brought up to date."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotFound
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.access import check_access
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.transfer import transfer
from tests.stores.ceph import Ceph
from tests.stores.providers import Azurite, FakeGcs, Provider, Swift
from tests.stores.servers import Minio
from tests.stores.test_transfer import SEED, fill, some

KINDS: dict[str, type[Provider]] = {"azure": Azurite, "ceph": Ceph, "gcs": FakeGcs, "swift": Swift}


@pytest.fixture(scope="module", params=sorted(KINDS))
def provider(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with KINDS[request.param](tmp_path_factory.mktemp(request.param)).running() as server:
        yield server


@pytest.fixture
def bucket() -> str:
    return f"paas-{secrets.token_hex(6)}"


def test_a_bucket_is_moved_there_and_proved(provider: Provider, engine: Engine, source: Minio, bucket: str, tmp_path: Path) -> None:
    store = provider.store()
    with pytest.raises(NotFound):
        check_access(engine, store, bucket)
    assert check_access(engine, store, bucket, create=True).created
    fill(source, bucket, some(150))
    source.put(bucket, "slugs/größe ü.tgz", b"a name in two scripts")
    source.put_in_parts(bucket, "large", random.Random(SEED).randbytes(12 << 20))
    wanted = source.contents(bucket)
    done = transfer(engine, source.store(), bucket, store, bucket, str(tmp_path), settled_seconds=0.0)
    assert done.copied_objects == done.proved_objects == done.objects == len(wanted) == 152
    assert provider.contents(bucket) == wanted
    again = transfer(engine, source.store(), bucket, store, bucket, str(tmp_path), settled_seconds=0.0)
    assert (again.copied_objects, again.read_objects, again.proved_objects) == (0, 0, 152)
    source.put(bucket, "large", b"another, smaller one")
    again = transfer(engine, source.store(), bucket, store, bucket, str(tmp_path), settled_seconds=0.0)
    assert (again.copied_objects, again.proved_objects) == (1, 152)
    assert provider.contents(bucket) == source.contents(bucket)
    # The way back: into an empty bucket of the bundled store.
    source.bucket(f"{bucket}-back")
    back = transfer(engine, store, bucket, source.store(), f"{bucket}-back", str(tmp_path / "back"), settled_seconds=0.0)
    assert back.proved_objects == 152
    assert source.contents(f"{bucket}-back") == source.contents(bucket)


def test_wrong_credentials_are_named_and_not_shown(provider: Provider, engine: Engine, bucket: str) -> None:
    store = provider.store(wrong=True)
    with pytest.raises(Failure) as caught:
        check_access(engine, store, bucket)
    assert caught.value.reason in ("Unauthorized", "Forbidden", "Invalid"), caught.value
    for secret in store.secrets():
        assert secret not in str(caught.value)
