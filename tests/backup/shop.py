"""A small shop with something of every kind: real servers on loopback, and points of it, taken as the kinds take them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.fetch import Bucket
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.kind import proved
from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue, Stage, Writer
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.age import find as find_age
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.kind import FILE as SECRETS_FILE
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.kind import Etcd as EtcdKind
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.collect import collect
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.kind import write_objects
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.kind import HELD, dumped
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.proof import digest_of, fingerprint_text
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.kind import Volumes
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find as find_rclone
from lab import builds, processes
from tests.backup.apiserver import empty_server
from tests.backup.member import Etcd
from tests.backup.rows import ROWS
from tests.databases import postgres
from tests.databases.postgres import Postgres
from tests.stores.servers import Minio, ObjectServer
from tests.unit.backup.points import PASSED, manifest

PROGRAMS = ("minio", "versitygw", "etcd", "etcdctl", "etcdutl", "restic", "kube-apiserver", "kube-controller-manager", "kubectl")
KINDS = ("etcd", "postgres", "objects", "secrets", "volumes", "buckets")
SPACE, BUCKET, DATABASE = "shop", "registry", "shop"
KEYS = 300
PLATFORM = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {SPACE}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {SPACE}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Delete
  storageClassName: none
  nfs: {{server: 192.0.2.1, path: /exports/old-folder}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data, namespace: {SPACE}}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: none, volumeName: {SPACE}, resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: {SPACE}}}
data: {{mode: production}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {SPACE}}}
spec: {{clusterIP: None, selector: {{app: web}}, ports: [{{port: 80}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {SPACE}}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: web, image: registry.invalid/web}}]}}
"""


def fill_folder(folder: Path) -> None:
    """Something of what an exported folder has: claims, owners, links, modes, attributes, holes, names that are no text."""
    chance = random.Random(8)
    for claim in ("claim-1/deep", "claim-2"):
        (folder / claim).mkdir(parents=True)
    for number in range(20):
        (folder / f"claim-1/deep/{number}").write_bytes(chance.randbytes(2000))
    (folder / "claim-2/data").write_bytes(chance.randbytes(50_000))
    (folder / "claim-2/note").write_text("a note")
    os.link(folder / "claim-2/data", folder / "claim-1/second")
    (folder / "claim-1/tool").write_text("#!/bin/sh\n")
    os.chown(folder / "claim-1/tool", 4711, 4712)
    (folder / "claim-1/tool").chmod(0o4755)
    os.setxattr(folder / "claim-2/note", "user.told", b"\x00\xff")
    (folder / "claim-1/link").symlink_to("/nowhere/at/all")
    os.mkfifo(folder / "claim-1/fifo", 0o620)
    (folder / os.fsdecode(b"claim-1/no\xfftext")).write_text("odd")
    (folder / "claim-1/empty").touch()
    with (folder / "claim-2/sparse").open("wb") as file:
        file.truncate(4 << 20)
    os.chown(folder / "claim-1", 1001, 1001)
    (folder / "claim-1").chmod(0o2770)


