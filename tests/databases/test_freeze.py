"""A database is closed to writers and opened again. Its superuser and owner is as on the platforms: one role with a random name."""

from __future__ import annotations

import secrets
import subprocess
import threading
from dataclasses import replace

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotFound, Refused, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.freeze import close_to_writers, closed, reopen, reopening, writers
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.proof import compare, fingerprint
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from tests.databases.conftest import Maker
from tests.databases.postgres import Postgres

WRITE = "INSERT INTO public.t VALUES (1)"
STATE = """SELECT shobj_description(oid, 'pg_database') AS comment, datconnlimit, datacl::text AS acl,
    (SELECT setconfig::text FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole = 0) AS settings
FROM pg_database d WHERE datname = :'database'"""


@pytest.fixture
def data(old: Postgres, database: Maker) -> Server:
    server = database(old)
    old.run("CREATE TABLE t (a integer); INSERT INTO t VALUES (0)", server)
    return server


def state(server: Postgres, database: str) -> object:
    found = server.client.query(server.admin, STATE, {"database": database})[0]
    # The order of grants has no meaning, and an owner's own rights may be written out.
    return found["comment"], found["datconnlimit"], "=Tc/" in (found["acl"] or "{=Tc/"), found["settings"]


def write(client: Client, server: Server) -> None:
    with client.session(server) as session:
        session.execute(WRITE)


@pytest.mark.parametrize("settings", ["", "SET work_mem = '3MB'", "SET default_transaction_read_only = off", "CONNECTION LIMIT 7", "IS 'a comment'"])
def test_closed_and_opened_again_it_is_as_before(old: Postgres, client: Client, data: Server, settings: str) -> None:
    if settings:
        old.run(f'{"COMMENT ON" if settings.startswith("IS") else "ALTER"} DATABASE "{data.database}" {settings}')
    before, print_before = state(old, data.database), fingerprint(client, data)
    assert not closed(client, old.admin, data.database)
    assert not close_to_writers(client, old.admin, data.database).before
    assert closed(client, old.admin, data.database)
    again = close_to_writers(client, old.admin, data.database)
    assert (again.before, again.ended) == (True, [])
    # The proof is not disturbed by it, and does not see it.
    assert compare(print_before, fingerprint(client, replace(old.admin, database=data.database))) == []
    assert reopen(client, old.admin, data.database)
    assert not reopen(client, old.admin, data.database)
    assert state(old, data.database) == before
    write(client, data)


def test_nobody_writes_by_mistake(old: Postgres, client: Client, data: Server) -> None:
    close_to_writers(client, old.admin, data.database)
    with pytest.raises(Unavailable):
        write(client, data)
    superuser = replace(old.admin, database=data.database)
    with pytest.raises(Refused, match="read-only"):
        write(client, superuser)
    # What cannot be kept from a superuser, and is said in the module.
    with client.session(superuser) as session:
        session.execute(f"SET default_transaction_read_only = off; {WRITE}")
    assert client.query(superuser, "SELECT count(*) AS count FROM public.t")[0]["count"] == 2


def test_the_owner_can_close_without_keeping_others_out(old: Postgres, client: Client, data: Server) -> None:
    with pytest.raises(Refused, match="lock itself out"):
        close_to_writers(client, data, data.database)
    close_to_writers(client, data, data.database, keep_out=False)
    with pytest.raises(Refused, match="read-only"):
        write(client, data)
    assert client.query(data, "SELECT count(*) AS count FROM public.t")[0]["count"] == 1
    # It is closed, and can still be closed more, and opened by the owner.
    assert close_to_writers(client, old.admin, data.database).before
    assert reopen(client, old.admin, data.database)
    close_to_writers(client, data, data.database, keep_out=False)
    assert reopen(client, data, data.database)
    write(client, data)


