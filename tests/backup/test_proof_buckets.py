"""Buckets in a point, on the platform's own store: every object by its content, only what changed is read, and racing writers tear nothing."""

from __future__ import annotations

import hashlib
import random
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.fetch import Bucket, Fetched
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.kind import proved
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.pack import INVENTORY
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine, find
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from tests.backup.asking import look
from tests.backup.whole import Identity, files_of, held, options_for, take
from tests.contract.installed import Installed
from tests.perf import figures
from tests.proof import Measured

if TYPE_CHECKING:
    from lab.image.lab import s3
    from lab.seed import Sown

# A new one each time: the lab may be one that stays.
BUCKET = f"proof-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return find()


@pytest.fixture(scope="module")
def store(sown: Sown) -> s3.Store:
    from lab.seed import live

    found = live.store(sown.place)
    assert found.make_bucket(BUCKET) == 200
    return found


def ours(store: s3.Store) -> Store:
    """The same store as the collection enters it."""
    return Store("s3", store.endpoint.geturl(), "us-east-1", store.access_key, store.secret_key, title="the lab's")


def put(store: s3.Store, key: str, body: bytes, bucket: str = BUCKET) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(body)
        assert store.put(bucket, key, file) == 200


def fetched(engine: Engine, store: s3.Store, folder: Path, earlier: Path | None = None) -> Fetched:
    folder.mkdir()
    scratch = folder.with_name(f"{folder.name} scratch")
    scratch.mkdir()
    return Bucket(engine, ours(store), BUCKET, str(folder), str(scratch), str(earlier or ""), Deadline(300), settled_seconds=0.0).run()


def test_every_object_of_the_platform_is_in_the_point(hephy: Installed, sown: Sown, keys: list[Identity], tmp_path: Path) -> None:
    done = take(options_for(tmp_path, hephy, keys, kinds=["buckets", "secrets"]))
    assert done.get("msg") is None
    about = done["point"]["kinds"]["buckets"]
    assert set(about["buckets"]) == {"builder", "registry", "database"}
    for ledger in sown.ledgers:
        (role,) = [role for role, entry in about["buckets"].items() if entry["bucket"] == ledger.bucket]
        there = held(files_of(tmp_path, done["point"], "buckets") / role)
        assert {key: there.get(key) for key in ledger.objects} == ledger.objects
    again = take(options_for(tmp_path, hephy, keys, kinds=["buckets", "secrets"]))
    assert (again.get("msg"), again["changed"]) == (None, False)
    assert look(tmp_path, verify="all")["problems"] == []


def test_only_what_changed_is_read_and_nothing_is_lost(
    engine: Engine, store: s3.Store, tmp_path: Path, share: Callable[[int, int], int], measured: Measured
) -> None:
    chance = random.Random(1)
    bodies = {f"folder {number % 7}/ünï:{number}": chance.randbytes(chance.randrange(3000)) for number in range(share(200, 2000))}
    for key, body in bodies.items():
        put(store, key, body)
    time.sleep(1.2)
    first = fetched(engine, store, tmp_path / "first")
    assert (first.objects, first.fetched_objects) == (len(bodies), len(bodies))
    assert held(tmp_path / "first") == {key: hashlib.sha256(body).hexdigest() for key, body in bodies.items()}
    names = list(bodies)
    for number, key in enumerate(names[:5]):
        # Of the same size: only the time and the content tell.
        bodies[key] = bytes(reversed(bodies[key])) if number % 2 else chance.randbytes(len(bodies[key]))
        put(store, key, bodies[key])
    for key in names[5:8]:
        store.send("DELETE", f"/{BUCKET}/{key}")
        del bodies[key]
    put(store, "new/one", b"new")
    bodies["new/one"] = b"new"
    time.sleep(1.2)
    second = fetched(engine, store, tmp_path / "second", tmp_path / "first")
    measured(figures.at_most("objects read again for the next point, 6 of them changed", second.fetched_objects, f"of {second.objects}", 6))
    assert second.fetched_objects == 6
    assert held(tmp_path / "second") == {key: hashlib.sha256(body).hexdigest() for key, body in bodies.items()}
    assert proved(str(tmp_path / "second"))[0] == len(bodies)
    # A byte that the disk has lost is not taken over: the object is read from the store again. Packs are linked, so both points have lost it.
    wanted = held(tmp_path / "second")
    pack = next(path for path in sorted((tmp_path / "first").iterdir()) if path.name != INVENTORY)
    spoilt = bytearray(pack.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    pack.write_bytes(spoilt)
    third = fetched(engine, store, tmp_path / "third", tmp_path / "first")
    assert 6 < third.fetched_objects < 12
    assert held(tmp_path / "third") == wanted


def test_racing_writers_tear_nothing(engine: Engine, store: s3.Store, tmp_path: Path) -> None:
    """Objects of one size are overwritten all the time: each comes as it was at the beginning, or newer, and whole."""
    history: dict[str, list[str]] = {f"race/{number:02d}": [] for number in range(40)}
    over = threading.Event()

    def write() -> None:
        chance = random.Random(2)
        # Who writes each of few objects many times while it is read once leaves nothing that could be proved.
        while not over.wait(0.01):
            key = chance.choice(list(history))
            body = chance.randbytes(20_000)
            history[key].append(hashlib.sha256(body).hexdigest())
            put(store, key, body)

    for key in history:
        put(store, key, b"0" * 20_000)
        history[key].append(hashlib.sha256(b"0" * 20_000).hexdigest())
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(3):
            before = {key: len(found) for key, found in history.items()}
            fetched(engine, store, tmp_path / f"race {number}")
            there = held(tmp_path / f"race {number}")
            for key, found in history.items():
                # What was being written in that moment may be in it or not.
                assert there[key] in found[max(0, before[key] - 2) :], key
    finally:
        over.set()
        thread.join(30)
    assert sum(map(len, history.values())) > 60, "nobody wrote: it proves nothing"
