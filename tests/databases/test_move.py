"""A dump is whole or not there; a restore goes into an empty database of its owner only; and with writers until the last moment nothing is lost."""

from __future__ import annotations

import os
import pathlib
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, Forbidden, Invalid, NotFound, Refused, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._host.databases import move, target
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.freeze import close_to_writers, writers
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import look
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.proof import compare, fingerprint, snapshot
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from tests.databases.conftest import NOTE, Maker
from tests.databases.postgres import Postgres
from tests.perf import figures
from tests.proof import Measured


@pytest.fixture
def data(old: Postgres, database: Maker) -> Server:
    server = database(old)
    old.run("CREATE TABLE t (a serial PRIMARY KEY, b text); INSERT INTO t (b) SELECT md5(n::text) FROM generate_series(1, 1000) n", server)
    return server


@pytest.fixture
def made(client: Client, data: Server, tmp_path: pathlib.Path) -> move.Dump:
    return move.dump(client, data, str(tmp_path / "dumps"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_dump_is_found_again_and_is_nobody_elses(client: Client, data: Server, tmp_path: pathlib.Path, jobs: int) -> None:
    folder = tmp_path / "dumps"
    with pytest.raises(NotFound):
        move.load(str(folder))
    made = move.dump(client, data, str(folder), jobs=jobs)
    assert move.load(str(folder)) == made
    move.verify(made)
    assert (made.tables, made.database, made.encoding, made.version // 10000) == (1, data.database, "UTF8", client.version // 10000)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["dump"]
    # Another one takes its place.
    assert move.dump(client, data, str(folder), jobs=jobs).id != made.id
    (folder / "dump.partial").mkdir()
    move.discard(str(folder))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_dump_that_changed_is_not_restored(client: Client, old: Postgres, data: Server, database: Maker, tmp_path: pathlib.Path, jobs: int) -> None:
    made = move.dump(client, data, str(tmp_path), jobs=jobs)
    content = pathlib.Path(made.content)
    path = content if jobs == 1 else max(content.iterdir(), key=lambda path: path.stat().st_size)
    whole = path.read_bytes()
    into = database(old)
    for changed in (whole[:-1], whole + b"\0", whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        path.write_bytes(changed)
        with pytest.raises(Invalid):
            move.restore(client, made, into)
    assert target.state(client, into).kind == target.EMPTY
    path.unlink()
    with pytest.raises(Invalid):
        move.restore(client, made, into)
    path.write_bytes(whole)
    assert move.restore(client, made, into)


def test_a_second_restore_does_nothing(old: Postgres, client: Client, made: move.Dump, database: Maker) -> None:
    into = database(old)
    old.run(f"COMMENT ON DATABASE \"{into.database}\" IS 'what it''s for'")
    assert move.restore(client, made, into)
    before = fingerprint(client, into)
    assert not move.restore(client, made, into)
    assert compare(before, fingerprint(client, into)) == []
    assert target.state(client, into) == target.State(target.RESTORED, made.id, "what it's for")
    target.unmark(client, into)
    assert target.state(client, into) == target.State(target.FOREIGN, "sequence public.t_a_seq", "what it's for")


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        ("CREATE TABLE x (a integer)", "table public.x"),
        ("CREATE VIEW x AS SELECT 1 AS a", "view public.x"),
        ("CREATE FUNCTION x() RETURNS integer LANGUAGE sql AS 'SELECT 1'", "function public.x()"),
        ("CREATE TYPE x AS ENUM ('a')", "type public.x"),
        ("CREATE SCHEMA x", "schema x"),
        ("SELECT lo_from_bytea(7, 'x')", "large object 7"),
    ],
)
def test_a_database_that_holds_something_is_left_alone(old: Postgres, client: Client, made: move.Dump, database: Maker, thing: str, name: str) -> None:
    into = database(old)
    old.run(thing, into)
    before = fingerprint(client, into)
    with pytest.raises(Refused, match="is not empty") as caught:
        move.restore(client, made, into)
    assert name in str(caught.value)
    assert compare(before, fingerprint(client, into)) == []


def test_a_database_with_another_dump_is_left_alone(
    old: Postgres, client: Client, made: move.Dump, data: Server, database: Maker, tmp_path: pathlib.Path
) -> None:
    into = database(old)
    move.restore(client, made, into)
    with pytest.raises(Refused, match="another dump"):
        move.restore(client, move.dump(client, data, str(tmp_path / "second")), into)


def test_a_database_that_was_emptied_by_hand_is_empty(
    old: Postgres, client: Client, made: move.Dump, data: Server, database: Maker, tmp_path: pathlib.Path
) -> None:
    into = database(old)
    assert move.restore(client, made, into)
    old.run("DROP TABLE t", into)
    assert target.state(client, into).kind == target.EMPTY
    assert move.restore(client, move.dump(client, data, str(tmp_path / "second")), into)


def test_bytes_of_no_known_encoding_are_moved_as_they_are(old: Postgres, client: Client, database: Maker, tmp_path: pathlib.Path) -> None:
    into = database(old)
    for name in ("bytes", "same bytes"):
        old.run(f"CREATE DATABASE \"{name}\" OWNER \"{into.user}\" TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    one, other = (replace(into, database=name) for name in ("bytes", "same bytes"))
    old.run("CREATE TABLE t (a text); INSERT INTO t VALUES (E'latin \\xe4'), (E'utf-8 \\xc3\\xa4'), (E'\\xff\\xfe')", one)
    assert move.restore(client, move.dump(client, one, str(tmp_path)), other)
    before = fingerprint(client, one)
    assert compare(before, fingerprint(client, other)) == []
    old.run("UPDATE t SET a = E'latin \\xe5' WHERE a LIKE 'latin%'", other)
    assert compare(before, fingerprint(client, other)) == ["table public.t: 3 rows in both, but their content differs"]


def test_what_the_owner_may_not_set_is_said_before_the_work(old: Postgres, client: Client, data: Server, database: Maker, tmp_path: pathlib.Path) -> None:
    into = database(old)
    old.run(f'ALTER DATABASE "{data.database}" SET log_duration = off')
    made = move.dump(client, data, str(tmp_path))
    with pytest.raises(Forbidden, match="log_duration"):
        move.restore(client, made, into)
    assert target.state(client, into).kind == target.EMPTY
    old.run(f'ALTER DATABASE "{into.database}" SET log_duration = off')
    assert move.restore(client, made, into)
    assert compare(fingerprint(client, data), fingerprint(client, into), owner=into.user) == []


def test_the_remains_of_any_of_our_restores_are_removed(
    old: Postgres, client: Client, zoo: Server, made: move.Dump, database: Maker, tmp_path: pathlib.Path
) -> None:
    """One of everything is removed by its owner, who is no superuser; what an administrator put there, and another database of the owner, stay."""
    into = database(old)
    neighbour = replace(into, database=f"neighbour {secrets.token_hex(4)}")
    old.run(f'CREATE DATABASE "{neighbour.database}" OWNER "{into.user}"')
    old.run(f'REVOKE ALL ON DATABASE "{neighbour.database}" FROM PUBLIC; REVOKE ALL ON DATABASE "{into.database}" FROM PUBLIC')
    old.run(f'CREATE EXTENSION hstore; ALTER DATABASE "{into.database}" SET app.note = {NOTE}', replace(old.admin, database=into.database))
    everything = move.dump(client, zoo, str(tmp_path / "zoo"))
    assert move.restore(client, everything, into)
    with client.session(into) as session:
        target.mark(session, into.database, target.RESTORING, everything.id, "")
    assert move.restore(client, made, into)
    source = fingerprint(client, replace(old.admin, database=made.database))
    found = compare(source, fingerprint(client, into), owner=into.user)
    assert [difference for difference in found if not difference.startswith("setting ")] == ["extension hstore: only in the target"]
    assert client.query(neighbour, "SELECT 1 AS one")


def test_what_the_restore_did_not_make_stops_it(old: Postgres, client: Client, made: move.Dump, database: Maker) -> None:
    into = database(old)
    with client.session(into) as session:
        target.mark(session, into.database, target.RESTORING, made.id, "")
    old.run("CREATE SCHEMA of_somebody_else", replace(old.admin, database=into.database))
    with pytest.raises(Forbidden):
        move.restore(client, made, into)


def test_only_the_owner_can_be_restored_to(old: Postgres, client: Client, made: move.Dump, database: Maker) -> None:
    into, other = database(old), database(old)
    with pytest.raises(Refused, match="belongs to"):
        move.restore(client, made, replace(old.admin, database=into.database))
    with pytest.raises(Refused, match="cannot act as"):
        move.restore(client, made, replace(other, database=into.database), owner=into.user)
    assert move.restore(client, made, replace(old.admin, database=into.database), owner=into.user)
    source = fingerprint(client, replace(old.admin, database=made.database))
    assert compare(source, fingerprint(client, into), owner=into.user) == []


def test_versions_that_do_not_fit(old: Postgres, new: Postgres, made: move.Dump, database: Maker, tmp_path: pathlib.Path) -> None:
    source = database(new)
    with pytest.raises(Refused, match="a client has to be as new"):
        move.dump(old.client, source, str(tmp_path / "x"))
    assert not (tmp_path / "x" / "dump").exists()
    with pytest.raises(Refused, match="a client has to be as new"):
        move.restore(old.client, made, database(new))
    newer = move.dump(new.client, source, str(tmp_path / "newer"))
    with pytest.raises(Refused, match="not moved to an older server"):
        move.restore(new.client, newer, database(old))
    into = database(old)
    if old.client.version < 170000:
        # What pg_restore itself would stumble over, after it had begun.
        with pytest.raises(Refused, match="does not know"):
            move.restore(new.client, made, into)
    else:
        assert move.restore(new.client, made, into)


def test_two_restores_at_once(old: Postgres, client: Client, made: move.Dump, database: Maker) -> None:
    into = database(old)
    outcome: list[object] = []

    def work() -> None:
        try:
            outcome.append(move.restore(client, made, into))
        except Conflict:
            outcome.append(Conflict)

    threads = [threading.Thread(target=work) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcome)) == ["False", "True"]
    source = fingerprint(client, replace(old.admin, database=made.database))
    assert compare(source, fingerprint(client, into), owner=into.user) == []


def test_a_dump_that_takes_too_long_leaves_nothing(old: Postgres, client: Client, data: Server, tmp_path: pathlib.Path) -> None:
    with client.session(data) as holder:
        holder.execute("BEGIN; LOCK TABLE public.t")
        with pytest.raises(TimedOut):
            move.dump(client, data, str(tmp_path), patience=1)
        holder.execute("ROLLBACK")
    with pytest.raises(NotFound):
        move.load(str(tmp_path))
    assert move.dump(client, data, str(tmp_path)) == move.load(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dump"]


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_there_is_no_room_for_the_dump(client: Client, data: Server, small_disk: pathlib.Path) -> None:
    with pytest.raises(Refused, match="MiB free"):
        move.dump(client, data, str(small_disk))
    assert not (small_disk / "dump").exists()


def test_a_dump_shows_what_a_held_snapshot_shows(old: Postgres, client: Client, data: Server, database: Maker, tmp_path: pathlib.Path) -> None:
    """The dump and the proof of the source are of one moment, although rows come in between."""
    with snapshot(client, data) as moment:
        old.run("INSERT INTO t (a, b) VALUES (0, 'too late')", data)
        made = move.dump(client, data, str(tmp_path), moment=moment)
        source = fingerprint(client, data, moment=moment)
    into = database(old)
    move.restore(client, made, into)
    assert compare(source, fingerprint(client, into), owner=into.user) == []
    assert source.tables["public.t"].rows == 1000


# A row of the bulk takes about 200 bytes; the move can be tried at any size.
# Several hundred MiB.
BULK_ROWS = 1_500_000


class Ledger(threading.Thread):
    """Writes numbers, and keeps those that the server acknowledged, until it is not let in any more."""

    def __init__(self, client: Client, server: Server, start: int) -> None:
        super().__init__()
        self.client, self.server, self.number = client, server, start
        self.acknowledged: list[int] = []
        self.end: Failure | None = None

    def run(self) -> None:
        try:
            with self.client.session(self.server) as session:
                session.execute("SET application_name = 'ledger'; SET search_path = public")
                while True:
                    self.number += 1
                    session.execute("INSERT INTO ledger VALUES (:number, repeat(:'number', 20))", {"number": str(self.number)})
                    self.acknowledged.append(self.number)
        except Failure as failure:
            self.end = failure


def test_no_acknowledged_row_is_lost(old: Postgres, new: Postgres, database: Maker, tmp_path: pathlib.Path, measured: Measured) -> None:
    """The whole move, with writers until the database is closed: what the server acknowledged to them is in the target, and nothing else."""
    seconds: dict[str, float] = {}

    def took(what: str) -> None:
        seconds[what] = round(time.monotonic() - started - sum(seconds.values()), 1)

    client = new.client
    source, into = database(old), database(new)
    old.run("CREATE TABLE ledger (number bigint PRIMARY KEY, text text)", source)
    old.run(f"CREATE TABLE bulk AS SELECT n, md5(n::text) AS a, repeat(md5(n::text), 3) AS b FROM generate_series(1, {BULK_ROWS}) n", source)
    ledgers = [Ledger(client, source, start) for start in (0, 1_000_000, 2_000_000)]
    for ledger in ledgers:
        ledger.start()
    deadline = time.monotonic() + 30
    while not all(len(ledger.acknowledged) > 100 for ledger in ledgers):
        assert time.monotonic() < deadline, [ledger.end for ledger in ledgers]
        time.sleep(0.05)
    inside = replace(old.admin, database=source.database)
    started = time.monotonic()
    closing = close_to_writers(client, inside, source.database)
    assert len(closing.ended) == 3
    for ledger in ledgers:
        ledger.join()
    assert writers(client, inside) == []
    took("close")
    with snapshot(client, inside) as moment:
        made = move.dump(client, inside, str(tmp_path), moment=moment)
        took("dump")
        before = fingerprint(client, inside, moment=moment)
        took("fingerprint")
    assert move.restore(client, made, into)
    took("restore")
    assert compare(before, fingerprint(client, into), owner=into.user) == []
    took("compare")
    there = {row["number"] for row in client.query(into, "SELECT number FROM public.ledger")}
    acknowledged = {number for ledger in ledgers for number in ledger.acknowledged}
    size = f"{look(client, inside).bytes >> 20} MiB, {before.rows} rows"
    measured(
        figures.at_most("acknowledged rows lost in a move under three writers", len(acknowledged - there), f"of {len(acknowledged)}", 0, size),
        figures.told(
            "the move of a database, from its closing to the proof", sum(seconds.values()), "s", ", ".join(f"{what} {took}" for what, took in seconds.items())
        ),
    )
    # What was on its way when the session ended may be there without our having heard of it: at most one row a writer.
    assert len(there - acknowledged) <= 3
    # The old database still is as it was dumped.
    assert compare(before, fingerprint(client, inside)) == []


def test_the_password_is_in_no_argument_while_programs_run(
    old: Postgres, client: Client, made: move.Dump, data: Server, database: Maker, tmp_path: pathlib.Path
) -> None:
    old.run("INSERT INTO t (b) SELECT repeat(md5(n::text), 10) FROM generate_series(1, 100000) n", data)
    into = database(old)
    seen: set[str] = set()
    leaks: list[str] = []

    def watch() -> None:
        while not over.wait(0.01):
            for process in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
                    name = os.path.basename(os.readlink(process / "exe"))
                except OSError:
                    continue
                seen.update({name} if name.startswith("pg_") else ())
                leaks.extend(name for server in (data, into) if server.password.encode() in text)

    over = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        move.restore(client, move.dump(client, data, str(tmp_path / "watched"), jobs=2), into, jobs=2)
    finally:
        over.set()
        watcher.join()
    assert seen >= {"pg_dump", "pg_restore"}
    assert leaks == []
    for server in (data, into):
        assert server.password not in old.log
