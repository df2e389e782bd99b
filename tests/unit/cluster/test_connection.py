"""Requests over real sockets: counted, repeated only when that is safe, and every fault of the network told apart."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import FIELD_MANAGER, VERSION, Connection, connect
from ansible_collections.paas.hardening.plugins.module_utils._core import errors
from tests.quality.checkout import ROOT
from tests.unit.cluster.conftest import Certificates
from tests.unit.cluster.scripted_server import Reply, Request, ScriptedServer, status

Kubeconfig = Callable[..., dict[str, Any]]
POD = "/api/v1/namespaces/x/pods/p"
CANARY = "c4n4ry-hunter2"
BUSY = Reply(503, b"busy")


def failing(connection: Connection, method: str = "GET", body: Any = None, timeout: tuple[float, float] = (1, 1)) -> errors.Failure:
    with pytest.raises(errors.Failure) as caught:
        connection.request(method, POD, body=body, timeout=timeout)
    return caught.value


def test_who_we_are() -> None:
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"] == VERSION
    with ScriptedServer([Reply()]) as server:
        for method in ("GET", "POST"):
            server.connect(impersonate_user="eve", impersonate_groups=["a", "b"]).request(method, "/version", body=None if method == "GET" else {})
        seen = [request.headers for request in server.requests]
    for headers in seen:
        assert headers["user-agent"] == [f"paas.hardening/{VERSION}"]
        assert headers["authorization"] == ["Bearer a-token"]
        assert (headers["impersonate-user"], headers["impersonate-group"]) == (["eve"], ["a", "b"])


def test_writes_name_the_field_manager_and_everything_is_counted() -> None:
    with ScriptedServer([Reply()]) as server:
        connection = server.connect()
        for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
            connection.request(method, POD, body=None if method == "GET" else {})
        connection.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body={})
        for path in ("/version", "/apis", "/apis/apps/v1", "/api/v1"):
            connection.request("GET", path)
        managers = [request.query.get("fieldManager") for request in server.requests]
    assert (connection.reads, connection.writes, connection.discoveries) == (2, 4, 4)
    assert managers == [None, FIELD_MANAGER, FIELD_MANAGER, FIELD_MANAGER, None, None, None, None, None, None]


def test_the_answer_is_parsed_and_gzip_asked_for() -> None:
    packed = Reply(200, gzip.compress(b'{"a": 1}'), {"Content-Encoding": "gzip"})
    with ScriptedServer([packed, Reply(200, b"plain", {"Content-Type": "text/plain"})]) as server:
        connection = server.connect()
        answer = connection.request("GET", POD)
        assert (answer.status, answer.data, answer.headers["content-type"]) == (200, {"a": 1}, "application/json")
        assert connection.request("GET", "/readyz").data == "plain"
        assert server.requests[0].headers["accept-encoding"] == ["gzip"]


@pytest.mark.parametrize("fault", [BUSY, Reply(500, b""), Reply(429, b""), Reply(504, b""), Reply(200, {"a": "b" * 500}, cut=20), Reply(200, b'{"a": ')])
def test_reads_are_repeated(fault: Reply) -> None:
    with ScriptedServer([fault, fault, Reply(200, {"a": 1})]) as server:
        connection = server.connect()
        assert connection.request("GET", POD).data == {"a": 1}
        assert connection.reads == 3


@pytest.mark.parametrize("body", [{"metadata": {"resourceVersion": "7"}}, {"preconditions": {"resourceVersion": "7"}}])
def test_writes_with_a_version_are_repeated(body: dict[str, Any]) -> None:
    with ScriptedServer([BUSY, Reply()]) as server:
        connection = server.connect()
        connection.request("PATCH" if "metadata" in body else "DELETE", POD, body=body)
        assert connection.writes == 2


@pytest.mark.parametrize(("method", "body"), [("PATCH", {"spec": {}}), ("POST", {"metadata": {"name": "p"}}), ("DELETE", {"preconditions": {"uid": "u"}})])
@pytest.mark.parametrize("fault", [BUSY, Reply(200, {"a": "b" * 500}, cut=20)])
def test_other_writes_are_not(method: str, body: dict[str, Any], fault: Reply) -> None:
    with ScriptedServer([fault, Reply()]) as server:
        error = failing(server.connect(), method, body)
        assert len(server.requests) == 1
    assert isinstance(error, errors.Unavailable)
    assert "not known whether the write arrived" in error.hint


def test_a_write_that_the_server_turned_away_is_repeated() -> None:
    with ScriptedServer([Reply(429, b"", {"Retry-After": "1"}), Reply()]) as server:
        start = time.monotonic()
        assert server.connect().request("POST", POD, body={}).status == 200
        assert time.monotonic() - start >= 1


def test_a_server_that_asks_for_too_much_patience() -> None:
    with ScriptedServer([Reply(429, b"", {"Retry-After": "60"})]) as server:
        start = time.monotonic()
        error = failing(server.connect())
        assert time.monotonic() - start < 3, "it waited, although the server asks for more time than there is"
    assert isinstance(error, errors.Unavailable)
    assert error.retry_after == 60


def test_repeating_ends() -> None:
    with ScriptedServer([BUSY]) as server:
        start = time.monotonic()
        error = failing(server.connect(retry_timeout=1))
        assert time.monotonic() - start < 10
        assert len(server.requests) > 2
    assert (error.status, type(error)) == (503, errors.Unavailable)


@pytest.mark.parametrize(("code", "reason"), [(403, "Forbidden"), (404, "NotFound"), (409, "Conflict"), (410, "Expired"), (422, "Invalid")])
def test_an_answer_is_an_answer(code: int, reason: str) -> None:
    with ScriptedServer([status(code, reason, "")]) as server:
        failing(server.connect())
        assert len(server.requests) == 1


def test_a_conflict_after_a_repeat_says_that_it_may_be_our_own() -> None:
    with ScriptedServer([BUSY, status(409, "Conflict", "")]) as server:
        error = failing(server.connect(), "PATCH", {"metadata": {"resourceVersion": "7"}})
    assert isinstance(error, errors.Conflict)
    assert "earlier attempt of ours" in error.hint


def test_a_slow_server() -> None:
    with ScriptedServer([Reply(delay=1.5)]) as server:
        error = failing(server.connect(retry_timeout=0), timeout=(1, 0.3))
    assert isinstance(error, errors.Unavailable)
    assert "did not answer" in error.message
    assert "0.3 s" in error.message


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    connection = connect({"host": f"https://127.0.0.1:{port}", "api_key": "k", "retry_timeout": 1})
    error = failing(connection)
    assert "nothing listens there" in error.message
    assert connection.reads > 2


def test_a_port_that_takes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as deaf:
        full = [socket.create_connection(deaf.getsockname()) for _attempt in range(2)]
        error = failing(connect({"host": f"http://127.0.0.1:{deaf.getsockname()[1]}", "api_key": "k", "retry_timeout": 0}), timeout=(0.3, 0.3))
        for client in full:
            client.close()
    assert "did not take the connection within 0.3 s" in error.message


def test_a_name_that_nobody_knows() -> None:
    connection = connect({"host": "https://no-such-host.invalid", "api_key": "k", "retry_timeout": 0})
    assert "is not known" in failing(connection).message


@pytest.mark.parametrize(
    ("server_certificate", "ca", "text"),
    [
        ("server", "other-ca", "signed by a CA that is not trusted"),
        ("past", "ca", "has expired"),
        ("elsewhere", "ca", "is for another name"),
    ],
)
def test_a_server_that_is_not_trusted(certificates: Certificates, server_certificate: str, ca: str, text: str) -> None:
    with ScriptedServer([Reply()], certificates.server_context(server_certificate)) as server:
        connection = server.connect(ca_cert=certificates.crt(ca), retry_timeout=5)
        error = failing(connection)
        assert connection.reads == 1, "what cannot get better must not be repeated"
        assert not server.requests
    assert isinstance(error, errors.Unavailable)
    assert text in error.message


def test_a_server_that_is_trusted(certificates: Certificates, kubeconfig: Kubeconfig) -> None:
    with ScriptedServer([Reply()], certificates.server_context()) as server:
        assert server.connect(ca_cert=certificates.crt("ca")).request("GET", "/version").status == 200
        assert server.connect(validate_certs=False).request("GET", "/version").status == 200
        assert connect({"kubeconfig": kubeconfig(server.url, {"token": "t"})}).request("GET", "/version").status == 200
    with ScriptedServer([Reply()], certificates.server_context("elsewhere")) as server:
        named = kubeconfig(server.url, {"token": "t"}, **{"tls-server-name": "elsewhere.example"})
        assert connect({"kubeconfig": named}).request("GET", "/version").status == 200


def test_tls_and_plain_are_not_mixed_up(certificates: Certificates) -> None:
    with ScriptedServer([Reply()]) as server:
        error = failing(connect({"host": server.url.replace("http", "https"), "api_key": "k", "retry_timeout": 0}))
    assert "does not speak TLS" in error.message


def test_a_client_certificate_is_used(certificates: Certificates, kubeconfig: Kubeconfig) -> None:
    user = {"client-certificate-data": certificates.data(certificates.crt("client")), "client-key-data": certificates.data(certificates.key("client"))}
    with ScriptedServer([Reply()], certificates.server_context(clients=True)) as server:
        assert connect({"kubeconfig": kubeconfig(server.url, user)}).request("GET", "/version").status == 200
        error = failing(connect({"kubeconfig": kubeconfig(server.url, {"token": "t"}), "retry_timeout": 0}))
    assert isinstance(error, (errors.Unauthorized, errors.Unavailable))


def test_an_expired_client_certificate_is_told(certificates: Certificates) -> None:
    with ScriptedServer([status(401, "Unauthorized", "Unauthorized")], certificates.server_context()) as server:
        pair = {"client_cert": certificates.crt("expired"), "client_key": certificates.key("expired"), "ca_cert": certificates.crt("ca"), "api_key": None}
        error = failing(server.connect(**pair))
        other = failing(server.connect(**{**pair, "client_cert": certificates.crt("client"), "client_key": certificates.key("client")}))
        token = failing(server.connect(ca_cert=certificates.crt("ca")))
    assert isinstance(error, errors.Unauthorized)
    assert error.hint.startswith("The client certificate expired on ")
    assert "Is it the right cluster?" in other.hint
    assert "token has expired" in token.hint


def test_a_server_that_refuses_an_expired_certificate_by_tls(certificates: Certificates) -> None:
    with ScriptedServer([Reply()], certificates.server_context(clients=True)) as server:
        pair = {"client_cert": certificates.crt("expired"), "client_key": certificates.key("expired"), "ca_cert": certificates.crt("ca"), "api_key": None}
        error = failing(server.connect(**pair, retry_timeout=0))
    assert isinstance(error, errors.Unauthorized)
    assert "client certificate" in error.message
    assert error.hint.startswith("The client certificate expired on ")


def hostile(_request: Request) -> Reply:
    live = {"data": {"password": CANARY}}
    return status(422, "Invalid", f'Secret "s" is invalid: patch: Invalid value: {json.dumps(live)}', causes=[{"field": "patch", "message": CANARY}])


def test_a_hostile_echo_does_not_come_through(capfd: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(hostile) as server:
        error = failing(server.connect(), "PATCH", {"data": {"other": 7}})
    chain: list[BaseException | None] = [error, error.__cause__, error.__context__]
    shown = f"{[repr(one) for one in chain]} {error} {error.as_data()} {capfd.readouterr()}"
    assert isinstance(error, errors.Invalid)
    assert "c4n4ry" not in shown


def test_what_is_no_json_is_refused_before_it_is_sent() -> None:
    with ScriptedServer([Reply()]) as server:
        error = failing(server.connect(), "PATCH", {"a": object()})
        assert not server.requests
    assert isinstance(error, errors.Invalid)


class Tunnel:
    """A proxy that lets through what knows the password, and remembers what it was asked."""

    def __init__(self, target: str) -> None:
        self.asked: list[str] = []
        self.target = ("127.0.0.1", int(target.rpartition(":")[2]))

    def __call__(self, request: Request) -> Reply:
        self.asked.append(request.path)
        login = request.headers.get("proxy-authorization", [""])[0]
        allowed = login == "Basic " + base64.b64encode(b"me:pass word").decode()
        return Reply(200, {"proxied": True}) if allowed else Reply(407, b"")


def test_a_proxy_gets_its_own_credentials_and_the_server_never_sees_them() -> None:
    with ScriptedServer([Reply(200, {"direct": True})]) as server, ScriptedServer(Tunnel(server.url)) as proxy:
        address = proxy.url.replace("http://", "http://me:pass%20word@")
        assert server.connect(proxy=address).request("GET", POD).data == {"proxied": True}
        options = {"proxy": proxy.url, "proxy_headers": {"proxy_basic_auth": "me:pass word"}}
        assert server.connect(**options).request("GET", POD).data == {"proxied": True}
        assert server.connect(**options, no_proxy="127.0.0.0/8").request("GET", POD).data == {"direct": True}
        assert "proxy-authorization" not in server.requests[0].headers
        error = failing(server.connect(proxy=proxy.url))
        assert isinstance(error, errors.Failure)


def test_openshift_logs_in_for_a_token(certificates: Certificates) -> None:
    def oauth(request: Request) -> Reply:
        if request.path == "/.well-known/oauth-authorization-server":
            return Reply(200, {"authorization_endpoint": f"{server.url}/oauth/authorize", "token_endpoint": f"{server.url}/oauth/token"})
        if request.path == "/oauth/authorize":
            allowed = request.headers["authorization"] == ["Basic " + base64.b64encode(b"dev:pw-secret").decode()]
            return Reply(302, b"", {"Location": "https://x/?code=abc"}) if allowed else Reply(401, {})
        if request.path == "/oauth/token":
            return Reply(200, {"access_token": "sha256~issued", "expires_in": 60, "scope": "all", "token_type": "Bearer"})
        return Reply(200, {"seen": request.headers["authorization"]})

    with ScriptedServer(oauth, certificates.server_context("strict")) as server:
        login = {"api_key": None, "username": "dev", "password": "pw-secret", "ca_cert": certificates.crt("ca")}
        assert server.connect(**login).request("GET", POD).data == {"seen": ["Bearer sha256~issued"]}
        with pytest.raises(errors.Unauthorized) as caught:
            server.connect(**{**login, "password": CANARY})
        assert CANARY not in str(caught.value)
        with socket.create_server(("127.0.0.1", 0)) as free:
            elsewhere = f"https://127.0.0.1:{free.getsockname()[1]}/oauth"
        server.script = [Reply(200, {"authorization_endpoint": elsewhere, "token_endpoint": elsewhere})]
        with pytest.raises(errors.Unavailable, match="cannot be reached or is not trusted"):
            server.connect(**login)


def test_without_openshift_name_and_password_go_as_http_basic() -> None:
    def plain(request: Request) -> Reply:
        if request.path.startswith("/.well-known"):
            return status(404, "NotFound", "not found")
        return Reply(200, {"seen": request.headers["authorization"]})

    with ScriptedServer(plain) as server:
        connection = server.connect(api_key=None, username="dev", password="pässword")
        assert connection.request("GET", POD).data == {"seen": ["Basic " + base64.b64encode("dev:pässword".encode()).decode()]}


def test_importing_opens_nothing_and_a_missing_package_is_a_sentence() -> None:
    """In a process of its own: what Ansible imports in the parent must leave no thread or socket to the forked workers."""
    code = """
import os, sys, threading
opened = []
sys.addaudithook(lambda event, arguments: opened.append((event, arguments[:2])) if event in ("socket.connect", "tempfile.mkstemp") else None)
if sys.argv[1]:
    sys.modules[sys.argv[1]] = None
from ansible_collections.paas.hardening.plugins.module_utils._cluster import access, connection, objects, readiness, streams
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import MissingDependency
files = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if int(number) > 2 and os.path.exists(f"/proc/self/fd/{number}")]
assert not opened, opened
assert threading.active_count() == 1
assert not [file for file in files if not file.startswith("/proc/")], files
assert "openshift" not in sys.modules
assert not sys.modules.get("kubernetes")
try:
    connection.connect({"host": "https://x", "api_key": "k"})
    if sys.argv[1]:
        connection.connect({"host": "https://x", "api_key": "k", "proxy": "http://127.0.0.1:1"})
except MissingDependency as error:
    print(error)
"""
    environment = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry)}
    for package in ("", "kubernetes", "urllib3", "yaml"):
        sentence = f"The Python package {package} is not installed. Install what is needed: pip install kubernetes openshift pyyaml" if package else ""
        done = subprocess.run([sys.executable, "-c", code, package], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == sentence