def test_sessions_are_ended_and_what_they_had_not_committed_is_gone(old: Postgres, client: Client, data: Server) -> None:
    ready, go = threading.Event(), threading.Event()
    ended: list[Failure] = []

    def writer() -> None:
        with client.session(data) as session:
            session.execute(f"SET application_name = 'the app''s writer'; BEGIN; {WRITE}")
            ready.set()
            go.wait(30)
            try:
                session.execute("COMMIT")
            except Failure as failure:
                ended.append(failure)

    thread = threading.Thread(target=writer)
    thread.start()
    assert ready.wait(30)
    seen = writers(client, old.admin, data.database)
    assert [(one.role, one.address, one.application, one.writing) for one in seen] == [(data.user, "127.0.0.1", "the app's writer", True)]
    assert "the app's writer" in str(seen[0])
    found = close_to_writers(client, old.admin, data.database)
    assert [one.pid for one in found.ended] == [seen[0].pid]
    assert writers(client, old.admin, data.database) == []
    go.set()
    thread.join()
    assert len(ended) == 1
    assert client.query(replace(old.admin, database=data.database), "SELECT count(*) AS count FROM public.t")[0]["count"] == 1


def test_who_came_while_it_was_closed_has_to_come_again(old: Postgres, client: Client, data: Server) -> None:
    """A session keeps what it began with: a superuser's would stay read-only after the opening."""
    close_to_writers(client, old.admin, data.database)
    with client.session(replace(old.admin, database=data.database)) as session:
        session.execute("SET application_name = 'app'")
        assert reopen(client, old.admin, data.database)
        with pytest.raises(Unavailable):
            session.execute(WRITE)
    write(client, replace(old.admin, database=data.database))


def test_a_prepared_transaction_could_still_be_committed(old: Postgres, client: Client, data: Server) -> None:
    name = secrets.token_hex(4)
    with client.session(data) as session:
        session.execute(f"BEGIN; {WRITE}; PREPARE TRANSACTION '{name}'")
    with pytest.raises(Refused, match="1 prepared transactions"):
        close_to_writers(client, old.admin, data.database)
    with client.session(data) as session:
        session.execute(f"ROLLBACK PREPARED '{name}'")
    close_to_writers(client, old.admin, data.database)


def test_from_within_the_database_itself(old: Postgres, client: Client, data: Server) -> None:
    """On Deis and Hephy the superuser's own database is the one."""
    inside = replace(old.admin, database=data.database)
    assert not close_to_writers(client, inside, data.database).before
    assert close_to_writers(client, inside, data.database).before
    assert reopen(client, inside, data.database)
    write(client, data)


@pytest.mark.parametrize("closed_before", [False, True])
def test_what_was_noted_is_enough_for_somebody_who_has_only_psql(old: Postgres, client: Client, data: Server, closed_before: bool) -> None:
    old.run(f"""ALTER DATABASE "{data.database}" CONNECTION LIMIT 7; COMMENT ON DATABASE "{data.database}" IS 'it''s \\ a "comment"'""")
    before = state(old, data.database)
    if closed_before:
        close_to_writers(client, old.admin, data.database)
    noted = reopening(client, old.admin, data.database)
    close_to_writers(client, old.admin, data.database)
    where = ["-h", old.admin.host, "-p", str(old.admin.port), "-U", old.admin.user, "-d", data.database]
    command = [client.program("psql"), "-Xq", "-v", "ON_ERROR_STOP=1", *where]
    for _twice in range(2):
        done = subprocess.run(command, input=noted, env={"PGPASSWORD": old.admin.password}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert state(old, data.database) == before
    assert not closed(client, old.admin, data.database)
    write(client, data)


def test_no_such_database(old: Postgres, client: Client) -> None:
    for act in (close_to_writers, reopen):
        with pytest.raises(NotFound):
            act(client, old.admin, "no such database")


def test_a_mark_that_somebody_changed_is_not_obeyed(old: Postgres, client: Client, data: Server) -> None:
    close_to_writers(client, data, data.database, keep_out=False)
    with client.session(data) as session:
        changed = 'paas.hardening: closed {"read_only": null, "limit": "1; DROP TABLE x", "public": true}'
        session.execute("BEGIN READ WRITE; COMMENT ON DATABASE :\"database\" IS :'text'; COMMIT", {"database": data.database, "text": changed})
    with pytest.raises(Refused, match="was changed"):
        reopen(client, old.admin, data.database)
