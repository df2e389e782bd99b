"""Buckets of a point come back in new buckets of real stores of two makers, proved there by content; what is not as it was is refused."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.fetch import Bucket
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.kind import proved
from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import read_keys
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find
from lab import builds
from tests.backup.asking import brought_back, key_file, refused
from tests.perf import figures
from tests.proof import Measured
from tests.stores.servers import Gateway, Minio, ObjectServer
from tests.unit.backup.points import PASSED, manifest

# No shell would spell them. Neither server can hold a and a/b at once: tests/unit/backup has that.
KEYS = (
    "plain",
    "docker/registry/v2/blobs/sha256/ab/abcd/data",
    "ünï cødé: *?[x]",
    "tab\tkey",
    " blank ",
    "UPPER",
    "upper",
    "-dash",
    "x" * 200,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[ObjectServer]:
    builds.ensure(["minio", "versitygw"], report)
    with Minio(tmp_path_factory.mktemp("source")).running() as server:
        yield server


@pytest.fixture(params=[Minio, Gateway], ids=["minio", "versity"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectServer]:
    server: ObjectServer = request.param(tmp_path / "target")
    server.speak_tls()
    with server.running():
        yield server


def contents(count: int) -> dict[str, bytes]:
    chance = random.Random(7)
    made = {f"many/{number % 13}/{number}": chance.randbytes(chance.randrange(4000)) for number in range(count)}
    return {**made, **{key: chance.randbytes(100 + number) for number, key in enumerate(KEYS)}, "empty": b"", "large": chance.randbytes(12 << 20)}


def point_of(folder: Path, server: ObjectServer, buckets: dict[str, str]) -> Manifest:
    """A repository with one point of these buckets, as the kind buckets makes it."""
    keys = read_keys(key_file(folder), [], str(folder / "repository"))
    catalogue = Catalogue(str(folder / "repository"), keys)
    about: dict[str, Any] = {}
    with catalogue.writing(Deadline(5)) as writer, writer.stage() as stage:
        for role, bucket in buckets.items():
            place = Path(stage.folder) / "buckets" / role
            place.mkdir(parents=True)
            with writer.scratch() as working:
                made = Bucket(find(), server.store(), bucket, str(place), working, "", Deadline(300), settled_seconds=0.0).run()
            about[role] = {"bucket": bucket, "objects": made.objects, "bytes": made.bytes, "content": proved(str(place))[1]}
        kinds = {"buckets": {"store": "minio in deis", "buckets": about, "needs": []}}
        return writer.publish(stage, manifest(stage, catalogue.read().identity, time.time(), kinds=kinds, proofs={"buckets": dict(PASSED)}))


def options(folder: Path, server: ObjectServer, **changed: Any) -> dict[str, Any]:
    path = folder / "store-keys"
    path.touch(0o600)
    path.write_text(f"{server.access_key}\n{server.secret_key}\n")
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    given = {"endpoint": server.endpoint, "keys_file": str(path), "ca_file": str(server.authority), "scratch_folder": str(scratch)}
    return {"kinds": ["buckets"], "buckets": {**given, **changed}}


def test_every_object_comes_back_and_is_compared(
    source: ObjectServer, target: ObjectServer, tmp_path: Path, share: Callable[[int, int], int], measured: Measured
) -> None:
    wanted = contents(share(60, 20000))
    bucket = f"registry-{type(target).__name__.lower()}"
    source.bucket(bucket, wanted)
    point = point_of(tmp_path, source, {"registry": bucket})
    predicted = brought_back(tmp_path, check=True, **options(tmp_path, target))
    begun = time.monotonic()
    done = brought_back(tmp_path, **options(tmp_path, target))
    assert done.get("msg") is None, done
    measured(figures.told(f"{len(wanted)} objects back and compared, {type(target).__name__}", time.monotonic() - begun, "s"))
    assert (done["plan"], done["changed"], done["proof"]["verdict"]) == (predicted["plan"], True, "pass")
    name = f"{bucket}-{point.sequence:08d}"
    assert target.contents(name) == wanted
    again = brought_back(tmp_path, **options(tmp_path, target))
    assert (again["changed"], again["proof"]["verdict"]) == (False, "pass")

    # One that was changed in the store to something of the same size is seen, and comes back.
    target.put(name, "plain", bytes(len(wanted["plain"])))
    target.delete(name, "UPPER")
    again = brought_back(tmp_path, **options(tmp_path, target))
    assert (again["changed"], again["plan"][0]["before"]) == (True, "a part of it")
    assert target.contents(name) == wanted

    # What somebody else has there is never touched.
    target.put(name, "stranger", b"live")
    assert refused(brought_back(tmp_path, **options(tmp_path, target)))[0] == "Refused"
    assert target.get(name, "stranger") == b"live"
    assert not list((tmp_path / "scratch").iterdir())


def test_a_torn_point_and_wrong_keys_bring_nothing_back(source: ObjectServer, target: ObjectServer, tmp_path: Path) -> None:
    bucket = f"torn-{type(target).__name__.lower()}"
    source.bucket(bucket, {"one": b"1" * 5000, "two": b"2" * 5000})
    point_of(tmp_path, source, {"builder": bucket})
    (pack,) = (tmp_path / "repository/points").glob("*/buckets/builder/pack-*")
    whole = pack.read_bytes()
    pack.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    result = brought_back(tmp_path, **options(tmp_path, target, names={"builder": "new-place"}))
    assert refused(result)[0] == "NotProven"
    assert target.client().ask("/new-place") != 200
    pack.write_bytes(whole)
    secret = target.secret_key
    target.secret_key = "0" * 40
    result = brought_back(tmp_path, **options(tmp_path, target, names={"builder": "new-place"}))
    assert result["failed"]
    assert secret not in str(result)
    assert "0" * 40 not in str(result)
    target.secret_key = secret
    assert refused(brought_back(tmp_path, **options(tmp_path, target, names={"nobody": "x"})))[0] == "Invalid"
    assert refused(brought_back(tmp_path, **options(tmp_path, target, names={"builder": "No_Bucket"})))[0] == "Invalid"


def test_a_disk_that_is_full_is_named_and_the_next_run_brings_all_back(source: ObjectServer, target: ObjectServer, tmp_path: Path) -> None:
    bucket, wanted = f"full-{type(target).__name__.lower()}", {"one": bytes(400_000), "two": b"2" * 400_000}
    source.bucket(bucket, wanted)
    point_of(tmp_path, source, {"builder": bucket})
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], check=True)
    try:
        reason, message = refused(brought_back(tmp_path, **options(tmp_path, target, names={"builder": "place"}, scratch_folder=str(small))))
        assert (reason, list(small.iterdir())) == ("Unavailable", [])
        assert "No space left on device. Make room there" in message
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert brought_back(tmp_path, **options(tmp_path, target, names={"builder": "place"})).get("msg") is None
    assert target.contents("place") == wanted
