"""Sessions with a real server: what is asked, what can go wrong, and that no password is to be seen anywhere."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core import errors
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from lab import processes
from tests.databases import postgres
from tests.databases.conftest import Maker
from tests.databases.postgres import Postgres

ONE = "SELECT 1 AS one"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "it's",
        'a "b" c',
        "back\\slash \\n \\' \\\\",
        "two\nlines\r\nand\ttab",
        ":'x' :x :\"x\" :{?x}",
        "ünïcode 𝄞 \u2028\u0085\x1c",
        "$$ -- /* ; */ \\q",
        "`id`",
        "%s {0}",
    ],
)
def test_values_arrive_as_they_are(client: Client, zoo: Server, text: str) -> None:
    rows = client.query(zoo, """SELECT :'x' AS literal, :'x' AS ":'x'", length(:'x') AS length FROM generate_series(1, 2)""", {"x": text})
    assert rows == [{"literal": text, ":'x'": text, "length": len(text)}] * 2


def test_names_arrive_as_they_are(client: Client, zoo: Server) -> None:
    name = "it's \"x\"; DROP ü \\ :'y'"
    assert client.query(zoo, 'SELECT 1 AS :"name"', {"name": name}) == [{name: 1}]


def test_types_and_nulls(client: Client, zoo: Server) -> None:
    rows = client.query(zoo, "SELECT 9007199254740993 AS large, NULL AS nothing, true AS yes, 1.50::text AS exact, ARRAY[1, 2] AS both")
    assert rows == [{"large": 9007199254740993, "nothing": None, "yes": True, "exact": "1.50", "both": [1, 2]}]


def test_many_rows_and_no_row(client: Client, zoo: Server) -> None:
    assert [row["n"] for row in client.query(zoo, "SELECT n, repeat('x', 1000) AS filler FROM generate_series(1, 5000) n")] == list(range(1, 5001))
    assert client.query(zoo, "SELECT 1 AS one WHERE false") == []


def test_a_null_character_is_refused(client: Client, zoo: Server) -> None:
    with pytest.raises(errors.Invalid):
        client.query(zoo, "SELECT :'x' AS x", {"x": "a\0b"})


def test_a_password_of_all_characters(old: Postgres, database: Maker) -> None:
    server = database(old)
    password = "".join(map(chr, range(32, 127))) + " üñ𝄞\\"
    old.run(f"ALTER ROLE \"{server.user}\" PASSWORD '{password.replace(chr(39), chr(39) * 2)}'")
    assert old.client.query(replace(server, password=password), ONE)
    with pytest.raises(errors.Unauthorized):
        old.client.query(replace(server, password=password[:-1]), ONE)


def test_its_url_is_understood_by_libpq(old: Postgres, client: Client, database: Maker) -> None:
    server = database(old)
    strange = replace(server, password="p@ss:w/ör d#?%&=+\\'\"", sslmode="disable")
    old.run(f"ALTER ROLE \"{server.user}\" PASSWORD '{strange.password.replace(chr(39), chr(39) * 2)}'")
    with client.session(old.admin) as session:
        # A meta-command of psql, on its input.
        session.execute(f"SELECT 1;\n\\connect {strange.url()}\nSELECT 1")
        assert session.query("SELECT current_user AS user, current_database() AS database") == [{"user": server.user, "database": server.database}]


def closed_port() -> int:
    return postgres.free_port()


@pytest.mark.parametrize(
    ("change", "failure", "words"),
    [
        ({"password": "canary-wrong"}, errors.Unauthorized, "password"),
        ({"password": ""}, errors.Unauthorized, "password"),
        ({"user": "nobody"}, errors.Unauthorized, "password"),
        ({"database": "no such database"}, errors.NotFound, "database"),
        ({"host": "host.invalid"}, errors.Unavailable, "host"),
        ({"sslmode": "require"}, errors.Invalid, "sslmode"),
    ],
)
def test_who_is_not_let_in_is_told_why(client: Client, zoo: Server, change: dict[str, Any], failure: type[errors.Failure], words: str) -> None:
    with pytest.raises(failure) as caught:
        client.query(replace(zoo, **change), ONE)
    assert type(caught.value) is failure
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert "canary" not in str(caught.value)
    assert zoo.password not in str(caught.value)


def test_nobody_listens(client: Client, zoo: Server) -> None:
    with pytest.raises(errors.Unavailable, match="cannot be reached"):
        client.query(replace(zoo, port=closed_port()), ONE)


def test_somebody_listens_and_says_nothing(client: Client, zoo: Server) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(errors.TimedOut):
            client.query(replace(zoo, port=silent.getsockname()[1], connect_timeout=2), ONE)
        assert time.monotonic() - started < 10


def test_no_connection_is_left(old: Postgres, client: Client, database: Maker) -> None:
    server = database(old)
    old.run(f'ALTER ROLE "{server.user}" CONNECTION LIMIT 1')
    with client.session(server), pytest.raises(errors.Unavailable, match="no connection left"):
        client.query(server, ONE)


@pytest.mark.parametrize(
    ("sql", "failure"),
    [
        ("SELECT * FROM pg_authid", errors.Forbidden),
        ("SELECT 1 / 0 AS x", errors.Failure),
        ("SELECT 'canary'::integer AS x", errors.Failure),
        ("SELECT nonsense", errors.Failure),
    ],
)
def test_questions_that_fail(client: Client, zoo: Server, sql: str, failure: type[errors.Failure]) -> None:
    with pytest.raises(failure) as caught:
        client.query(zoo, sql)
    assert "canary" not in str(caught.value)


def test_what_takes_too_long_is_ended_on_both_sides(old: Postgres, client: Client, zoo: Server) -> None:
    with pytest.raises(errors.TimedOut):
        client.query(zoo, "SELECT 1 AS slept FROM pg_sleep(60)", patience=0.5)
    sleeping = "SELECT count(*) AS count FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
    assert processes.wait_until(lambda: client.query(old.admin, sleeping)[0]["count"] == 0, 5)


def test_a_session_that_was_given_up_says_so(client: Client, zoo: Server) -> None:
    with client.session(zoo, patience=1) as session:
        with pytest.raises(errors.TimedOut):
            session.query("SELECT 1 AS slept FROM pg_sleep(60)")
        with pytest.raises(errors.Unavailable, match="has ended"):
            session.query(ONE)


def test_a_lock_is_not_waited_for_without_an_end(client: Client, zoo: Server) -> None:
    with client.session(zoo) as holder, client.session(zoo, lock_patience=1) as waiting:
        holder.execute("BEGIN; LOCK TABLE public.account")
        with pytest.raises(errors.TimedOut, match="lock"):
            waiting.query("SELECT count(*) AS count FROM public.account")
        holder.execute("ROLLBACK")


def test_a_session_that_an_administrator_ends(old: Postgres, client: Client, zoo: Server) -> None:
    with client.session(zoo) as session:
        pid = session.query("SELECT pg_backend_pid() AS pid")[0]["pid"]
        client.query(old.admin, f"SELECT pg_terminate_backend({pid}) AS done")
        with pytest.raises(errors.Unavailable, match="broke the connection off"):
            session.query(ONE)
        with pytest.raises(errors.Failure):
            session.query(ONE)


def test_the_surroundings_decide_nothing(client: Client, zoo: Server, tmp_path: pathlib.Path) -> None:
    """PG* variables and files in the home folder are for people."""
    (tmp_path / ".psqlrc").write_text("\\echo a line of .psqlrc\n")
    (tmp_path / ".pg_service.conf").write_text("[here]\nport=1\n")
    hostile = {
        "PGHOSTADDR": "192.0.2.1",
        "PGSERVICE": "here",
        "PGOPTIONS": "-c statement_timeout=1",
        "PGDATABASE": "x",
        "PGSSLMODE": "require",
        "HOME": str(tmp_path),
    }
    before = dict(os.environ)
    try:
        os.environ.update(hostile, LC_ALL="C.UTF-8")
        assert client.query(zoo, "SELECT current_setting('statement_timeout') AS timeout, current_setting('application_name') AS name") == [
            {"timeout": "61s", "name": "paas.hardening"}
        ]
    finally:
        os.environ.clear()
        os.environ.update(before)


def visible(secret: str) -> list[str]:
    """The processes that show a secret in their arguments or environment."""
    found = []
    for path in [*pathlib.Path("/proc").glob("[0-9]*/cmdline"), *pathlib.Path("/proc").glob("[0-9]*/environ")]:
        try:
            found += [str(path)] if secret.encode() in path.read_bytes() else []
        except OSError:
            continue
    return found


def files_with(secret: str, *folders: pathlib.Path) -> list[pathlib.Path]:
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes():
                found.append(path)
    return found


def test_the_password_is_seen_nowhere(old: Postgres, client: Client, zoo: Server) -> None:
    lost = set(pathlib.Path(tempfile.gettempdir()).glob("*"))
    with client.session(zoo) as session:
        assert session.query(ONE)
        assert visible(zoo.password) == []
        made = [path for path in set(pathlib.Path(tempfile.gettempdir()).glob("*")) - lost if "paas" in path.name]
        assert made == []
    assert zoo.password not in old.log
    assert files_with(zoo.password, old.folder / "data" / "global") == []


def test_programs_do_not_outlive_us(zoo: Server, client: Client, old: Postgres) -> None:
    """A process that has a session open is killed: its psql ends with it, and so does the session."""
    program = """