@dataclass
class Shop:
    """The shop while it is open. ``recipients`` are those to whom its Secrets are encrypted."""

    folder: Path
    member: Etcd
    database: Postgres
    store: ObjectServer
    kubeconfig: Path
    recipients: list[str]
    canary: str
    restic: str
    contents: dict[str, bytes]

    @property
    def entered(self) -> Server:
        """How its database is entered."""
        return replace(self.database.admin, database=DATABASE)

    @property
    def exports(self) -> Path:
        return self.folder / "exports"

    @property
    def secret(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"namespace": SPACE, "name": "database-creds"},
            "data": {"password": self.canary},
        }

    def open(self) -> None:
        """Give it what it begins with."""
        self.member.fill(KEYS, 400)
        self.database.run(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        self.database.run(ROWS, self.entered)
        self.store.bucket(BUCKET, self.contents)
        fill_folder(self.exports)
        self.kubectl("apply", "-f", "-", stdin=PLATFORM)
        asked = ("get", "pvc", "data", "-n", SPACE, "-o", "jsonpath={.status.phase}")
        assert processes.wait_until(lambda: self.kubectl(*asked) == "Bound", 60)

    def trade(self) -> None:
        """What changes from one point to the next: a little of every kind."""
        self.member.put(**{"/registry/traded": "1"})
        self.database.run("INSERT INTO lab (name, body) SELECT 'sold ' || n, 'new' FROM generate_series(1, 7) n", self.entered)
        for key in ("docker/blobs/000", "docker/blobs/sold"):
            self.contents[key] = secrets.token_bytes(2000)
            self.store.put(BUCKET, key, self.contents[key])
        (self.exports / "claim-2/note").write_text("another note")
        self.kubectl("patch", "configmap", "settings", "-n", SPACE, "--type=merge", "-p", '{"data":{"mode":"sale"}}')
        self.canary = secrets.token_hex(16)

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return processes.run([str(builds.binary("kubectl")), f"--kubeconfig={self.kubeconfig}", *words], stdin=stdin)

    def take(self, catalogue: Catalogue) -> Manifest:
        """Publish a point of all kinds."""
        with catalogue.writing(Deadline(5)) as writer, writer.stage() as stage:
            began = time.time()
            kind = EtcdKind(self.member.options())
            kind.look(catalogue.folder)
            etcd = kind.take(_place(stage, "etcd"), writer.scratch)
            folders = {"folders": [str(self.exports)], "changing": [], "databases": [], "restic": self.restic, "timeout": 300}
            volumes = Volumes(folders, lambda _host, _folders: "").take(_place(stage, "volumes"), writer.scratch)
            kinds = {
                "etcd": {**etcd.about, "needs": []},
                "postgres": self._postgres(stage),
                "objects": self._objects(stage),
                "secrets": encrypted(self.secret, self.recipients, _place(stage, "secrets")),
                "volumes": {**volumes.about, "needs": []},
                "buckets": self._buckets(stage, writer),
            }
            proofs = {**{name: dict(PASSED) for name in kinds}, "etcd": etcd.proof_data(), "volumes": volumes.proof_data()}
            return writer.publish(stage, manifest(stage, catalogue.read().identity, began, kinds=kinds, proofs=proofs))

    def _postgres(self, stage: Stage) -> Mapping[str, Any]:
        place = _place(stage, "postgres", "controller")
        made, expected = dumped(self.database.client, self.entered, place, Deadline(300))
        (Path(place) / HELD).write_bytes(fingerprint_text(expected.fingerprint))
        return {"databases": {"controller": {"content": digest_of(expected.fingerprint)}}, "version": made.version, "needs": []}

    def _objects(self, stage: Stage) -> Mapping[str, Any]:
        found = collect(Objects(connect({"kubeconfig": str(self.kubeconfig)})), [SPACE])
        digest = write_objects(_place(stage, "objects"), found)
        return {"objects": len(found.documents), "namespaces": [SPACE], "namespace": SPACE, "content": digest, "needs": []}

    def _buckets(self, stage: Stage, writer: Writer) -> Mapping[str, Any]:
        place = _place(stage, "buckets", BUCKET)
        with writer.scratch() as working:
            made = Bucket(find_rclone(), self.store.store(), BUCKET, place, working, "", Deadline(300), settled_seconds=0.0).run()
        about = {"bucket": BUCKET, "objects": made.objects, "bytes": made.bytes, "content": proved(place)[1]}
        return {"store": "minio in shop", "buckets": {BUCKET: about}, "needs": []}


def encrypted(secret: Mapping[str, Any], recipients: list[str], place: str) -> dict[str, Any]:
    """Put a Secret into custody; return what a manifest says of it."""
    text = json.dumps({"document": "secrets of a recovery point", "secrets": [secret], "files": []}).encode()
    find_age().encrypt(text, recipients, str(Path(place) / SECRETS_FILE), Deadline(60))
    return {"content": hashlib.sha256(text).hexdigest(), "secrets": 1, "recipients": recipients, "files": [], "needs": []}


def _place(stage: Stage, *names: str) -> str:
    place = Path(stage.folder, *names)
    place.mkdir(0o700, parents=True)
    return str(place)


@contextmanager
def opened(folder: Path, binaries: Path, recipients: list[str], report: Callable[[str], None]) -> Iterator[Shop]:
    """A shop that has begun, until the end of the block; then all of it is gone. ``binaries`` is where PostgreSQL's programs are."""
    builds.ensure(PROGRAMS, report)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        shop = Shop(
            folder,
            stack.enter_context(Etcd(folder / "member").running()),
            stack.enter_context(postgres.running(binaries)),
            stack.enter_context(Minio(folder / "store").running()),
            stack.enter_context(empty_server(folder / "cluster", binds=True)),
            recipients,
            secrets.token_hex(16),
            str(builds.binary("restic")),
            {f"docker/blobs/{number:03d}": secrets.token_bytes(2000 + number) for number in range(60)},
        )
        shop.open()
        yield shop
