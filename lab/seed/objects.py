"""Objects as the builder and the database put them into their buckets, with a ledger of what each one is."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lab.errors import LabError
from lab.image.lab import s3


@dataclass
class Ledger:
    """What was put into one bucket: key to SHA-256."""

    bucket: str
    objects: dict[str, str] = field(default_factory=dict)

    def put(self, store: s3.Store, key: str, body: bytes) -> None:
        """Put an object and note it. Raises LabError when the store does not take it."""
        with tempfile.TemporaryFile() as file:
            file.write(body)
            status = store.put(self.bucket, key, file)
        if status != 200:
            raise LabError(f"the store does not take {self.bucket}/{key}: {status}")
        self.objects[key] = hashlib.sha256(body).hexdigest()

    def wrong(self, store: s3.Store, bucket: str | None = None) -> list[str]:
        """The keys that a store lacks, or has with another content, in this bucket or in one of another name. Raises OSError."""
        found = []
        for key, wanted in self.objects.items():
            with tempfile.TemporaryFile() as file:
                status = store.get(bucket or self.bucket, key, file)
                file.seek(0)
                if status != 200 or hashlib.file_digest(file, "sha256").hexdigest() != wanted:
                    found.append(key)
        return found


@dataclass(frozen=True)
class Slug:
    """An app's slug: the key that the controller hands to the app, and the SHA-256 of the object."""

    app: str
    key: str
    sha256: str


def put_slugs(store: s3.Store, ledger: Ledger, apps: Iterable[str], drycc: bool = False, size: int = 1 << 18, seed: int = 1) -> list[Slug]:
    """Put a slug and a build cache for each app, in the layout of the builder (Drycc: the archive that it builds an image from)."""
    _need(store, ledger.bucket)
    chance = random.Random(f"slugs {seed}")
    found = []
    for app in apps:
        commit = f"{chance.getrandbits(32):08x}"
        body = _archive({"Procfile": b"web: ./run\n", "payload": chance.randbytes(size)})
        key = f"home/{app}:git-{commit}/" + ("tar" if drycc else "push/slug.tgz")
        ledger.put(store, key, body)
        ledger.put(store, f"home/{app}/cache/cache.tgz", _archive({"cached": chance.randbytes(size // 2)}))
        found.append(Slug(app, key, ledger.objects[key]))
    return found


def put_write_ahead_log(store: s3.Store, ledger: Ledger, drycc: bool = False, segments: int = 6, seed: int = 1) -> None:
    """Put what the database keeps beside the lab's own dump: base backup and log segments by their names (Drycc: dated dumps); no server can use them."""
    _need(store, ledger.bucket)
    chance = random.Random(f"log {seed}")
    if drycc:
        for day in range(1, 3):
            for name in ("controller", "passport"):
                ledger.put(store, f"2026010{day}030000/{name}.sql.gz", gzip.compress(chance.randbytes(1 << 16), mtime=0))
        return
    base = "basebackups_005/base_000000010000000000000002_00000040"
    ledger.put(store, f"{base}/tar_partitions/part_00000000.tar.lzo", chance.randbytes(1 << 20))
    ledger.put(store, f"{base}/extended_version.txt", b"PostgreSQL 11\n")
    ledger.put(store, f"{base}_backup_stop_sentinel.json", json.dumps({"wal_segment_backup_stop": "000000010000000000000002"}).encode())
    for number in range(2, 2 + segments):
        ledger.put(store, f"wal_005/{number + (1 << 64):024X}.lzo", chance.randbytes(1 << 16))


def copied(ledgers: Iterable[Ledger], store: s3.Store, names: Mapping[str, str] | None = None) -> list[str]:
    """What of several buckets another store lacks or has wrong; ``names`` are its buckets where they are called otherwise."""
    return [f"{ledger.bucket}/{key}" for ledger in ledgers for key in ledger.wrong(store, (names or {}).get(ledger.bucket))]


def _need(store: s3.Store, bucket: str) -> None:
    status = store.make_bucket(bucket)
    if status != 200:
        raise LabError(f"the store does not make the bucket {bucket}: {status}")


def _archive(files: Mapping[str, bytes]) -> bytes:
    """A compressed archive that depends on nothing but its files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, body in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return gzip.compress(plain.getvalue(), compresslevel=1, mtime=0)
