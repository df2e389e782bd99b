"""Databases in a point, on a real server: clean ones always pass, writers or not; whatever is not as the snapshot held it is red."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.kind import dumped, proved_in
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.proof import Expected, Proved, fingerprint_text, prove, read_fingerprint
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotProven, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.move import Dump, dump, load, restore
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.scratch import (
    ServerPrograms,
    account_of,
    find_server,
    private_folder,
    scratch_server,
)
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from lab import processes
from tests.backup.member import left_running
from tests.backup.rows import DEFECTS, ROWS
from tests.databases import postgres
from tests.databases.postgres import Postgres

ZOO = Path(__file__).parents[1] / "databases"


@dataclass
class Source:
    """A server with a database that holds something of everything."""

    server: Postgres
    entered: Server

    @property
    def client(self) -> Client:
        return self.server.client

    def run(self, sql: str) -> None:
        self.server.run(sql, self.entered)

    def dumped(self, folder: Path) -> tuple[Dump, Expected]:
        folder.mkdir()
        return dumped(self.client, self.entered, str(folder), Deadline(300))


@pytest.fixture(scope="module")
def places() -> Iterator[dict[int, Path]]:
    with postgres.binaries() as found:
        yield found


@pytest.fixture(scope="module")
def source(places: dict[int, Path]) -> Iterator[Source]:
    with postgres.running(places[min(places)]) as server:
        entered = replace(server.admin, database="zoo")
        server.run("CREATE DATABASE zoo TEMPLATE template0")
        for name in ("zoo.sql", "zoo_new.sql"):
            server.run((ZOO / name).read_text(), entered)
        made = Source(server, entered)
        made.run(ROWS)
        yield made


@pytest.fixture(scope="module")
def there(source: Source) -> ServerPrograms:
    return find_server(str(source.server.binaries))


@pytest.fixture(scope="module")
def today(source: Source, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dump, Expected]:
    return source.dumped(tmp_path_factory.mktemp("today") / "controller")


@pytest.fixture(scope="module")
def scratch(source: Source, there: ServerPrograms, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One scratch server for many dumps: each has a database of its own in it."""
    with (
        private_folder("/var/tmp", str(tmp_path_factory.getbasetemp())) as place,
        scratch_server(there, source.client, place, account_of(), Deadline(60)) as server,
    ):
        yield server
    assert not os.path.exists(place)


def judged(source: Source, made: Dump, expected: Expected, scratch: Server, name: str) -> str:
    """What the proof says of a dump: pass, or why not."""
    try:
        proved = prove(source.client, made, expected, scratch, name, Deadline(300))
    except TimedOut:
        raise
    except Failure as failure:
        return failure.message
    wrong = [f"{check.what}: {check.observed}" for check in proved.proof.checks if check.verdict != PASS]
    return "; ".join(wrong) or PASS


def sum_of(content: str) -> str:
    """The sum that a dump in one file has: of its name, its size and its bytes."""
    body = Path(content).read_bytes()
    return hashlib.sha256(f"{os.path.basename(content)}\0{len(body)}\0".encode() + body).hexdigest()


def shared_memory() -> int:
    """How many segments of the scratch server's account nobody is attached to."""
    lines = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()]
    attached, owner = lines[0].index("nattch"), lines[0].index("uid")
    return sum(line[attached] == "0" and line[owner] == str(account_of().uid) for line in lines[1:])


def _more_than(written: list[int], before: int) -> bool:
    return written[0] > before


def _nobody_in(folder: Path) -> bool:
    return left_running(folder) == []


def copied(made: Dump, folder: Path) -> Dump:
    shutil.copytree(Path(made.folder).parent, folder)
    return load(str(folder))


def test_a_clean_dump_passes_and_says_what_it_holds(source: Source, there: ServerPrograms, today: tuple[Dump, Expected], tmp_path: Path) -> None:
    with private_folder("/var/tmp", str(tmp_path)) as place:
        proved: Proved = proved_in(there, source.client, {"controller": today}, place, account_of(), Deadline(120))["controller"]
        assert os.listdir(place) == ["log"]
    assert proved.proof.verdict == PASS, proved.proof
    assert len(proved.proof.checks) == 6, "the server has amcheck"
    assert (proved.held.rows > 20_000, proved.seconds > 0) == (True, True)
    assert proved.held.sequences == today[1].after
    (tmp_path / "held").write_bytes(fingerprint_text(proved.held))
    assert read_fingerprint(str(tmp_path / "held")) == proved.held
    assert left_running(Path(place)) == []


@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_is_red(source: Source, today: tuple[Dump, Expected], scratch: Server, tmp_path: Path, name: str) -> None:
    """The files are whole, and their sums are right: only what is in them is not what was there."""
    made, expected = today
    copy = replace(source.server.admin, database=f"copy {name}")
    source.server.run(f'CREATE DATABASE "{copy.database}" TEMPLATE template0')
    restore(source.client, made, copy)
    source.server.run(DEFECTS[name], copy)
    changed = dump(source.client, copy, str(tmp_path / "dump"))
    source.server.run(f'DROP DATABASE "{copy.database}"')
    said = judged(source, changed, expected, scratch, name)
    assert said != PASS
    print(f"{name}: {said[:200]}")


