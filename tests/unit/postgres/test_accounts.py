"""Roles and databases: every right too many and every one too few is a difference, and no statement ever holds a password."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.password import verifier
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import accounts
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.accounts import Account, Database, Place, Role

PASSWORD = "correct horse: battery 'staple'"
APP = Role("app", PASSWORD)
GOOD = Account((), True, -1, verifier("app", PASSWORD), ())
BASE = Database("app", "app", connect=("reader",))
CLEAN = Place("app", "UTF8", (("app", "CONNECT"), ("app", "CREATE"), ("reader", "CONNECT")))


def given(**options: Any) -> list[dict[str, Any]]:
    return [{"name": "app", "password": PASSWORD, "connection_limit": -1, "member_of": [], **options}]


def test_a_role_as_it_should_be_is_left_alone() -> None:
    assert accounts.role_differences(APP, GOOD) == []
    assert accounts.role_differences(APP._replace(password=""), GOOD._replace(stored="whatever")) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"rights": ("SUPERUSER",)}, "rights"),
        ({"rights": ("CREATEROLE", "CREATEDB")}, "rights"),
        ({"login": False}, "login"),
        ({"connection_limit": 3}, "connection limit"),
        ({"stored": verifier("app", "another one, just as long")}, "password"),
        ({"stored": "md5" + "0" * 32}, "password"),
        ({"stored": ""}, "password"),
        ({"stored": "SCRAM-SHA-256$4096:!!$x:y"}, "password"),
        ({"member_of": ("pg_execute_server_program",)}, "member of"),
    ],
    # Not by their values: a verifier is another one in each process.
    ids=["superuser", "more-rights", "no-login", "connections", "another-password", "md5", "no-password", "broken-verifier", "member"],
)
def test_every_other_state_is_a_difference(change: dict[str, Any], field: str) -> None:
    there = GOOD._replace(**change)
    assert [name for name, _before, _after in accounts.role_differences(APP, there)] == [field]
    assert accounts.role_statements(APP, there)[0].startswith('ALTER ROLE "app" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS')


def test_no_statement_holds_the_password_but_its_verifier() -> None:
    (statement,) = accounts.role_statements(APP, None)
    assert statement.startswith('CREATE ROLE "app" LOGIN')
    assert PASSWORD not in statement
    stored = statement.partition("PASSWORD '")[2].rstrip("'")
    assert accounts.matches("app", PASSWORD, stored)
    assert not accounts.matches("app", PASSWORD + " ", stored)
    assert "PASSWORD" not in accounts.role_statements(APP, GOOD._replace(login=False))[0]


def test_memberships_are_given_and_taken() -> None:
    role = APP._replace(member_of=("pg_monitor",))
    assert accounts.role_statements(role, GOOD._replace(member_of=("staff",)))[1:] == ['REVOKE "staff" FROM "app"', 'GRANT "pg_monitor" TO "app"']


def test_only_a_replicator_may_replicate() -> None:
    role = APP._replace(replication=True)
    assert accounts.role_differences(role, GOOD._replace(rights=("REPLICATION",))) == []
    assert " REPLICATION " in accounts.role_statements(role, GOOD)[0]
    assert "NOREPLICATION" not in accounts.role_statements(role, GOOD)[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "postgres"}, "name is 'postgres'"),
        ({"name": "pg_me"}, "name is 'pg_me'"),
        ({"name": 'a"; DROP ROLE b; --'}, "is 'a\"; DROP"),
        ({"password": "short"}, "can be guessed"),
        ({"password": "with a line break\n"}, "line break"),
        ({"member_of": ["pg_execute_server_program"]}, "pg_execute_server_program"),
    ],
    ids=str,
)
def test_what_must_not_be_is_refused_without_showing_the_password(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid) as refused:
        accounts.roles_of(given(**options))
    assert words in str(refused.value)
    assert str(options.get("password", PASSWORD)) not in str(refused.value)


def test_nobody_is_named_twice_and_an_owner_has_to_be_known() -> None:
    with pytest.raises(Invalid, match="named twice"):
        accounts.roles_of(given() + given())
    with pytest.raises(Invalid, match="not in roles"):
        accounts.databases_of([{"name": "app", "owner": "nobody", "encoding": "UTF8", "locale": "C", "connect": [], "extensions": []}], [APP])


def test_a_database_as_it_should_be_is_left_alone() -> None:
    assert accounts.database_differences(BASE, CLEAN) == []


@pytest.mark.parametrize(
    ("there", "field", "statement"),
    [
        (CLEAN._replace(owner="other"), "owner", 'ALTER DATABASE "app" OWNER TO "app"'),
        (CLEAN._replace(rights=(*CLEAN.rights, ("public", "CONNECT"))), "may enter", 'REVOKE CONNECT ON DATABASE "app" FROM PUBLIC'),
        (CLEAN._replace(rights=(*CLEAN.rights, ("reader", "CREATE"))), "may enter", 'REVOKE CREATE ON DATABASE "app" FROM "reader"'),
        (CLEAN._replace(rights=(("app", "CONNECT"),)), "may enter", 'GRANT CONNECT ON DATABASE "app" TO "reader"'),
    ],
)
def test_every_right_too_many_or_too_few_is_seen_and_mended(there: Place, field: str, statement: str) -> None:
    assert [name for name, _before, _after in accounts.database_differences(BASE, there)] == [field]
    assert accounts.right_statements(BASE, there) == [statement]


def test_a_new_database_is_its_owners_only() -> None:
    fields = accounts.database_differences(BASE._replace(connect=(), extensions=("pgcrypto",)), None)
    assert fields == [("database", ABSENT, "owned by app"), ("may enter", ABSENT, "its owner only"), ("extension pgcrypto", ABSENT, "made")]
    assert accounts.inner_statements(BASE, CLEAN._replace(open_schema=True)) == ["REVOKE CREATE ON SCHEMA public FROM PUBLIC"]


def test_strangers_with_power_or_with_a_password_that_is_guessed_are_named() -> None:
    known = {
        "app": GOOD,
        "postgres": GOOD._replace(rights=("SUPERUSER",)),
        "boss": GOOD._replace(rights=("SUPERUSER",)),
        "lazy": GOOD._replace(stored=verifier("lazy", "lazy")),
        "late": GOOD._replace(stored="md5" + "0" * 32),
        "fine": GOOD._replace(stored=verifier("fine", "a password that is long")),
    }
    told = " ".join(text for text, _hint in accounts.strangers(known, [APP]))
    assert [name for name in known if f"role {name} " in told] == ["boss", "lazy", "late"]


def test_what_is_shown_of_them_holds_no_password() -> None:
    assert PASSWORD not in f"{APP!r} {GOOD!r}"
    assert GOOD.stored not in f"{GOOD!r}"
