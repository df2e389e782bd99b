"""The stand-in against a real PostgreSQL: what the real controller of Hephy 2.22 and the real passport of Drycc answered when they were asked, line by line."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.platforms.conftest import Database
from tests.platforms.sandbox import Sandbox, free_port

NO_CREDENTIALS = {"detail": "Authentication credentials were not provided."}
FORBIDDEN = {"detail": "You do not have permission to perform this action."}
DISABLED = {"detail": "Registration is disabled"}
FIELDS_MISSING = {"username": ["This field is required."], "password": ["This field is required."]}
SERVER_ERROR = {"detail": "Server Error"}


@dataclass
class Answer:
    """One HTTP answer; header names as they were sent."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def data(self) -> Any:
        return json.loads(self.text)


@dataclass
class Service:
    """A stand-in that runs."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, data: Any = None, **headers: str) -> Answer:
        """Sends JSON, or a form where `data` is text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        kind = "application/x-www-form-urlencoded" if isinstance(data, str) else "application/json"
        body = data if data is None or isinstance(data, str) else json.dumps(data)
        try:
            connection.request(method, path, body, {"Content-Type": kind, **self.headers, **headers})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            connection.close()

    def register(self, data: Any, path: str = "/v2/auth/register/", **headers: str) -> Answer:
        return self.ask("POST", path, data, **headers)


@pytest.fixture
def database(cold_database: Database) -> Iterator[Database]:
    """A running database without any table."""
    with cold_database.running():
        cold_database.ask("DROP TABLE IF EXISTS authtoken_token, auth_user, api_user")
        yield cold_database


@contextlib.contextmanager
def started(sandbox: Sandbox, role: str, env: dict[str, str]) -> Iterator[Service]:
    port = free_port()
    with sandbox.running("python3", "-u", "/lab/standin", role, f"127.0.0.1:{port}", port=port, env=env):
        yield Service(port)


@contextlib.contextmanager
def controller(database: Database, mode: str | None) -> Iterator[Service]:
    with started(database.sandbox, "controller", {**database.deis, **({} if mode is None else {"REGISTRATION_MODE": mode})}) as service:
        yield service


def person(name: str) -> dict[str, str]:
    return {"username": name, "password": secrets.token_hex(8), "email": f"{name}@example.test"}


def add_superuser(database: Database, active: bool = True) -> None:
    database.ask(
        "INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)"
        f" VALUES ('!', true, 'root', '', '', '', true, {active}, now())"
    )


# mode, status and body without a superuser, status and body with one
MODES = [
    ("admin_only", 400, FIELDS_MISSING, 403, NO_CREDENTIALS),
    ("disabled", 403, DISABLED, 403, DISABLED),
    ("enabled", 400, FIELDS_MISSING, 400, FIELDS_MISSING),
    (None, 400, FIELDS_MISSING, 400, FIELDS_MISSING),
    ("closed", 500, SERVER_ERROR, 500, SERVER_ERROR),
    ("", 500, SERVER_ERROR, 500, SERVER_ERROR),
]


@pytest.mark.parametrize(("mode", "first_status", "first_body", "later_status", "later_body"), MODES, ids=[str(row[0]) for row in MODES])
def test_an_empty_registration_tells_the_mode(
    database: Database, mode: str | None, first_status: int, first_body: Any, later_status: int, later_body: Any
) -> None:
    with controller(database, mode) as service:
        for path in ("/v2/auth/register/", "/v2/auth/register"):
            answer = service.register({}, path)
            assert (answer.status, answer.data) == (first_status, first_body)
        add_superuser(database, active=False)
        for path in ("/v2/auth/register/", "/v2/auth/register"):
            answer = service.register({}, path)
            assert (answer.status, answer.data) == (later_status, later_body)
        assert database.ask("SELECT username, is_superuser FROM auth_user ORDER BY id") == [["AnonymousUser", "f"], ["root", "t"]]


def test_bodies_have_no_blanks_and_every_answer_has_the_versions(database: Database) -> None:
    with controller(database, "admin_only") as service:
        assert service.register({}).text == '{"username":["This field is required."],"password":["This field is required."]}'
        for method, path in (("POST", "/v2/auth/register"), ("GET", "/v2/"), ("GET", "/healthz"), ("GET", "/readiness"), ("GET", "/nothing")):
            headers = service.ask(method, path, {} if method == "POST" else None).headers
            assert headers["DEIS_API_VERSION"] == "2.3"
            assert headers["DEIS_PLATFORM_VERSION"] == "2.3.0"


