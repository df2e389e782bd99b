"""A site is gone. From its copy in a locked bucket, the signing key and a key of age, one playbook has every kind back on a host that held nothing.

Kinds that need no API server and no systemd: etcd, PostgreSQL, buckets and Secrets. Volumes are restored in tests/hosts, objects in test_proof_restore_objects.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.fetch import Bucket
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.kind import proved
from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Stage, Writer
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.age import find as find_age
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.kind import Etcd as EtcdKind
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.kind import HELD, dumped
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.proof import fingerprint_text
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find as find_rclone
from lab import builds
from tests.backup.asking import key_file
from tests.backup.member import Etcd
from tests.backup.offsite import Afar, catalogue_of, good
from tests.backup.whole import Identity
from tests.contract.playbook import run_playbook
from tests.databases import postgres
from tests.databases.postgres import Postgres
from tests.perf import figures
from tests.proof import Measured
from tests.quality.checkout import ROOT
from tests.stores.servers import Gateway, Minio, ObjectServer
from tests.unit.backup.points import PASSED, manifest

OBJECTS = {f"docker/blobs/{number:03d}": secrets.token_bytes(2000 + number) for number in range(200)}
ROWS, KEYS = 5000, 300
CANARY = secrets.token_hex(16)
MINUTES = 5.0


@dataclass
class Lost:
    """What of a site is left: a bucket elsewhere, and what lay in a safe. ``point`` is what its last point said."""

    afar: Afar
    signing_key: str
    paper: Identity
    point: Manifest
    programs: str


def etcd_of(member: Etcd, stage: Stage, writer: Writer) -> Any:
    kind = EtcdKind(member.options())
    kind.look(str(Path(stage.folder).parents[1]))
    return kind.take(_place(stage, "etcd"), writer.scratch)


def _place(stage: Stage, *names: str) -> str:
    place = Path(stage.folder, *names)
    place.mkdir(0o700, parents=True)
    return str(place)


def postgres_of(server: Postgres, stage: Stage) -> Mapping[str, Any]:
    source = replace(server.admin, database="shop")
    server.run("CREATE DATABASE shop TEMPLATE template0")
    server.run(f"CREATE TABLE goods (id serial PRIMARY KEY, name text); INSERT INTO goods (name) SELECT md5(n::text) FROM generate_series(1, {ROWS}) n", source)
    place = _place(stage, "postgres", "controller")
    made, expected = dumped(server.client, source, place, Deadline(300))
    (Path(place) / HELD).write_bytes(fingerprint_text(expected.fingerprint))
    return {"databases": {"controller": {}}, "version": made.version, "needs": []}


def buckets_of(server: ObjectServer, stage: Stage, writer: Writer) -> Mapping[str, Any]:
    server.bucket("registry", OBJECTS)
    place = _place(stage, "buckets", "registry")
    with writer.scratch() as working:
        made = Bucket(find_rclone(), server.store(), "registry", place, working, "", Deadline(300), settled_seconds=0.0).run()
    about = {"bucket": "registry", "objects": made.objects, "bytes": made.bytes, "content": proved(place)[1]}
    return {"store": "minio in deis", "buckets": {"registry": about}, "needs": []}


def secrets_of(recipients: list[str], stage: Stage) -> Mapping[str, Any]:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "deis", "name": "database-creds"}, "data": {"password": CANARY}}
    text = json.dumps({"document": "secrets of a recovery point", "secrets": [secret], "files": []}).encode()
    find_age().encrypt(text, recipients, str(Path(_place(stage, "secrets")) / "secrets.json.age"), Deadline(60))
    return {"content": hashlib.sha256(text).hexdigest(), "secrets": 1, "recipients": recipients, "needs": []}


@pytest.fixture(scope="module")
def servers(report: Callable[[str], None]) -> Iterator[dict[int, Path]]:
    builds.ensure(["minio", "versitygw", "etcd", "etcdctl", "etcdutl"], report)
    with postgres.binaries() as found:
        yield found


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory, servers: dict[int, Path], keys: list[Identity]) -> Iterator[Lost]:
    """A site with everything is copied, and then all of it is gone: servers, data, repository."""
    site, safe = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("safe")
    recipients = [key.recipient for key in keys]
    with Gateway(tmp_path_factory.mktemp("bank") / "server", versions=True).running() as bank:
        afar = Afar(bank, safe).make()
        with ExitStack() as stack:
            member = stack.enter_context(Etcd(site / "member").running())
            member.fill(KEYS, 400)
            database = stack.enter_context(postgres.running(servers[min(servers)]))
            store = stack.enter_context(Minio(site / "store").running())
            catalogue = catalogue_of(site)
            writer = stack.enter_context(catalogue.writing(Deadline(5)))
            stage = stack.enter_context(writer.stage())
            began = time.time()
            taken = etcd_of(member, stage, writer)
            kinds = {
                "etcd": {**taken.about, "needs": []},
                "postgres": postgres_of(database, stage),
                "secrets": secrets_of(recipients, stage),
                "buckets": buckets_of(store, stage, writer),
            }
            proofs = {**{kind: dict(PASSED) for kind in kinds}, "etcd": taken.proof_data()}
            point = writer.publish(stage, manifest(stage, catalogue.read().identity, began, kinds=kinds, proofs=proofs))
            programs = str(member.programs)
        good(afar.copied(site, recipients=recipients))
        shutil.copy(key_file(site), safe / "signing-key")
        keys[1].file.chmod(0o600)
        shutil.rmtree(site)
        yield Lost(afar, str(safe / "signing-key"), keys[1], point, programs)


@pytest.fixture
def fresh(servers: dict[int, Path]) -> Iterator[Postgres]:
    with postgres.running(servers[min(servers)]) as running:
        yield running


def asked(host: Path, lost: Lost, database: Postgres, store: ObjectServer, **copy: Any) -> dict[str, Any]:
    """The variables of the one playbook, on a host of which nothing is known."""
    options = lost.afar.options(host)
    for name, text in {"password": database.admin.password, "store-keys": f"{store.access_key}\n{store.secret_key}"}.items():
        (host / name).touch(0o600)
        (host / name).write_text(f"{text}\n")
    server = database.admin
    return {
        "restore_repository": str(host / "repository"),
        "restore_signing_key_file": lost.signing_key,
        "restore_kinds": ["buckets", "etcd", "postgres", "secrets"],
        "restore_copy": {
            **{name: options[name] for name in ("bucket", "endpoint", "keys_file")},
            "identity_file": str(lost.paper.file),
            "known_point": lost.point.identifier,
            "max_age": "1d",
            **copy,
        },
        "restore_etcd": {"data_folder": str(host / "etcd"), "programs": lost.programs},
        "restore_postgres": {
            "server": server.host,
            "port": server.port,
            "role": server.user,
            "role_password_file": str(host / "password"),
            "client_folder": database.client.folder,
            "sslmode": server.sslmode,
        },
        "restore_secrets": {"folder": str(host / "secrets"), "identity_file": str(lost.paper.file)},
        "restore_buckets": {"endpoint": store.endpoint, "keys_file": str(host / "store-keys")},
    }


def test_an_empty_host_has_everything_back_by_one_playbook(lost: Lost, fresh: Postgres, tmp_path: Path, measured: Measured) -> None:
    host = tmp_path / "host"
    host.mkdir()
    with Minio(tmp_path / "new-store").running() as store:
        variables = asked(host, lost, fresh, store)
        run_playbook(tmp_path, ROOT / "playbooks/restore.yml", "--check", variables=variables).ok()
        assert not (host / "repository").exists()
        begun = time.monotonic()
        run = run_playbook(tmp_path, ROOT / "playbooks/restore.yml", variables=variables).ok()
        minutes = (time.monotonic() - begun) / 60
        done = run.result("Restore")
        assert (done["proof"]["verdict"], sorted(done["restored"])) == ("pass", ["buckets", "etcd", "postgres", "secrets"])
        assert CANARY not in run.output
        number = lost.point.sequence
        assert store.contents(f"registry-{number:08d}") == OBJECTS
        count = fresh.client.query(replace(fresh.admin, database=f"shop_{number:08d}"), "SELECT count(*) AS goods FROM public.goods")
        assert count[0]["goods"] == ROWS
        brought = Path(f"{host / 'secrets'}.restored-{lost.point.identifier}")
        assert json.loads((brought / "secrets/deis/database-creds.json").read_text())["data"]["password"] == CANARY
        status = subprocess.run(
            [Path(lost.programs) / "etcdutl", "snapshot", "status", "-w", "json", host / f"etcd.restored-{lost.point.identifier}" / "member/snap/db"],
            capture_output=True,
            check=True,
        )
        assert json.loads(status.stdout)["totalKey"] >= KEYS
        again = run_playbook(tmp_path, ROOT / "playbooks/restore.yml", variables=variables).ok()
        assert again.recap()["changed"] == 0
        measured(
            figures.at_most("bare metal: bucket and paper keys to etcd, PostgreSQL, buckets and Secrets, proved", minutes, "min", MINUTES),
            figures.told("of these, fetched, opened and compared", run.result("Have the repository from its copy")["fetched"]["bytes"] / 2**20, "MiB"),
        )


def test_a_wrong_key_brings_nothing(lost: Lost, fresh: Postgres, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    with Minio(tmp_path / "new-store").running() as store:
        wrong = asked(host, lost, fresh, store, identity_file=key_file(tmp_path))
        run = run_playbook(tmp_path, ROOT / "playbooks/restore.yml", variables=wrong)
        assert (run.status, run.result("Have the repository from its copy")["failure"]["reason"]) == (2, "Invalid")
        assert list((host / "repository/points").iterdir()) == []
        later = f"{lost.point.sequence + 1:08d}-00000000"
        run = run_playbook(tmp_path, ROOT / "playbooks/restore.yml", variables=asked(host, lost, fresh, store, known_point=later))
        assert (run.status, run.result("Have the repository from its copy")["failure"]["reason"]) == (2, "NotProven")
