"""A point is of one instant: whatever a row of its database names is in its buckets, with the content that it had, at any moment under load."""

from __future__ import annotations

import hashlib
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.fetch import Bucket
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.pack import INVENTORY, Packs, read_inventory
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.kind import dumped
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.move import Dump, restore
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find
from lab import builds, processes
from tests.databases import postgres
from tests.databases.postgres import Postgres
from tests.perf import figures
from tests.proof import Measured
from tests.stores.servers import Minio, ObjectServer

WRITERS, SEED = 4, 12
# A shop that only grows would make the last instants say little that the first did not, at twenty times their cost.
INSTANTS_OF_ONE = 10
TABLE = "CREATE TABLE sold (key text PRIMARY KEY, digest text NOT NULL)"


@dataclass
class Shop:
    """A database whose rows name objects of a bucket."""

    database: Postgres
    store: ObjectServer
    name: str
    written: int = 0

    def __post_init__(self) -> None:
        self.database.run(f"CREATE DATABASE {self.name} TEMPLATE template0")
        self.database.run(TABLE, self.entered)
        self.store.bucket(self.name)

    @property
    def entered(self) -> Server:
        return replace(self.database.admin, database=self.name)

    def write(self, name: str, over: threading.Event) -> None:
        """As applications do it: the object first, then the row that names it."""
        chance, number = random.Random(name), 0
        with self.database.client.session(self.entered, patience=600) as session:
            while not over.wait(0.02):
                number += 1
                key, body = f"{name}/{number:06d}", chance.randbytes(3000)
                self.store.put(self.name, key, body)
                values = {"key": key, "digest": hashlib.sha256(body).hexdigest()}
                session.execute("INSERT INTO public.sold VALUES (:'key', :'digest')", values)
                self.written += 1

    @contextmanager
    def busy(self) -> Iterator[None]:
        over = threading.Event()
        threads = [threading.Thread(target=self.write, args=(f"writer {number}", over)) for number in range(WRITERS)]
        for thread in threads:
            thread.start()
        try:
            assert processes.wait_until(lambda: self.written > WRITERS, 60)
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join(60)

    def rows(self, made: Dump) -> dict[str, str]:
        """What a dump holds, as a server restores it."""
        self.database.run("CREATE DATABASE back TEMPLATE template0")
        back = replace(self.database.admin, database="back")
        restore(self.database.client, made, back)
        found = self.database.client.query(back, "SELECT key, digest FROM public.sold")
        self.database.run("DROP DATABASE back")
        return {str(row["key"]): str(row["digest"]) for row in found}


@pytest.fixture
def shops(tmp_path: Path, report: Callable[[str], None]) -> Iterator[Callable[[int], Shop]]:
    builds.ensure(["minio"], report)
    with postgres.binaries() as binaries, postgres.running(binaries[min(binaries)]) as database, Minio(tmp_path / "store").running() as store:
        yield lambda number: Shop(database, store, f"shop{number}")


def taken(shop: Shop, folder: Path, earlier: Path | None) -> Dump:
    """Both kinds, in the order in which a point takes them."""
    made = None
    for kind in KINDS:
        place = folder / kind
        if kind == "postgres":
            place.mkdir(parents=True)
            made, _expected = dumped(shop.database.client, shop.entered, str(place), Deadline(300))
        elif kind == "buckets":
            scratch = folder / "scratch"
            for new in (place, scratch):
                new.mkdir(parents=True)
            before = str(earlier / kind) if earlier else ""
            Bucket(find(), shop.store.store(), shop.name, str(place), str(scratch), before, Deadline(300), settled_seconds=0.0).run()
    assert made is not None
    return made


@pytest.mark.timeout(3600)
def test_no_row_is_without_its_object(
    shops: Callable[[int], Shop], tmp_path: Path, share: Callable[[int, int], int], measured: Measured, report: Callable[[str], None]
) -> None:
    chance, instants = random.Random(SEED), share(3, 50)
    bad, seen, written = 0, 0, 0
    for begun in range(0, instants, INSTANTS_OF_ONE):
        shop = shops(begun)
        earlier: Path | None = None
        with shop.busy():
            for number in range(begun, min(begun + INSTANTS_OF_ONE, instants)):
                time.sleep(chance.random() * 0.5)
                before, folder = shop.written, tmp_path / f"instant{number}"
                made = taken(shop, folder, earlier)
                assert shop.written > before, "nobody wrote meanwhile: it proves nothing"
                rows = shop.rows(made)
                with Packs(str(folder / "buckets")) as packs:
                    there = {entry.key.decode(): entry.digest for entry in read_inventory(str(folder / "buckets" / INVENTORY)) if packs.holds(entry)}
                assert len(rows) >= before, "a row that was acknowledged is missing"
                bad += sum(there.get(key) != digest for key, digest in rows.items())
                seen += len(rows)
                if earlier:
                    shutil.rmtree(earlier)
                earlier = folder
        shutil.rmtree(folder)
        written += shop.written
        report(f"{number + 1} of {instants} instants")
    measured(figures.at_most(f"rows without their object at {instants} random instants", bad, f"of {seen}", 0, f"{written} written", seed=SEED))