def test_the_root_of_the_api_wants_a_token(database: Database) -> None:
    with controller(database, "enabled") as service:
        answer = service.ask("GET", "/v2/")
        assert (answer.status, answer.data, answer.headers["WWW-Authenticate"]) == (401, NO_CREDENTIALS, "Token")


def test_whoever_comes_first_owns_the_platform(database: Database) -> None:
    owner, other = person("owner"), person("other")
    with controller(database, "admin_only") as service:
        answer = service.register(owner)
        assert (answer.status, answer.data["is_superuser"], answer.data["is_staff"], answer.data["is_active"]) == (201, True, True, True)
        assert "password" not in answer.data
        assert service.register(other).data == NO_CREDENTIALS
        token = service.ask("POST", "/v2/auth/login/", owner).data["token"]
        answer = service.register(other, Authorization=f"Token {token}")
        assert (answer.status, answer.data["is_superuser"]) == (201, False)
        # neither a plain user nor a wrong token opens the door
        for wrong in (service.ask("POST", "/v2/auth/login", other).data["token"], "0" * 40):
            refused = service.register(person("third"), Authorization=f"Token {wrong}")
            assert (refused.status, refused.data) == (403, FORBIDDEN)
        assert owner["password"] not in str(database.ask("SELECT * FROM auth_user"))


def test_an_open_door_lets_anyone_in_and_checks_names(database: Database) -> None:
    with controller(database, "enabled") as service:
        assert service.register(person("owner")).data["is_superuser"] is True
        assert service.register(person("anyone")).data["is_superuser"] is False
        assert service.register(person("anyone")).data == {"username": ["A user with that username already exists."]}
        assert service.register({"username": "", "password": " "}).data == {
            "username": ["This field may not be blank."],
            "password": ["This field may not be blank."],
        }
        assert service.register({"username": "a b", "password": "x", "email": "no"}).status == 400
        assert service.register("username=form&password=x&email=a@b.test").status == 201
        assert service.ask("GET", "/v2/auth/register/").status == 405


def test_disabled_holds_for_administrators_too(database: Database) -> None:
    owner = person("owner")
    with controller(database, "enabled") as service:
        service.register(owner)
    with controller(database, "disabled") as service:
        token = service.ask("POST", "/v2/auth/login/", owner).data["token"]
        answer = service.register(person("other"), Authorization=f"Token {token}")
        assert (answer.status, answer.data) == (403, DISABLED)


def test_an_inactive_administrator_closes_the_door_and_cannot_log_in(database: Database) -> None:
    owner = person("owner")
    with controller(database, "admin_only") as service:
        service.register(owner)
        database.ask("UPDATE auth_user SET is_active = false WHERE username = 'owner'")
        assert service.register({}).status == 403
        answer = service.ask("POST", "/v2/auth/login/", owner)
        assert (answer.status, answer.data) == (400, {"non_field_errors": ["Unable to log in with provided credentials."]})


def test_without_its_database_the_controller_is_alive_and_knows_nothing(cold_database: Database) -> None:
    with contextlib.ExitStack() as stack:
        with cold_database.running():
            service = stack.enter_context(controller(cold_database, "admin_only"))
        health, readiness, registration, root = (
            service.ask("GET", "/healthz"),
            service.ask("GET", "/readiness"),
            service.register({}),
            service.ask("GET", "/v2/"),
        )
        assert (health.status, health.text) == (200, "OK")
        assert readiness.status == 500
        assert readiness.headers["Content-Type"].startswith("text/html")
        assert (registration.status, registration.data) == (500, SERVER_ERROR)
        assert (root.status, root.data) == (401, NO_CREDENTIALS)
        with cold_database.running():
            assert service.ask("GET", "/readiness").text == "OK"


def test_an_empty_database_is_laid_out_again_by_the_next_start_only(database: Database) -> None:
    with controller(database, "admin_only") as service:
        service.register(person("owner"))
        database.ask("DROP TABLE authtoken_token, auth_user")
        assert (service.ask("GET", "/readiness").status, service.register({}).status) == (200, 500)
    with controller(database, "admin_only") as service:
        assert service.register({}).data == FIELDS_MISSING


def test_drycc_controller_has_no_registration(database: Database) -> None:
    with started(database.sandbox, "drycc-controller", {**database.drycc, "REGISTRATION_MODE": "enabled"}) as service:
        assert service.register({}).status == 404
        assert (service.ask("GET", "/v2/").data, service.ask("GET", "/readiness").status) == (NO_CREDENTIALS, 200)
        assert service.ask("GET", "/healthz").headers["DRYCC_PLATFORM_VERSION"] == "2.3.0"


def passport(database: Database, **env: str) -> contextlib.AbstractContextManager[Service]:
    return started(database.sandbox, "passport", {**database.drycc, **env})


