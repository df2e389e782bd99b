"""Buckets as large as they come: what a further point reads is what has changed, whatever else there is; racing writers tear nothing, however many."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.fetch import Bucket
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.kind import proved
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.pack import INVENTORY, Packs, read_inventory
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find
from lab import builds
from tests.perf import figures
from tests.proof import Measured
from tests.quality.checkout import ROOT
from tests.stores.liar import Liar
from tests.stores.servers import Gateway, Minio, ObjectServer

BUCKET, CHANGED, MEMORY_MIB = "many", 100, 64
# Two blocks of one MD5 (Wang and Yu, 2004): a bit differs at these places.
COLLIDING = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f8955ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
)
DIFFER = (19, 45, 59, 83, 109, 123)
Share = Callable[[int, int], int]
# One bucket into a point, in a process of its own: what it read, and the peak of its memory, without that of rclone.
WORKER = """
import json, re, sys
given = json.load(sys.stdin)
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.fetch import Bucket
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
done = Bucket(find(given["rclone"]), Store("s3", *given["store"]), given["bucket"], *given["folders"], Deadline(3000), settled_seconds=0.0).run()
# Not getrusage(): that counts what the process that started us had.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(json.dumps({"objects": done.objects, "read": done.fetched_objects, "peak_mib": peak / 1024}))
"""


@pytest.fixture(scope="module", autouse=True)
def built(report: Callable[[str], None]) -> None:
    builds.ensure(["minio", "versitygw"], report)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ObjectServer]:
    with Gateway(tmp_path / "server").running() as running:
        yield running


def fetched(server: ObjectServer, folder: Path, earlier: Path | None = None, endpoint: str = "") -> dict[str, Any]:
    """Bring the bucket into a folder."""
    scratch = folder.with_name(f"{folder.name} scratch")
    for place in (folder, scratch):
        place.mkdir()
    given = {
        "rclone": find().path,
        "store": [endpoint or server.endpoint, "", server.access_key, server.secret_key],
        "bucket": BUCKET,
        "folders": [str(folder), str(scratch), str(earlier or "")],
    }
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=json.dumps(given),
        env={**os.environ, "PYTHONPATH": str(ROOT / ".cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("size", ["10m", "30m"])
def test_a_disk_that_is_full_is_named(server: ObjectServer, tmp_path: Path, size: str) -> None:
    """Full by the objects as they arrive, and by the pack that they go into."""
    server.bucket(BUCKET, {f"{number}": random.Random(number).randbytes(1 << 20) for number in range(20)})
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)], check=True)
    try:
        places = [small / name for name in ("bucket", "scratch")]
        for place in places:
            place.mkdir()
        with pytest.raises(Unavailable, match="room"):
            Bucket(find(), server.store(), BUCKET, *map(str, places), "", Deadline(60), settled_seconds=0.0).run()
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert fetched(server, tmp_path / "first")["objects"] == 20


@pytest.mark.timeout(7200)
def test_a_further_point_reads_what_has_changed(server: ObjectServer, tmp_path: Path, share: Share, measured: Measured, report: Callable[[str], None]) -> None:
    count = share(1500, 200_000)
    server.bucket(BUCKET)
    # The gateway's objects are files.
    place = server.data / BUCKET
    for number in range(count):
        path = place / f"{number % 199:03}" / f"{number:06}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%d" % number)
    first = fetched(server, tmp_path / "first")
    assert (first["objects"], first["read"]) == (count, count)
    report(f"{count} objects are in a point")
    changed = random.Random(4).sample(range(count), CHANGED)
    for number in changed:
        server.put(BUCKET, f"{number % 199:03}/{number:06}", b"changed %d" % number)
    asked: Counter[str] = Counter()

    def count_requests(method: str, path: str) -> None:
        asked[method if re.match(rf"/{BUCKET}/[^?]", path) else "LIST"] += 1

    with Liar(server.port, count_requests).listening() as url:
        second = fetched(server, tmp_path / "second", tmp_path / "first", url)
    assert second["objects"] == count
    held, digest = proved(str(tmp_path / "second"))
    assert held == count
    wanted = hashlib.sha256()
    with Packs(str(tmp_path / "second")) as packs:
        for entry in read_inventory(str(tmp_path / "second" / INVENTORY)):
            number = int(entry.key.decode().rpartition("/")[2])
            assert b"".join(packs.pieces(entry)) == (b"changed %d" % number if number in changed else b"%d" % number)
            wanted.update(entry.key)
    note = f"{count} objects, {asked['HEAD']} HEAD, {asked['LIST']} pages of listings, sums {digest[:12]} and {wanted.hexdigest()[:12]}"
    measured(
        figures.at_most(f"GETs of objects for a further point with {CHANGED} changed", asked["GET"], f"of {count}", CHANGED, note, seed=4),
        figures.at_most("peak memory of our process, first point", first["peak_mib"], "MiB", MEMORY_MIB, f"{count} objects"),
        figures.at_most("peak memory of our process, further point", second["peak_mib"], "MiB", MEMORY_MIB, f"{count} objects"),
    )


def test_two_contents_of_one_md5_are_kept_apart(tmp_path: Path) -> None:
    """What the store says of an object is an MD5: who made two contents of one must not have one of them restored in the other's place."""
    other = bytes(byte ^ 0x80 if place in DIFFER else byte for place, byte in enumerate(COLLIDING))
    assert other != COLLIDING
    assert hashlib.md5(other, usedforsecurity=False).digest() == hashlib.md5(COLLIDING, usedforsecurity=False).digest()
    bodies = {f"{name}{number}": body for number in range(3) for name, body in (("a", COLLIDING), ("b", other), ("c", b"plain %d" % number))}
    with Minio(tmp_path / "server").running() as server:
        server.bucket(BUCKET)
        for key, body in bodies.items():
            server.put(BUCKET, key, body)
        assert fetched(server, tmp_path / "point")["objects"] == len(bodies)
    with Packs(str(tmp_path / "point")) as packs:
        held = {entry.key.decode(): b"".join(packs.pieces(entry)) for entry in read_inventory(str(tmp_path / "point" / INVENTORY))}
    assert held == bodies


