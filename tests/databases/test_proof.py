"""A database with one of everything is moved and proved; then each single thing is changed in the target, and is noticed."""

from __future__ import annotations

import pathlib
import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden
from ansible_collections.paas.hardening.plugins.module_utils._host.databases import move
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.content import content, fix_settings, tables
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import look
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.prepare import Wish, prepare
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.proof import Fingerprint, compare, fingerprint, remarks, snapshot
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from tests.databases.conftest import NOTE, Maker
from tests.databases.postgres import Postgres


@pytest.fixture(scope="module")
def source(client: Client, zoo: Server) -> Fingerprint:
    return fingerprint(client, zoo)


@pytest.fixture(scope="module")
def made(client: Client, zoo: Server, tmp_path_factory: pytest.TempPathFactory) -> move.Dump:
    return move.dump(client, zoo, str(tmp_path_factory.mktemp("dump")))


def moved(server: Postgres, made: move.Dump, jobs: int = 2) -> Server:
    """The zoo in a new database of a server."""
    number = secrets.token_hex(4)
    wanted = Wish(f"moved {number}", f'new "owner" {number}', secrets.token_urlsafe(), encoding=made.encoding, extensions=made.extensions)
    prepare(server.client, server.admin, wanted)
    into = replace(server.admin, database=wanted.database, user=wanted.role, password=wanted.password)
    server.run(f'ALTER DATABASE "{wanted.database}" SET app.note = {NOTE}')
    assert move.restore(server.client, made, into, jobs=jobs)
    return into


@pytest.fixture(scope="module")
def target(old: Postgres, made: move.Dump) -> Server:
    return moved(old, made)


def test_the_same_version_holds_the_same(client: Client, source: Fingerprint, target: Server) -> None:
    found = fingerprint(client, target)
    assert compare(source, found, owner=target.user) == []
    assert remarks(source, found) == []
    assert len(found.tables) == len(source.tables) > 12
    assert found.rows == source.rows > 3000
    assert set(found.large_objects) == {"700001", "700002", "700003"}
    assert found.settings == {"work_mem": "7MB", "search_path": '"$user", public', "app.note": 'it\'s a "zoo"'}


def test_a_newer_version_holds_the_same(new: Postgres, source: Fingerprint, zoo: Server, tmp_path: pathlib.Path) -> None:
    """Dumped in several jobs by the newer programs, which is how it has to be done."""
    into = moved(new, move.dump(new.client, zoo, str(tmp_path), jobs=2))
    found = fingerprint(new.client, into, jobs=3)
    assert compare(source, found, owner=into.user) == []
    assert any("Extension hstore" in remark or "The servers are of versions" in remark for remark in remarks(source, found))
    # The other way round it would be noticed, too.
    assert compare(source, found) != []


def test_what_was_moved_is_described(client: Client, target: Server, source: Fingerprint) -> None:
    found = look(client, target)
    assert (found.owner, found.superuser, found.in_recovery, found.free_disk) == (target.user, False, False, None)
    assert found.owners == (target.user,)
    assert (found.tables, found.large_objects, found.sequences) == (len(source.tables), 3, len(source.sequences))
    # Statistics were gathered.
    assert found.estimated_rows == source.rows
    assert (found.max_connections, found.reserved_connections) == (40, 3)
    assert "hstore" in found.extensions


def test_sessions_are_counted_by_role_and_address(client: Client, old: Postgres, target: Server) -> None:
    with client.session(target), client.session(target):
        found = {(entry.role, entry.address): entry.count for entry in look(client, replace(old.admin, database=target.database)).sessions}
    assert found == {(target.user, "127.0.0.1"): 2}