# environment, what /settings says, whether the page is open
FLAGS: list[tuple[dict[str, str], bool, bool]] = [
    ({}, False, False),
    ({"REGISTRATION_ENABLED": "true"}, True, True),
    ({"REGISTRATION_ENABLED": "True"}, True, True),
    ({"REGISTRATION_ENABLED": "1"}, False, False),
    ({"REGISTRATION_ENABLED": "false"}, False, False),
    ({"REGISTRATION_ENABLED": "true", "LDAP_ENDPOINT": "ldap://ldap.example.test"}, True, False),
    ({"REGISTRATION_ENABLED": "true", "LDAP_ENDPOINT": ""}, True, True),
    # a social provider is a door of its own: neither answer shows it
    ({"SOCIAL_AUTH_GITHUB_KEY": "key"}, False, False),
    ({"REGISTRATION_MODE": "enabled"}, False, False),
]


@pytest.mark.parametrize(("env", "told", "is_open"), FLAGS, ids=[" ".join(row[0]) or "nothing" for row in FLAGS])
def test_passport_page_and_settings(database: Database, env: dict[str, str], told: bool, is_open: bool) -> None:
    with passport(database, **env) as service:
        settings = service.ask("GET", "/settings")
        assert (settings.status, settings.headers["DRYCC_API_VERSION"], settings.headers["DRYCC_PLATFORM_VERSION"]) == (200, "1.1", "1.1.0")
        assert list(settings.data) == ["legal", "dashboard_url", "contact_support_url", "registration_enabled"]
        assert (settings.data["legal"], settings.data["dashboard_url"], settings.data["registration_enabled"]) == (False, "/", told)

        page = service.ask("GET", "/user/registration")
        assert page.status == 200
        title = "Registration" if is_open else "Drycc | Message"
        assert f"<title>{title}</title>" in page.text
        assert ("<form" in page.text, "csrftoken=" in page.headers.get("Set-Cookie", "")) == (is_open, is_open)
        names = re.findall(r'name="(\w+)"', page.text)
        assert names == (["csrfmiddlewaretoken", "username", "email", "password1", "password2"] if is_open else [])

        # without the token 403 in both cases; with it, a user only where the page is open
        form = "username=mallory&email=m@example.test&password1=correct-horse&password2=correct-horse"
        assert service.ask("POST", "/user/registration", form).status == 403
        token = secrets.token_hex(16)
        answer = service.ask("POST", "/user/registration", f"{form}&csrfmiddlewaretoken={token}", Cookie=f"csrftoken={token}")
        assert answer.status == (302 if is_open else 200)
        assert database.ask("SELECT username, is_superuser, is_active FROM api_user") == ([["mallory", "f", "f"]] if is_open else [])


def test_passport_form_is_checked(database: Database) -> None:
    with passport(database, REGISTRATION_ENABLED="true") as service:
        cookie = service.ask("GET", "/user/registration").headers["Set-Cookie"].split(";")[0]
        token = cookie.partition("=")[2]
        for fields in ("username=a", "username=a&email=a@b.test&password1=x&password2=y"):
            answer = service.ask("POST", "/user/registration", f"{fields}&csrfmiddlewaretoken={token}", Cookie=cookie)
            assert (answer.status, "<title>Registration</title>" in answer.text) == (200, True)
        assert service.ask("POST", "/user/registration", f"csrfmiddlewaretoken={'0' * 32}", Cookie=cookie).status == 403
        assert database.ask("SELECT count(*) FROM api_user") == [["0"]]


def test_passport_without_its_database(cold_database: Database) -> None:
    with contextlib.ExitStack() as stack:
        with cold_database.running():
            service = stack.enter_context(passport(cold_database))
        assert [service.ask("GET", path).status for path in ("/healthz", "/readiness", "/settings", "/user/registration")] == [200, 500, 200, 200]


def test_the_admin_command_keeps_a_name_that_is_there(database: Database) -> None:
    env = {**database.drycc, "ADMIN_USERNAME": "admin", "ADMIN_EMAIL": "admin@example.test"}
    manage = ["python", "-u", "/workspace/manage.py"]
    database.sandbox.run(*manage, "migrate", "--noinput", env=env)
    database.sandbox.run(*manage, "createadminuser", env={**env, "ADMIN_PASSWORD": "first"})
    before = database.ask("SELECT username, password, is_superuser, is_active FROM api_user")
    assert before[0][2:] == ["t", "t"]
    again = database.sandbox.run(*manage, "createadminuser", env={**env, "ADMIN_PASSWORD": "second"})
    assert "already created" in again
    assert database.ask("SELECT username, password, is_superuser, is_active FROM api_user") == before