@pytest.mark.timeout(3600)
def test_racing_overwrites_tear_nothing(tmp_path: Path, share: Share, measured: Measured) -> None:
    """Objects of one size are overwritten all the time: each comes as it was at the beginning, or newer, and whole."""
    wanted, history = share(300, 10_000), {f"race/{number:03d}": [] for number in range(400)}
    stale = torn = missing = points = 0
    over, seeds = threading.Event(), iter(range(1000))
    with Minio(tmp_path / "server").running() as server:

        def put(key: str, body: bytes) -> None:
            # Noted before it is sent: from then on it may be seen.
            history[key].append(hashlib.sha256(body).hexdigest())
            server.put(BUCKET, key, body)

        def write(keys: list[str], chance: random.Random) -> None:
            # Or no reading would ever find anything at rest, and the point be refused, as it should.
            while not over.wait(0.02):
                put(chance.choice(keys), chance.randbytes(20_000))

        server.bucket(BUCKET)
        for key in history:
            put(key, b"0" * 20_000)
        # Each key has one writer, so that it is known which of two came later.
        keys = list(history)
        threads = [threading.Thread(target=write, args=(keys[start::4], random.Random(next(seeds)))) for start in range(4)]
        for thread in threads:
            thread.start()
        try:
            while points < 3 or sum(map(len, history.values())) < wanted:
                before = {key: len(found) for key, found in history.items()}
                folder = tmp_path / f"point{points}"
                fetched(server, folder)
                with Packs(str(folder)) as packs:
                    there = {entry.key.decode(): hashlib.sha256(b"".join(packs.pieces(entry))).hexdigest() for entry in read_inventory(str(folder / INVENTORY))}
                for key, found in history.items():
                    missing += key not in there
                    torn += key in there and there[key] not in found
                    # What was being written in that moment may be in it or not.
                    stale += key in there and there[key] in found and there[key] not in found[max(0, before[key] - 2) :]
                points += 1
        finally:
            over.set()
            for thread in threads:
                thread.join(60)
    written = sum(map(len, history.values()))
    note = f"{points} points, missing {missing}, torn {torn}, stale {stale}"
    measured(figures.at_most(f"racing overwrites of which a point shows a wrong one ({written} of them)", missing + torn + stale, "objects", 0, note, seed=0))
    assert written >= wanted
