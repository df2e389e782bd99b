"""A move is killed in the middle, in each way there is, and begun again: it ends well, and nothing is left behind."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotFound
from ansible_collections.paas.hardening.plugins.module_utils._host.databases import move, target
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.proof import Fingerprint, compare, fingerprint
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from lab import processes
from tests.databases import postgres
from tests.databases.conftest import Maker
from tests.databases.postgres import Postgres

ROWS = 150_000
VICTIMS = ["us", "program", "server"]


@pytest.fixture(scope="module")
def fragile(places: dict[int, pathlib.Path]) -> Iterator[Postgres]:
    """A server that may be killed."""
    with postgres.running(places[min(places)]) as server:
        yield server


@pytest.fixture(scope="module")
def data(fragile: Postgres) -> Server:
    """A database whose dump and restore take long enough to be hit in the middle."""
    server = fragile.database("data")
    fragile.run(
        f"""CREATE TABLE first AS SELECT n AS id, md5(n::text) || md5((n + 1)::text) AS a, random() AS b FROM generate_series(1, {ROWS}) n;
        CREATE TABLE second AS SELECT id, a || a AS a FROM first; CREATE INDEX ON first (a); CREATE INDEX ON second (a); ALTER TABLE first ADD PRIMARY KEY (id);
        SELECT lo_from_bytea(0, decode(md5(n::text), 'hex')) FROM generate_series(1, 20) n""",
        server,
    )
    fragile.run("CHECKPOINT")
    return server


@pytest.fixture(scope="module")
def source(fragile: Postgres, data: Server) -> Fingerprint:
    return fingerprint(fragile.client, data)


@pytest.fixture(scope="module")
def made(fragile: Postgres, data: Server, tmp_path_factory: pytest.TempPathFactory) -> move.Dump:
    return move.dump(fragile.client, data, str(tmp_path_factory.mktemp("whole")))


class Mover:
    """A move in a process of its own."""

    def __init__(self, act: str, server: Postgres, database: Server, folder: pathlib.Path, jobs: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.databases.mover"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        given = {"act": act, "client": vars(server.client), "server": vars(database), "folder": str(folder), "jobs": jobs}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(given).encode())
        self.process.stdin.close()

    def programs(self, name: str) -> list[int]:
        return [pid for pid in processes.children(self.process.pid) if processes.program(pid) == name]

    def strike(self, victim: str, program: str, server: Postgres) -> str:
        """Kill somebody, wait for the end, and return what was printed."""
        ours = processes.children(self.process.pid)
        if victim == "us":
            self.process.kill()
        elif victim == "program":
            for pid in self.programs(program):
                os.kill(pid, signal.SIGKILL)
        else:
            server.stop(signal.SIGKILL)
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        self.process.wait(60)
        assert processes.wait_until(lambda: not [pid for pid in ours if processes.start_time(pid) is not None], 10), "a program outlived us"
        if victim == "server":
            server.start()
        return output.decode()


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_dump_is_begun_again(fragile: Postgres, data: Server, source: Fingerprint, tmp_path: pathlib.Path, victim: str, jobs: int) -> None:
    mover = Mover("dump", fragile, data, tmp_path, jobs)
    begun = tmp_path / "dump.partial" / "content"

    def half() -> bool:
        return mover.process.poll() is not None or move.size_of(str(begun)) > 300_000

    assert processes.wait_until(half, 30, 0.005)
    assert mover.process.poll() is None, "it was through before it could be hit"
    said = mover.strike(victim, "pg_dump", fragile)
    assert data.password not in said
    assert victim == "us" or "Unavailable" in said or "Failure" in said
    with pytest.raises(NotFound):
        move.load(str(tmp_path))
    made = move.dump(fragile.client, data, str(tmp_path), jobs=jobs)
    move.verify(made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dump"]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_restore_is_begun_again(fragile: Postgres, source: Fingerprint, made: move.Dump, database: Maker, victim: str, jobs: int) -> None:
    into = database(fragile)
    mover = Mover("restore", fragile, into, pathlib.Path(made.folder).parent, jobs)
    begun = "SELECT count(*) AS count FROM pg_stat_activity WHERE datname = :'database' AND query ~ '^(COPY|CREATE INDEX)'"

    def half() -> bool:
        return mover.process.poll() is not None or bool(fragile.client.query(fragile.admin, begun, {"database": into.database})[0]["count"])

    assert processes.wait_until(half, 30, 0.01)
    assert mover.process.poll() is None, "it was through before it could be hit"
    said = mover.strike(victim, "pg_restore", fragile)
    assert into.password not in said
    assert victim == "us" or "Unavailable" in said or "Failure" in said
    # Nobody takes the remains for the data, and the next run knows them as ours.
    found = target.state(fragile.client, into)
    assert (found.kind, found.detail) == (target.RESTORING, made.id)
    assert move.restore(fragile.client, made, into, jobs=jobs)
    assert compare(source, fingerprint(fragile.client, into), owner=into.user) == []
    assert target.state(fragile.client, into).kind == target.RESTORED


def test_a_proof_that_is_cut_off_is_no_proof(fragile: Postgres, data: Server) -> None:
    said: list[str] = []

    def strike(what: str, _done: int, _total: int) -> None:
        if not said:
            said.append(what)
            fragile.stop(signal.SIGKILL)

    try:
        with pytest.raises(Failure):
            fingerprint(fragile.client, data, jobs=1, progress=strike)
    finally:
        fragile.stop(signal.SIGKILL)
        fragile.start()
    assert said
    assert fragile.client.query(replace(fragile.admin, database=data.database), "SELECT 1 AS one")