def test_flipped_cut_and_exchanged_files_are_red(source: Source, today: tuple[Dump, Expected], scratch: Server, tmp_path: Path) -> None:
    made, expected = today
    size = os.path.getsize(made.content)
    for number, place in enumerate([0, 7, 100, size // 3, size // 2, size - 2, size - 1]):
        flipped = copied(made, tmp_path / f"flip {number}")
        with open(flipped.content, "r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1 << number]))
        assert judged(source, flipped, expected, scratch, f"flip {number}") != PASS, place
    for number, left in enumerate([0, 5, size // 2, size - 1]):
        cut = copied(made, tmp_path / f"cut {number}")
        os.truncate(cut.content, left)
        assert judged(source, cut, expected, scratch, f"cut {number}") != PASS, left
    # The sum is made to fit: then the content has to tell.
    other = copied(made, tmp_path / "other")
    os.truncate(other.content, size // 2)
    assert judged(source, replace(other, bytes=size // 2, sha256=sum_of(other.content)), expected, scratch, "cut and summed") != PASS


def test_yesterdays_dump_and_that_of_another_database_are_red(source: Source, today: tuple[Dump, Expected], scratch: Server, tmp_path: Path) -> None:
    yesterday = copied(today[0], tmp_path / "yesterday")
    source.run("INSERT INTO lab_child VALUES (600, 1)")
    try:
        made, expected = source.dumped(tmp_path / "now")
        assert judged(source, made, expected, scratch, "now") == PASS
        assert "rows" in judged(source, yesterday, expected, scratch, "yesterday")
        assert judged(source, made, today[1], scratch, "too new") != PASS
    finally:
        source.run("DELETE FROM lab_child WHERE id = 600")
    empty = replace(source.server.admin, database="empty one")
    source.server.run('CREATE DATABASE "empty one" TEMPLATE template0')
    assert judged(source, dump(source.client, empty, str(tmp_path / "empty")), today[1], scratch, "empty") != PASS


def test_a_dump_under_writers_never_is_red(source: Source, scratch: Server, tmp_path: Path) -> None:
    """Rows come, change and go, and sequences move, all the time: the dump and what it is compared with are of one moment."""
    over = threading.Event()
    written = [0]

    def write() -> None:
        with source.client.session(source.entered, patience=60) as session:
            while not over.is_set():
                session.execute(
                    "INSERT INTO public.lab (name, body) VALUES (pg_catalog.gen_random_uuid()::text, 'new');"
                    "UPDATE public.lab SET body = 'again' WHERE id % 1000 = 7; DELETE FROM public.lab WHERE id = (SELECT max(id) - 50 FROM public.lab)"
                )
                written[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(8):
            before = written[0]
            made, expected = source.dumped(tmp_path / f"live {number}")
            assert judged(source, made, expected, scratch, f"live {number}") == PASS
            assert processes.wait_until(partial(_more_than, written, before), 30), "nobody wrote: it proves nothing"
    finally:
        over.set()
        thread.join(60)
    assert written[0] > 8


def test_killed_in_the_middle_nothing_runs_on_and_the_next_run_clears_up(
    source: Source, there: ServerPrograms, today: tuple[Dump, Expected], tmp_path: Path, share: Callable[[int, int], int]
) -> None:
    seen, socket = 0, ""
    with private_folder("/var/tmp", str(tmp_path)) as place:
        socket = os.path.join(place, "socket", ".s.PGSQL.5432")
    for number in range(share(4, 12)):
        before = shared_memory()
        child = os.fork()
        if child == 0:
            try:
                with private_folder("/var/tmp", str(tmp_path)) as place:
                    proved_in(there, source.client, {"controller": today}, place, account_of(), Deadline(120))
            finally:
                os._exit(0)
        if number % 2:
            assert processes.wait_until(partial(os.path.exists, socket), 60)
        time.sleep(0.3 + 0.1 * number)
        os.kill(child, signal.SIGKILL)
        _child, status = os.waitpid(child, 0)
        seen += os.WIFSIGNALED(status)
        with private_folder("/var/tmp", str(tmp_path)) as place:
            assert processes.wait_until(partial(_nobody_in, Path(place)), 15)
            assert os.listdir(place) == []
        assert not os.path.exists(place)
        # A server ends in order; what initdb was about may leave its few bytes.
        assert number % 2 == 0 or shared_memory() <= before, "segments of killed servers pile up"
    assert seen


def test_a_server_that_cannot_start_is_told(source: Source, today: tuple[Dump, Expected], tmp_path: Path) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo "postgres (PostgreSQL) 99.1" || { echo "no memory left" >&2; exit 1; }\n')
        (tmp_path / name).chmod(0o755)
    tmp_path.chmod(0o755)
    liar = find_server(str(tmp_path))
    with private_folder("/var/tmp", str(tmp_path)) as place, pytest.raises(NotProven, match="made no server"):
        proved_in(liar, source.client, {"controller": today}, place, account_of(), Deadline(30))
