"""A site is gone. From its copy in a locked bucket, the signing key and a key of age, one playbook has every kind back on a host that held nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from lab import builds
from tests.backup.apiserver import empty_server
from tests.backup.asking import key_file
from tests.backup.offsite import Afar, catalogue_of, good
from tests.backup.shop import BUCKET, DATABASE, KEYS, KINDS, PROGRAMS, SPACE, opened
from tests.backup.watching import CommandLines
from tests.backup.whole import Identity
from tests.contract.playbook import run_playbook
from tests.databases import postgres
from tests.databases.postgres import Postgres
from tests.perf import figures
from tests.proof import Measured
from tests.quality.checkout import ROOT
from tests.stores.servers import Gateway, Minio, ObjectServer

MINUTES = 5.0


@dataclass
class Lost:
    """What of a site is left: a bucket elsewhere, and what lay in a safe. The rest is what is known of it: what its last point said, and what it held."""

    afar: Afar
    signing_key: str
    paper: Identity
    point: Manifest
    programs: str
    restic: str
    exports: str
    objects: dict[str, bytes]
    rows: int
    files: str
    canary: str


def seen(folder: Path) -> str:
    """A folder by the word of tar: names, owners, modes, times, links, attributes and contents."""
    words = ["tar", "--sort=name", "--format=pax", "--pax-option=delete=atime,delete=ctime", "--numeric-owner", "--xattrs", "--acls", "-C", folder, "-c", "."]
    made = subprocess.run(words, capture_output=True, check=True)
    return subprocess.run(["sha256sum"], input=made.stdout, capture_output=True, check=True).stdout.decode()


@pytest.fixture(scope="module")
def servers(report: Callable[[str], None]) -> Iterator[dict[int, Path]]:
    builds.ensure(PROGRAMS, report)
    with postgres.binaries() as found:
        yield found


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory, servers: dict[int, Path], keys: list[Identity], report: Callable[[str], None]) -> Iterator[Lost]:
    """A site with everything is copied, and then all of it is gone: servers, data, repository."""
    site, safe = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("safe")
    recipients = [key.recipient for key in keys]
    with Gateway(tmp_path_factory.mktemp("bank") / "server", versions=True).running() as bank:
        afar = Afar(bank, safe).make()
        with opened(site / "shop", servers[min(servers)], recipients, report) as shop:
            point = shop.take(catalogue_of(site))
            rows = shop.database.client.query(shop.entered, "SELECT count(*) AS rows FROM public.lab")[0]["rows"]
            known = (shop.restic, str(shop.exports), dict(shop.contents), int(rows), seen(shop.exports), shop.canary)
            programs = str(shop.member.programs)
        good(afar.copied(site, recipients=recipients))
        shutil.copy(key_file(site), safe / "signing-key")
        keys[1].file.chmod(0o600)
        shutil.rmtree(site)
        yield Lost(afar, str(safe / "signing-key"), keys[1], point, programs, *known)


@pytest.fixture
def fresh(servers: dict[int, Path]) -> Iterator[Postgres]:
    with postgres.running(servers[min(servers)]) as running:
        yield running


def asked(host: Path, lost: Lost, database: Postgres, store: ObjectServer, cluster: Path, **copy: Any) -> dict[str, Any]:
    """The variables of the one playbook, on a host of which nothing is known, beside a cluster that is empty."""
    options = lost.afar.options(host)
    for name, text in {"password": database.admin.password, "store-keys": f"{store.access_key}\n{store.secret_key}"}.items():
        (host / name).touch(0o600)
        (host / name).write_text(f"{text}\n")
    server = database.admin
    return {
        "restore_repository": str(host / "repository"),
        "restore_signing_key_file": lost.signing_key,
        "restore_kinds": list(KINDS),
        # Whoever names a cluster by what only that one has, means it.
        "restore_confirm": kubectl(cluster, "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"),
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
        "restore_objects": {"kubeconfig": str(cluster)},
        "restore_volumes": {"folders": {lost.exports: str(host / "exports")}, "restic": lost.restic},
    }


def kubectl(kubeconfig: Path, *words: str) -> str:
    return subprocess.run([builds.binary("kubectl"), f"--kubeconfig={kubeconfig}", *words], capture_output=True, text=True, check=True).stdout


def test_an_empty_host_has_everything_back_by_one_playbook(lost: Lost, fresh: Postgres, tmp_path: Path, measured: Measured) -> None:
    host = tmp_path / "host"
    host.mkdir()
    with Minio(tmp_path / "new-store").running() as store, empty_server(tmp_path / "cluster", binds=True) as cluster:
        variables = asked(host, lost, fresh, store, cluster)
        run_playbook(tmp_path, ROOT / "playbooks/restore.yml", "--check", variables=variables).ok()
        assert not (host / "repository").exists()
        begun = time.monotonic()
        with CommandLines() as lines:
            run = run_playbook(tmp_path, ROOT / "playbooks/restore.yml", variables=variables).ok()
        minutes = (time.monotonic() - begun) / 60
        done = run.result("Restore")
        assert (done["proof"]["verdict"], sorted(done["restored"])) == ("pass", sorted(KINDS))
        number, identifier = lost.point.sequence, lost.point.identifier
        assert store.contents(f"{BUCKET}-{number:08d}") == lost.objects
        count = fresh.client.query(replace(fresh.admin, database=f"{DATABASE}_{number:08d}"), "SELECT count(*) AS rows FROM public.lab")
        assert count[0]["rows"] == lost.rows > 0
        brought = Path(f"{host / 'secrets'}.restored-{identifier}")
        assert json.loads((brought / f"secrets/{SPACE}/database-creds.json").read_text())["data"]["password"] == lost.canary
        status = subprocess.run(
            [Path(lost.programs) / "etcdutl", "snapshot", "status", "-w", "json", host / f"etcd.restored-{identifier}" / "member/snap/db"],
            capture_output=True,
            check=True,
        )
        assert json.loads(status.stdout)["totalKey"] >= KEYS
        assert seen(host / f"exports.restored-{identifier}") == lost.files
        claim = json.loads(kubectl(cluster, "get", "pvc", "data", "-n", SPACE, "-o", "json"))
        assert (claim["status"]["phase"], claim["spec"]["volumeName"]) == ("Bound", SPACE)
        # Workloads rest until they are told to start.
        assert kubectl(cluster, "get", "deployment", "web", "-n", SPACE, "-o", "jsonpath={.spec.replicas}") == "0"
        again = run_playbook(tmp_path, ROOT / "playbooks/restore.yml", variables=variables).ok()
        assert again.recap()["changed"] == 0
        # There are no files in custody, and nothing is said of any.
        assert not [step for step in run.result("Restore")["remains_to_do"] if step.startswith("Put the files")]

        secrets = {
            "a Secret of the site": lost.canary,
            "the password of the database": fresh.admin.password,
            "the key of the new store": store.secret_key,
            "the key of the copy": lost.afar.server.secret_key,
            "the signing key": Path(lost.signing_key).read_text().strip(),
            "the key on paper": lost.paper.file.read_text().splitlines()[-1],
        }
        assert lines.looks > 20, "nobody looked: it proves nothing"
        told = "\n".join([run.output, again.output, *lines.seen])
        shown = [name for name, text in secrets.items() if text in told]
        measured(
            figures.at_most("secrets in process lists and output of a whole restore", len(shown), f"of {len(secrets)}", 0, ", ".join(shown)),
            figures.at_most("bare metal: bucket and paper keys to all six kinds, proved", minutes, "min", MINUTES),
            figures.told("of these, fetched, opened and compared", run.result("Have the repository from its copy")["fetched"]["bytes"] / 2**20, "MiB"),
        )


def test_a_wrong_key_brings_nothing(lost: Lost, fresh: Postgres, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    with Minio(tmp_path / "new-store").running() as store, empty_server(tmp_path / "cluster") as cluster:
        wrong = asked(host, lost, fresh, store, cluster, identity_file=key_file(tmp_path))
        run = run_playbook(tmp_path, ROOT / "playbooks/restore.yml", variables=wrong)
        assert (run.status, run.result("Have the repository from its copy")["failure"]["reason"]) == (2, "Invalid")
        assert list((host / "repository/points").iterdir()) == []
        later = f"{lost.point.sequence + 1:08d}-00000000"
        run = run_playbook(tmp_path, ROOT / "playbooks/restore.yml", variables=asked(host, lost, fresh, store, cluster, known_point=later))
        assert (run.status, run.result("Have the repository from its copy")["failure"]["reason"]) == (2, "NotProven")
