"""A platform with real data in its stores, an S3 server, a PostgreSQL and an image registry outside of the cluster, and plays that move one to the other."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.audit_log import AuditLog, Request
from tests.contract.installed import GROUP, KEPT, Installed, install, remove, remove_others
from tests.contract.playbook import AS_MODULE, Run, Task, run_tasks
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.cluster import Cluster
    from lab.postgres import Postgres
    from lab.registries import ImageRegistry
    from lab.seed import Sown
    from lab.stores import ObjectStore

USER = "mover"


@dataclass
class Mover:
    """Runs one module against the platform, as a user with exactly the documented rights, and keeps what the server was asked."""

    platform: Installed
    folder: Path
    module: str
    options: dict[str, Any]
    requests: list[Request] = field(default_factory=list)

    def run(self, *arguments: str, as_module: bool = False, **more: Any) -> Run:
        """Run it once; ``requests`` are those of this run. It may fail."""
        log = AuditLog(self.platform.cluster.audit_log)
        run = run_tasks(self.folder, [self.task(as_module, **more)], "-vvvv", "--diff", *arguments)
        self.requests = log.requests(USER)
        return run

    def task(self, as_module: bool = False, **more: Any) -> Task:
        kubeconfig = str(self.platform.cluster.issue_client(USER, groups=[GROUP]))
        options = {"kubeconfig": kubeconfig, "namespace": self.platform.namespace, "platform": self.platform.name, **self.options, **more}
        return Task("move", self.module, options, AS_MODULE if as_module else {})

    def result(self, *arguments: str, **more: Any) -> dict[str, Any]:
        """Run it once, and return what it returned. Raises AssertionError when it failed."""
        return dict(self.run(*arguments, **more).ok().result("move"))

    @property
    def writes(self) -> list[Request]:
        assert self.requests, "the audit log has no request of this run: it proves nothing"
        return [request for request in self.requests if request.writes]


def alone(cluster: Cluster, name: str, report: Callable[[str], None]) -> Installed:
    """The only platform of a lab, as it was installed, with the rights for moves."""
    remove_others(cluster, name)
    platform = install(cluster, name, report)
    cluster.kubectl("apply", "-n", platform.namespace, "-f", str(ROOT / "docs" / "rbac-moves.yml"))
    return platform


@dataclass
class Standing:
    """The Hephy that files share, and what lies in its stores, for as long as it stands."""

    platform: Installed | None = None
    sown: Sown | None = None

    def asks(self, address: str) -> bool:
        """Whether the platform has been moved to a server with this address."""
        documents = self.platform.documents((*KEPT, "Secret")).values() if self.platform is not None else ()
        values = [
            base64.b64decode(value).decode(errors="replace")
            for document in documents
            for value in (document.get("data") or {}).values()
            if document["kind"] == "Secret"
        ]
        return any(address in text for text in (*values, *(json.dumps(document) for document in documents)))


@pytest.fixture(scope="session")
def standing() -> Standing:
    return Standing()


@pytest.fixture(scope="module")
def as_installed(standing: Standing) -> None:
    """For files that need the platform as it was installed, whatever the file before has moved."""
    if standing.platform is not None:
        remove(standing.platform.cluster, standing.platform.name)


@pytest.fixture(scope="module")
def hephy(lab_cluster: Cluster, report: Callable[[str], None], standing: Standing) -> Installed:
    """A Hephy of its own release: as the file before has left it, or as it was installed where that took it away."""
    there = standing.platform
    if there is None or not lab_cluster.kubectl("get", "namespace", there.namespace, "--ignore-not-found", "--output=name"):
        there = standing.platform = alone(lab_cluster, "hephy", report)
        standing.sown = None
    return there


@pytest.fixture(scope="module")
def sown(hephy: Installed, standing: Standing) -> Sown:
    """What lies in its stores: images, slugs, logs, an app that runs a slug, rows."""
    from lab.seed import sow

    standing.sown = standing.sown or sow(hephy.cluster, hephy.name, megabytes=8, report=lambda _line: None)
    return standing.sown


@pytest.fixture(scope="module")
def taken_away(hephy: Installed) -> Iterator[None]:
    """For files after which the platform is of no use to others."""
    yield
    remove(hephy.cluster, hephy.name)


@pytest.fixture(scope="session")
def store_outside(lab_cluster: Cluster) -> Iterator[ObjectStore]:
    server = lab_cluster.store()
    server.up()
    yield server
    server.down()


@pytest.fixture(scope="module")
def store(store_outside: ObjectStore, standing: Standing) -> ObjectStore:
    """The S3 server outside. It holds nothing, unless the file before has moved the platform there."""
    if not standing.asks(store_outside.address):
        empty(store_outside)
    return store_outside


def empty(store: ObjectStore, *buckets: str) -> None:
    """Remove everything from these buckets of the store outside, or from all."""
    for bucket in [store.folder / "buckets" / name for name in buckets] or (store.folder / "buckets").iterdir():
        for path in sorted(bucket.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


@pytest.fixture(scope="session")
def postgres_outside(lab_cluster: Cluster) -> Iterator[Postgres]:
    server = lab_cluster.postgres()
    server.up()
    yield server
    server.down()


@pytest.fixture(scope="module")
def postgres(postgres_outside: Postgres, standing: Standing) -> Postgres:
    """The PostgreSQL outside. It holds no databases and roles but its own, unless the file before has moved the platform there."""
    if not standing.asks(postgres_outside.address):
        for (database,) in postgres_outside.sql("SELECT quote_ident(datname) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"):
            postgres_outside.sql(f"DROP DATABASE {database} WITH (FORCE)")
        for (role,) in postgres_outside.sql("SELECT quote_ident(rolname) FROM pg_roles WHERE NOT rolsuper AND rolname NOT LIKE 'pg\\_%'"):
            postgres_outside.sql(f"DROP ROLE {role}")
    return postgres_outside


@pytest.fixture(scope="session")
def registry(lab_cluster: Cluster) -> Iterator[ImageRegistry]:
    """The image registry outside."""
    server = lab_cluster.registry()
    server.up()
    yield server
    server.down()


def file_with(folder: Path, text: str) -> str:
    """The path of a new file with a credential, for this user only."""
    path = folder / f"credential-{secrets.token_hex(4)}"
    path.touch(0o600)
    path.write_text(text)
    return str(path)
