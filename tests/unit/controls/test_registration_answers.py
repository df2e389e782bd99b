"""What an answer of the registration door means: the measured answers line by line, and everything else is unknown."""

from __future__ import annotations

import json

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import HttpAnswer
from ansible_collections.paas.hardening.plugins.module_utils._controls.registration import read_answer
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS

Headers = list[tuple[str, str]]

REQUIRED = ["This field is required."]
FIELDS = json.dumps({"username": REQUIRED, "password": REQUIRED})
NO_CREDENTIALS = json.dumps({"detail": "Authentication credentials were not provided."})
DISABLED = json.dumps({"detail": "Registration is disabled"})
ERROR = json.dumps({"detail": "Server Error"})

# The pages of the passport, with what decides in them.
FORM = """<!doctype html><html><head><title>Registration</title></head><body><form method="post">
<input name="username"><input name="email"><input type="password" name="password1"><input type="password" name="password2"></form></body></html>"""
MESSAGE = "<!doctype html><html><head><title>Drycc | Message</title></head><body><p>Registration is disabled.</p></body></html>"
TOKEN: Headers = [("set-cookie", "csrftoken=Ab3; expires=Mon, 20 Nov 2028 10:00:00 GMT; Max-Age=31449600; Path=/")]


def meaning(platform: str, status: int, text: str, headers: Headers | None = None) -> str:
    return read_answer(PLATFORMS[platform].registration.door, HttpAnswer(status, headers or [], text))[0]


@pytest.mark.parametrize("platform", ["deis", "hephy"])
@pytest.mark.parametrize(
    ("mode", "superuser", "status", "text", "means"),
    [
        ("admin_only", False, 400, FIELDS, "open"),
        ("admin_only", True, 403, NO_CREDENTIALS, "closed"),
        ("disabled", False, 403, DISABLED, "closed"),
        ("disabled", True, 403, DISABLED, "closed"),
        ("enabled", False, 400, FIELDS, "open"),
        ("enabled", True, 400, FIELDS, "open"),
        ("anything else", False, 500, ERROR, "unknown"),
        ("anything else", True, 500, ERROR, "unknown"),
        ("database away", True, 500, ERROR, "unknown"),
    ],
)
def test_the_measured_answers_of_the_controller(platform: str, mode: str, superuser: bool, status: int, text: str, means: str) -> None:
    versions = [("deis_api_version", "2.3"), ("deis_platform_version", "2.3.0"), ("content-type", "application/json")]
    assert meaning(platform, status, text, versions) == means, (mode, superuser)


@pytest.mark.parametrize("platform", ["drycc-1.8", "drycc-head"])
@pytest.mark.parametrize(
    ("case", "status", "text", "headers", "means"),
    [
        ("open", 200, FORM, TOKEN, "open"),
        ("closed by the flag", 200, MESSAGE, [], "closed"),
        ("closed by LDAP", 200, MESSAGE, [], "closed"),
        ("open, with a session cookie set after it", 200, FORM, [*TOKEN, ("set-cookie", "sessionid=x; Path=/")], "open"),
        ("open, with a session cookie set before it", 200, FORM, [("set-cookie", "sessionid=x; Path=/"), *TOKEN], "open"),
        ("closed, with a session cookie", 200, MESSAGE, [("set-cookie", "sessionid=x; Path=/")], "closed"),
        ("header in other letters", 200, FORM, [("Set-Cookie", "csrftoken=Ab3")], "open"),
        ("database away", 500, "<h1>Server Error (500)</h1>", [], "unknown"),
    ],
)
def test_the_measured_answers_of_the_passport(platform: str, case: str, status: int, text: str, headers: Headers, means: str) -> None:
    assert meaning(platform, status, text, headers) == means, case


@pytest.mark.parametrize(
    ("status", "text"),
    [
        # Another program in between says no: that is not the controller's no.
        (403, "<html><h1>403 Forbidden</h1></html>"),
        (403, ""),
        (403, json.dumps({"detail": "You do not have permission to perform this action."})),
        (403, json.dumps({"error": "Registration is disabled"})),
        (403, json.dumps(["Registration is disabled"])),
        (403, json.dumps({"detail": ["Registration is disabled"]})),
        (403, "Registration is disabled"),
        (401, NO_CREDENTIALS),
        (404, DISABLED),
        (200, DISABLED),
        (200, FIELDS),
        (400, "<html><h1>400 Bad Request</h1></html>"),
        (400, '<form><input name="username"><input name="password"></form>'),
        (400, json.dumps({"detail": "JSON parse error"})),
        (400, json.dumps({"username": REQUIRED})),
        (400, json.dumps({"errors": {"username": REQUIRED, "password": REQUIRED}})),
        (400, json.dumps(["username", "password"])),
        (201, json.dumps({"id": 1, "username": "x", "password": "x"})),
        (301, ""),
        (405, json.dumps({"detail": "Method not allowed"})),
        (429, json.dumps({"detail": "Request was throttled."})),
        (500, NO_CREDENTIALS),
        (500, DISABLED),
        (500, FIELDS),
        (502, "<html>Bad Gateway</html>"),
        (503, ""),
        (504, ""),
    ],
)
def test_what_merely_looks_like_an_answer_of_the_controller_is_unknown(status: int, text: str) -> None:
    assert meaning("hephy", status, text) == "unknown"


@pytest.mark.parametrize(
    ("status", "text", "headers"),
    [
        # The status alone proves nothing: it is 200 in both cases.
        (200, "", []),
        (200, "<title>Login</title>", TOKEN),
        (200, "<title>Drycc</title>", []),
        (200, FORM, []),
        (200, FORM, [("set-cookie", "xcsrftoken=1")]),
        (200, FORM, [("set-cookie", "sessionid=csrftoken=1")]),
        (200, FORM, [("x-cookie", "csrftoken=1")]),
        (200, FORM.replace("password2", "password_again"), TOKEN),
        (200, MESSAGE, TOKEN),
        (200, MESSAGE + FORM, []),
        (200, json.dumps({"registration_enabled": False}), []),
        (302, MESSAGE, []),
        (403, MESSAGE, []),
        (403, "CSRF verification failed", []),
        (404, MESSAGE, []),
        (500, MESSAGE, []),
        (503, FORM, TOKEN),
    ],
)
def test_what_merely_looks_like_an_answer_of_the_passport_is_unknown(status: int, text: str, headers: Headers) -> None:
    assert meaning("drycc-head", status, text, headers) == "unknown"


@pytest.mark.parametrize("status", [*range(100, 600, 50), 418])
def test_an_empty_answer_is_never_closed(status: int) -> None:
    assert {meaning(platform, status, "") for platform in PLATFORMS} == {"unknown"}


def test_an_unknown_answer_says_its_status_and_not_its_body() -> None:
    door = PLATFORMS["hephy"].registration.door
    assert read_answer(door, HttpAnswer(500, [], "canary")) == ("unknown", "status 500, which says neither open nor closed")


def test_a_known_answer_is_said_in_words() -> None:
    door = PLATFORMS["hephy"].registration.door
    assert read_answer(door, HttpAnswer(403, [], DISABLED)) == ("closed", "403, registration is disabled")
    assert read_answer(door, HttpAnswer(400, [], FIELDS)) == ("open", "400, asks for the fields of a new account")


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_asking_creates_nothing(platform: str) -> None:
    door = PLATFORMS[platform].registration.door
    assert (door.method, door.body) in [("GET", None), ("POST", "{}")]
