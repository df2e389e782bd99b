"""Where a database is: checked when it is said, and never with its password."""

from __future__ import annotations

import pathlib
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server, version_major, version_name

PASSWORD = "p@ss:w/ör d#?%&=+\\'\""
GOOD = Server("db.example.test", "hephy", "platform", PASSWORD)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", ""),
        ("host", "one,two"),
        ("host", "name\n"),
        ("user", ""),
        ("user", "x" * 64),
        ("database", ""),
        ("database", "ü" * 32),
        ("database", "a\nb"),
        ("password", "ends in a line break\n"),
        ("password", "a\0b"),
        ("port", 0),
        ("port", 65536),
        ("sslmode", "on"),
        ("sslmode", "verify-full"),
        ("ca_file", "/nonexistent/ca.pem"),
        ("connect_timeout", 1),
    ],
)
def test_what_cannot_be_is_named_with_its_remedy(field: str, value: Any) -> None:
    with pytest.raises(Invalid) as caught:
        replace(GOOD, **{field: value})
    assert caught.value.subject == ("ca_file" if value == "verify-full" else field)
    assert caught.value.hint
    assert PASSWORD not in str(caught.value)


def test_the_password_is_in_no_text() -> None:
    assert PASSWORD not in f"{GOOD!r} {GOOD} {GOOD.address}"
    assert str(GOOD) == "database platform on db.example.test:5432"
    assert replace(GOOD, host="::1").address == "[::1]:5432"


@pytest.mark.parametrize(
    "server",
    [
        GOOD,
        replace(GOOD, host="2001:db8::1", port=6432),
        replace(GOOD, host="/var/run/PostgreSQL", password=""),
        replace(GOOD, user='o\'Neil "x"@host', database="a/b?c#d %41", sslmode="require"),
    ],
)
def test_a_url_says_all_of_it(server: Server) -> None:
    url = server.url()
    assert url.startswith("postgres://")
    assert Server.from_url(url) == server
    assert Server.from_url(server.url("postgresql")) == server
    # Nothing in it ends a part of the URL early, or needs quoting in a Secret or an environment.
    assert not set(url) & set(" '\"\\#\n")


def test_a_url_with_the_ca_of_a_pod(tmp_path: pathlib.Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("certificates")
    server = replace(GOOD, sslmode="verify-full", ca_file=str(ca))
    assert server.url(ca_file="/etc/ssl/our ca.pem").endswith("/platform?sslmode=verify-full&sslrootcert=%2Fetc%2Fssl%2Four%20ca.pem")
    assert Server.from_url(server.url(ca_file=str(ca))) == server
    with pytest.raises(Invalid, match="needs a CA"):
        Server.from_url(server.url())


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:secret-x@host/db",
        "postgres://user:secret-x@host:port/db",
        "postgres://host/db",
        "postgres:///db",
        "postgres://user:secret-x@[::1/db",
        "postgres://user:secret-x@host/",
        "postgres://user:secret-x@host/db?options=-c%20x%3Dsecret-x",
        "postgres://user:secret-x@host/db?connect_timeout=soon",
        "secret-x",
    ],
)
def test_a_url_that_cannot_be_read_is_not_shown(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        Server.from_url(url)
    assert "secret-x" not in f"{caught.value} {caught.value.subject}"


def test_no_other_scheme() -> None:
    with pytest.raises(Invalid, match="scheme"):
        GOOD.url("mysql")


def test_the_password_file_fits_any_address() -> None:
    assert replace(GOOD, password="a:b\\c").passfile_line() == "*:*:*:*:a\\:b\\\\c\n"
    assert replace(GOOD, password="").passfile_line() == ""


def test_the_environment_holds_no_password_and_nothing_from_home() -> None:
    environment = GOOD.environment("/run/passfile")
    assert PASSWORD not in str(environment)
    assert environment["PGPASSFILE"] == "/run/passfile"
    # Without a CA of ours, one that lies in the home folder must not turn `require` into `verify-ca`.
    assert all(environment[name].startswith("/nonexistent") for name in ("PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSERVICEFILE", "PGSYSCONFDIR"))


@pytest.mark.parametrize(("version", "name"), [(90426, "9.4"), (90624, "9.6"), (100001, "10"), (150018, "15"), (180006, "18")])
def test_versions_have_names(version: int, name: str) -> None:
    assert version_name(version) == name


def test_versions_are_in_order() -> None:
    versions = [90426, 90624, 100001, 150018]
    assert sorted(map(version_major, versions)) == [version_major(version) for version in versions]
