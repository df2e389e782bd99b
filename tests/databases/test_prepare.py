"""Role and database of the target are made with no more rights than needed, and what exists with other settings is not touched."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.prepare import Missing, Wish, missing, prepare
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from tests.databases.postgres import Postgres


def wish(**change: Any) -> Wish:
    number = secrets.token_hex(4)
    given: dict[str, Any] = {
        "database": f'it\'s a "db" {number}',
        "role": f'role\'s "ü" {number}',
        "password": f"canary-{secrets.token_urlsafe(24)}ü",
        **change,
    }
    return Wish(**given)


def entered(server: Postgres, wanted: Wish) -> Server:
    return replace(server.admin, database=wanted.database, user=wanted.role, password=wanted.password)


@pytest.mark.parametrize("method", ["scram-sha-256", "md5"])
def test_both_are_made_and_a_second_run_makes_nothing(new: Postgres, method: str) -> None:
    wanted = wish(method=method, encoding="UTF8", collation="C", extensions={"hstore": "public", "pg_stat_statements": "public"})
    if method == "md5":
        # Debian's old way: either kind of password is let in.
        rules = new.folder / "data" / "pg_hba.conf"
        rules.write_text(rules.read_text().replace("scram-sha-256", "md5"))
        new.run("SELECT pg_reload_conf()")
    assert missing(new.client, new.admin, wanted) == Missing(True, True, tuple(wanted.extensions))
    assert prepare(new.client, new.admin, wanted) == Missing(True, True, tuple(wanted.extensions))
    assert not prepare(new.client, new.admin, wanted)
    assert missing(new.client, new.admin, wanted) == Missing(False, False)

    found = new.client.query(
        entered(new, wanted),
        """SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls AS mighty, pg_get_userbyid(datdba) AS owner,
    pg_encoding_to_char(encoding) AS encoding, datcollate, datacl::text AS acl, has_schema_privilege('public', 'CREATE') AS may_create,
    (SELECT count(*) FROM pg_extension) AS extensions
FROM pg_database, pg_roles WHERE datname = current_database() AND rolname = current_user""",
    )[0]
    assert (found["mighty"], found["owner"], found["encoding"], found["datcollate"], found["may_create"]) == (False, wanted.role, "UTF8", "C", True)
    assert found["extensions"] == 3
    assert "=Tc/" not in found["acl"].replace(wanted.role, "").replace('\\"', "").split(",")[0]
    kept = new.client.query(new.admin, "SELECT rolpassword FROM pg_authid WHERE rolname = :'role'", {"role": wanted.role})[0]["rolpassword"]
    assert kept.startswith("md5" if method == "md5" else "SCRAM-SHA-256$")


def test_the_password_is_not_in_the_log(new: Postgres) -> None:
    wanted = wish()
    prepare(new.client, new.admin, wanted)
    assert "CREATE ROLE" in new.log
    assert wanted.password not in new.log
    assert wanted.password not in f"{wanted}"


def test_others_may_not_enter(new: Postgres) -> None:
    one, other = wish(), wish()
    for wanted in (one, other):
        prepare(new.client, new.admin, wanted)
    with pytest.raises(Forbidden):
        new.client.query(replace(entered(new, other), database=one.database), "SELECT 1 AS one")


def test_an_administrator_who_is_no_superuser(old: Postgres, new: Postgres) -> None:
    """As managed services have them. Since version 16 such a role becomes no member of what it makes by itself."""
    for server in (old, new):
        admin = replace(server.admin, user=f"admin {secrets.token_hex(4)}", password=secrets.token_hex(16))
        server.run(f"CREATE ROLE \"{admin.user}\" LOGIN CREATEDB CREATEROLE PASSWORD '{admin.password}'")
        wanted = wish()
        assert prepare(server.client, admin, wanted)
        assert not prepare(server.client, admin, wanted)
        member = "SELECT pg_has_role(:'admin', :'role', 'USAGE') AS member"
        assert not server.client.query(server.admin, member, {"admin": admin.user, "role": wanted.role})[0]["member"]
        weak = entered(server, wanted)
        with pytest.raises(Forbidden):
            prepare(server.client, replace(weak, database="postgres"), wish())


def test_what_exists_with_other_settings_is_refused_and_left_alone(new: Postgres) -> None:
    wanted = wish(encoding="UTF8")
    prepare(new.client, new.admin, wanted)
    role = wanted.role.replace('"', '""')
    other = wish(database=wanted.database)
    with pytest.raises(Refused, match="belongs to"):
        prepare(new.client, new.admin, other)
    # The role that it would have made is not there either.
    assert missing(new.client, new.admin, replace(other, database="another")).role
    with pytest.raises(Refused, match="does not get in with the given password") as caught:
        prepare(new.client, new.admin, replace(wanted, password="another"))
    assert wanted.password not in str(caught.value)
    with pytest.raises(Refused, match="encoding UTF8, not LATIN1"):
        prepare(new.client, new.admin, replace(wanted, encoding="LATIN1"))
    for setting, words in (("SUPERUSER", "is SUPERUSER"), ("CREATEDB", "is CREATEDB"), ("REPLICATION", "is REPLICATION")):
        new.run(f'ALTER ROLE "{role}" {setting}')
        with pytest.raises(Refused, match=words):
            prepare(new.client, new.admin, wanted)
        new.run(f'ALTER ROLE "{role}" NO{setting}')
    new.run(f'ALTER ROLE "{role}" NOLOGIN')
    with pytest.raises(Refused, match="may not log in"):
        prepare(new.client, new.admin, wanted)
    new.run(f'ALTER ROLE "{role}" LOGIN')
    assert not prepare(new.client, new.admin, wanted)


def test_a_role_that_exists_gets_a_database(new: Postgres) -> None:
    wanted = wish()
    prepare(new.client, new.admin, wanted)
    second = replace(wanted, database=f"second {secrets.token_hex(4)}")
    assert prepare(new.client, new.admin, second) == Missing(False, True)
    with pytest.raises(Refused, match="password"):
        prepare(new.client, new.admin, replace(second, database="third", password="another"))
    assert missing(new.client, new.admin, replace(second, database="third")).database


def test_a_database_that_everybody_may_enter_is_remarked(new: Postgres) -> None:
    wanted = wish()
    prepare(new.client, new.admin, wanted)
    new.run('GRANT CONNECT ON DATABASE "{}" TO PUBLIC'.format(wanted.database.replace('"', '""')))
    found = missing(new.client, new.admin, wanted)
    assert not found
    assert "revoke CONNECT" in found.remarks[0]


def test_what_the_server_does_not_have(new: Postgres) -> None:
    with pytest.raises(Refused, match="no_such_extension"):
        prepare(new.client, new.admin, wish(extensions={"no_such_extension": "public"}))
    with pytest.raises(Invalid):
        prepare(new.client, new.admin, wish(password=""))