import json, sys
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
given = json.load(sys.stdin)
with Client(**given["client"]).session(Server(**given["server"])) as session:
    print(session.query("SELECT pg_backend_pid() AS pid")[0]["pid"], flush=True)
    session.query("SELECT 1 AS slept FROM pg_sleep(50)")
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    json.dump({"client": vars(client), "server": vars(zoo)}, holder.stdin)
    holder.stdin.close()
    backend = int(holder.stdout.readline())
    psql = processes.wait_until(lambda: processes.children(holder.pid), 5)
    assert [processes.program(pid) for pid in psql] == ["psql"]
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert processes.wait_until(lambda: processes.start_time(psql[0]) is None, 5)
    client.query(old.admin, f"SELECT pg_terminate_backend({backend}) AS done")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Certificates of two authorities for localhost: right.crt and wrong.crt vouch, right.key is the server's."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("right", "wrong"):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"]
        subprocess.run([*command, *names], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def encrypted(places: dict[int, pathlib.Path], certificates: pathlib.Path) -> Iterator[Postgres]:
    """The older one: the newest from PyPI is built without TLS."""
    with postgres.running(places[min(places)], tls=(certificates / "right.crt", certificates / "right.key")) as server:
        yield server


def test_tls_is_what_sslmode_says(encrypted: Postgres, certificates: pathlib.Path) -> None:
    ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    right, wrong = str(certificates / "right.crt"), str(certificates / "wrong.crt")
    admin, client = encrypted.admin, encrypted.client

    def used(**change: Any) -> bool:
        return bool(client.query(replace(admin, **change), ssl)[0]["ssl"])

    assert not used(sslmode="disable")
    assert used(sslmode="prefer")
    assert used(sslmode="require")
    assert used(sslmode="verify-ca", ca_file=right)
    assert used(sslmode="verify-full", ca_file=right, host="localhost")
    with pytest.raises(errors.Invalid, match="do not agree on TLS"):
        used(sslmode="verify-full", ca_file=right)
    for mode in ("verify-ca", "require"):
        with pytest.raises(errors.Invalid, match="do not agree on TLS"):
            used(sslmode=mode, ca_file=wrong, host="localhost")


def test_a_role_that_may_not_enter(old: Postgres, client: Client, database: Maker) -> None:
    one, other = database(old), database(old)
    old.run(f'REVOKE CONNECT ON DATABASE "{one.database}" FROM PUBLIC')
    with pytest.raises(errors.Forbidden):
        client.query(replace(other, database=one.database), ONE)
    old.run(f'ALTER ROLE "{other.user}" NOLOGIN')
    with pytest.raises(errors.Forbidden):
        client.query(other, ONE)