@pytest.fixture
def copy(old: Postgres, target: Server) -> Iterator[Server]:
    """A copy of the target, for one mutation."""
    name = f"copy {secrets.token_hex(4)}"
    owner = target.user.replace('"', '""')
    old.run(f'CREATE DATABASE "{name}" OWNER "{owner}" TEMPLATE "{target.database}"')
    with old.client.session(target) as session:
        settings = session.query("SELECT 1 AS one FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database()")
    assert settings
    old.run(f"""ALTER DATABASE "{name}" SET work_mem = '7MB'; ALTER DATABASE "{name}" SET search_path = "$user", public;
        ALTER DATABASE "{name}" SET app.note = {NOTE}""")
    yield replace(target, database=name)
    old.run(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_a_copy_is_the_same(client: Client, source: Fingerprint, copy: Server) -> None:
    assert compare(source, fingerprint(client, copy), owner=copy.user) == []


ONE_ROW = "WHERE ctid = (SELECT min(ctid) FROM {0})"


@pytest.mark.parametrize(
    ("mutation", "sentence"),
    [
        # Rows
        ("UPDATE account SET mail = 'user7@example.tesT' WHERE id = 7", "table public.account: 2000 rows in both"),
        ("DELETE FROM account WHERE id = 700", "table public.account: 2000 rows in the source, 1999 in the target"),
        ("INSERT INTO forgotten VALUES (2)", "table public.forgotten: 1 rows in the source, 2 in the target"),
        ("INSERT INTO no_columns DEFAULT VALUES", "table public.no_columns: 1 rows in the source, 2 in the target"),
        ("DELETE FROM heir", "table public.heir: 1 rows in the source, 0 in the target"),
        ("UPDATE event SET what = what || 'x' WHERE id = 5", "table public.event_2024: "),
        (
            "DELETE FROM values_of_all_kinds WHERE ctid = (SELECT max(ctid) FROM values_of_all_kinds WHERE words = 'twice')",
            "table public.values_of_all_kinds: 306",
        ),
        # Two that would cancel each other out in a sum without care, and in an exclusive or.
        ("UPDATE values_of_all_kinds SET words = 'once' WHERE words = 'twice'", "table public.values_of_all_kinds: 306 rows in both"),
        (
            'UPDATE "Größe.""x"""."Tabelle; DROP" SET "null" = \'\', "Spalte ""1""" = NULL WHERE "a\'b" = 1',
            'table "Größe.""x"""."Tabelle; DROP": 3 rows in both',
        ),
        # Sequences
        ("SELECT nextval('account_id_seq')", "sequence public.account_id_seq: last value 2001, handed out t"),
        ("SELECT setval('account_id_seq', 2001, false)", "sequence public.account_id_seq: last value 2001, handed out t"),
        ("ALTER SEQUENCE odd INCREMENT -2", "sequence public.odd: "),
        ("ALTER SEQUENCE odd NO CYCLE", "sequence public.odd: "),
        ("DROP SEQUENCE odd", "sequence public.odd: not in the target"),
        # Large objects
        ("SELECT lo_unlink(700001)", "large object 700001: not in the target"),
        ("SELECT lo_put(700003, 3000000, 'x')", "large object 700003: 3200000 bytes in the source, 3200000 in the target, other content"),
        ("SELECT lo_put(700002, 0, 'x')", "large object 700002: 0 bytes in the source, 1 in the target, other content"),
        ("SELECT lo_from_bytea(9, 'x')", "large object 9: only in the target"),
        # Structure
        ("DROP INDEX account_lower", "index public.account_lower: not in the target"),
        ("DROP INDEX account_made; CREATE INDEX account_made ON account (made DESC)", "index public.account_made: its definition differs"),
        ("ALTER TABLE account DROP CONSTRAINT mail_has_at", "constraint public.account.mail_has_at: not in the target"),
        (
            "ALTER TABLE account DROP CONSTRAINT mail_has_at; ALTER TABLE account ADD CONSTRAINT mail_has_at CHECK (mail ~ '@') NOT VALID",
            "constraint public.account.mail_has_at: its definition differs",
        ),
        ("ALTER TABLE account ALTER active DROP DEFAULT", "column public.account.active: its definition differs"),
        ("ALTER TABLE account ALTER name DROP NOT NULL", "column public.account.name: its definition differs"),
        ("ALTER TABLE values_of_all_kinds ALTER letters TYPE char(10)", "column public.values_of_all_kinds.letters: its definition differs"),
        ("ALTER TABLE event ALTER id DROP IDENTITY", "identity public.event.id: not in the target"),
        ("ALTER TABLE account ADD more text", "column public.account.more: only in the target"),
        ("ALTER TABLE event DETACH PARTITION event_rest", "inheritance public.event_rest of public.event: not in the target"),
        ("DROP TRIGGER on_write ON account", "trigger public.account.on_write: not in the target"),
        ("ALTER TABLE account DISABLE TRIGGER on_write", "trigger public.account.on_write: its definition differs"),
        ("DROP RULE no_delete ON nothing_in_it", "rule public.nothing_in_it.no_delete: not in the target"),
        ("DROP POLICY own ON session", "policy public.session.own: not in the target"),
        ("ALTER TABLE session DISABLE ROW LEVEL SECURITY", "row security public.session: not in the target"),
        ("DROP VIEW joined", "view public.joined: not in the target"),
        (
            "CREATE OR REPLACE VIEW joined AS SELECT a.name, s.token FROM account a JOIN session s ON s.account = a.id",
            "view public.joined: its definition differs",
        ),
        ("REFRESH MATERIALIZED VIEW counted WITH NO DATA", "materialized view public.counted: its definition differs"),
        ("ALTER FUNCTION add(integer, integer) VOLATILE", "function public.add(a integer, b integer): its definition differs"),
        ("ALTER FUNCTION touch() SECURITY INVOKER", "function public.touch(): its definition differs"),
        ("ALTER FUNCTION touch() RESET search_path", "function public.touch(): its definition differs"),
        ("DROP AGGREGATE product (double precision)", "function public.product(double precision): not in the target"),
        ("DROP PROCEDURE clear_events", "function public.clear_events(IN before date): not in the target"),
        ("DROP OPERATOR === (text, text)", "operator public.===(pg_catalog.text,pg_catalog.text): not in the target"),
        ("ALTER TYPE mood ADD VALUE 'new' BEFORE 'ok'", "type public.mood: its definition differs"),
        ("ALTER DOMAIN percent DROP CONSTRAINT in_range", "constraint of domain public.percent.in_range: not in the target"),
        ("DROP STATISTICS event_both", "statistics public.event_both: not in the target"),
        ("COMMENT ON TABLE account IS NULL", "comment table public.account: not in the target"),
        ("COMMENT ON COLUMN account.mail IS 'x'", "comment table column public.account.mail: its definition differs"),
        ("CREATE SCHEMA more", "schema more: only in the target"),
        ("CREATE TABLE more (a integer)", "table public.more: only in the target"),
        ("ALTER TABLE forgotten SET LOGGED", "table public.forgotten: its definition differs"),
        ("DROP EXTENSION hstore CASCADE", "extension hstore: not in the target"),
        ("CREATE EXTENSION citext", "extension citext: only in the target"),
        ("ALTER TABLE account OWNER TO {admin}", "table public.account: belongs to {admin}, not to "),
        ("ALTER LARGE OBJECT 700001 OWNER TO {admin}", "large object 700001: belongs to {admin}, not to "),
        ("ALTER DATABASE \"{database}\" SET work_mem = '8MB'", "setting work_mem: 7MB in the source, 8MB in the target"),
        ('ALTER DATABASE "{database}" RESET app.note', "setting app.note: not in the target"),
    ],
)
def test_one_change_in_the_target_is_noticed(old: Postgres, client: Client, source: Fingerprint, copy: Server, mutation: str, sentence: str) -> None:
    names = {"admin": f'"{old.admin.user}"' if old.admin.user[0].isdigit() else old.admin.user, "database": copy.database}
    for marker, value in names.items():
        mutation = mutation.replace(f"{{{marker}}}", value)
    # Not the trigger's own work, or the change would be undone by it.
    old.run(f"SET session_replication_role = replica; SET search_path = public; {mutation}", replace(old.admin, database=copy.database))
    found = compare(source, fingerprint(client, replace(old.admin, database=copy.database)), owner=copy.user)
    assert [difference for difference in found if difference.startswith(sentence.replace("{admin}", old.admin.user))], found


@pytest.mark.parametrize(
    "mutation",
    [
        "double = double + 1e-13 WHERE whole = -1",
        "single = 0.14285716 WHERE whole = -1",
        "doubles[1] = doubles[1] + 1e-15 WHERE whole = -1",
        "double = 0 WHERE double = 0",
        "length = length + 1e-15 WHERE whole = -1",
        "both_of = ROW(1, 0.25)::pair WHERE whole = -1",
        "exact = exact + 0 * 1.00000000000000000000000000000 WHERE whole = -1",
        "large = large + 1 WHERE whole = -1",
        "cash = cash + '0.01'::money WHERE whole = -1",
        "letters = 'b' WHERE whole = -1",
        "words = words || ' ' WHERE whole = -1",
        "words = NULL WHERE words = ''",
        "raw = set_byte(raw, 15, (get_byte(raw, 15) + 1) % 256) WHERE whole = -1",
        "piece = set_byte(piece, 0, (get_byte(piece, 0) + 1) % 256) WHERE whole = -1",
        "raws = raws || NULL::bytea WHERE whole = -1",
        "day = day + 1 WHERE whole = -1",
        "hour = '24:00' WHERE whole = -1",
        "zoned = '12:00:00+05:46' WHERE whole = -1",
        "instant = instant + interval '1 microsecond' WHERE whole = -1",
        "span = span + interval '24 hours' - interval '1 day' WHERE whole = -2",
        "yes = NOT yes WHERE whole = -1",
        "feeling = 'ok' WHERE whole = -1",
        """at_all = at_all || '{"n": 1.0}' WHERE whole = -1""",
        """as_written = '{"b": 1, "a": [ 1.10, null ], "b": 2}' WHERE whole = -1""",
        "address = set_masklen(address, 31) WHERE whole = -1",
        "spot = point(0.25, -1) WHERE whole = -1",
        "tags = array_replace(tags, NULL, 'NULL') WHERE whole = -1",
        "matrix = ARRAY[1, 1, 3, 4] WHERE whole = -1",
        "during = period(lower(during), upper(during), '[]') WHERE whole = -1",
        "relation = 'session' WHERE whole = -1",
    ],
)
def test_one_changed_value_of_any_kind_is_noticed(old: Postgres, client: Client, target: Server, mutation: str) -> None:
    """The last bit of a number, a blank at the end, a time zone: nothing is too small."""
    with client.session(replace(old.admin, database=target.database)) as session:
        fix_settings(session)
        table = next(table for table in tables(session) if table.name == "public.values_of_all_kinds")
        before = content(session, table)
        session.execute(f"BEGIN; SET LOCAL search_path = pg_catalog, public; UPDATE values_of_all_kinds SET {mutation}; SET LOCAL search_path = pg_catalog")
        after = content(session, table)
        session.execute("ROLLBACK")
        assert content(session, table) == before
    assert before.rows == after.rows == 306
    assert before.checksum != after.checksum


def test_a_writer_does_not_make_it_lie(old: Postgres, client: Client, database: Maker) -> None:
    """All parts of a fingerprint see one moment: rows that come while it is computed are in no table of it."""
    server = database(old)
    names = [f"t{number}" for number in range(6)]
    old.run("; ".join(f"CREATE TABLE {name} (a integer); INSERT INTO {name} SELECT generate_series(1, 1000)" for name in names), server)
    with snapshot(client, server) as moment:
        before = fingerprint(client, server, moment=moment)
        old.run("; ".join(f"INSERT INTO {name} VALUES (0)" for name in names), server)
        assert compare(before, fingerprint(client, server, jobs=4, moment=moment)) == []
    after = compare(before, fingerprint(client, server))
    assert len(after) == len(names)


def test_progress_is_told(client: Client, zoo: Server) -> None:
    said: list[tuple[str, int, int]] = []
    found = fingerprint(client, zoo, jobs=3, progress=lambda *words: said.append(words))
    assert said == [("tables compared", number, len(found.tables)) for number in range(1, len(found.tables) + 1)]


def test_what_may_not_be_read_is_no_proof(old: Postgres, client: Client, zoo: Server, database: Maker) -> None:
    stranger = database(old)
    with pytest.raises(Forbidden):
        fingerprint(client, replace(stranger, database=zoo.database))
    # Rows that a policy would hide are not passed over either.
    old.run(f'GRANT USAGE ON SCHEMA public, "Größe.""x""" TO "{stranger.user}"', replace(old.admin, database=zoo.database))
    with client.session(replace(stranger, database=zoo.database)) as session:
        fix_settings(session)
        with pytest.raises(Failure):
            session.query("SELECT count(*) AS count FROM public.session")
