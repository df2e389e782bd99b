"""What the answers of a store of metrics mean, over a real connection: each refusal is of its own kind, and no password is in any of it."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden, Invalid, NotFound, Unauthorized, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.metrics.server import InfluxDB, Prometheus, Server, check_url

INFLUX = {"/ping": (204, {}), "/query": (200, {"results": [{"series": [{"values": [["workflow"]]}]}]}), "/write": (400, {})}
PROMETHEUS = {"/api/v1/query": (200, {"status": "success", "data": {"result": []}}), "/write": (204, {})}


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers each path as it was told, and notes what it was asked."""

    answers: dict[str, tuple[int, dict[str, Any]]]
    asked: list[tuple[str, str, str, bytes]]
    known = True

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.command, path, self.headers.get("Authorization") or "", body))
        status, document = self.answers.get(path, (404, {}))
        text = b"" if status == 204 else json.dumps(document).encode()
        self.send_response(status)
        if self.known:
            self.send_header("X-Influxdb-Version", "1.6.7")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def store() -> Iterator[tuple[str, type[Scripted]]]:
    handler = type("Handler", (Scripted,), {"answers": {**INFLUX, **PROMETHEUS, "/write": INFLUX["/write"]}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def influx(url: str, user: str = "mover") -> InfluxDB:
    return InfluxDB(Server(url, user, "canary-password" if user else ""), "workflow")


def test_it_is_asked_as_the_account_and_written_nothing(store: tuple[str, type[Scripted]]) -> None:
    url, handler = store
    influx(url).check()
    assert [(method, path, body) for method, path, _who, body in handler.asked] == [("GET", "/ping", b""), ("GET", "/query", b""), ("POST", "/write", b"")]
    words = "Basic " + base64.b64encode(b"mover:canary-password").decode()
    assert {who for _method, _path, who, _body in handler.asked} == {words}
    handler.asked.clear()
    influx(url, user="").check()
    assert {who for _method, _path, who, _body in handler.asked} == {""}


@pytest.mark.parametrize(
    ("path", "answer", "failure"),
    [
        ("/ping", (404, {}), Invalid),
        ("/ping", (503, {}), Unavailable),
        ("/query", (401, {"error": "canary of the server"}), Unauthorized),
        ("/query", (403, {}), Forbidden),
        ("/query", (200, {"results": [{"error": "canary of the server"}]}), Forbidden),
        ("/query", (200, {"results": [{}]}), NotFound),
        ("/query", (200, {"results": [{"series": [{"values": [["other"]]}]}]}), NotFound),
        ("/write", (401, {}), Unauthorized),
        ("/write", (403, {}), Forbidden),
        ("/write", (404, {}), NotFound),
        ("/write", (500, {}), Unavailable),
        ("/write", (418, {}), Failure),
    ],
)
def test_each_refusal_is_of_its_own_kind(store: tuple[str, type[Scripted]], path: str, answer: tuple[int, dict[str, Any]], failure: type[Failure]) -> None:
    url, handler = store
    handler.answers[path] = answer
    with pytest.raises(failure) as caught:
        influx(url).check()
    assert caught.value.hint
    assert "canary" not in str(caught.value)


def test_somebody_else_who_answers_is_no_store(store: tuple[str, type[Scripted]]) -> None:
    url, handler = store
    handler.known = False
    with pytest.raises(Invalid):
        influx(url).check()
    handler.answers["/api/v1/query"] = (200, {"status": "error"})
    with pytest.raises(Invalid):
        Prometheus(Server(url), None).check()


def test_what_an_agent_sends_is_tried_with_nothing_in_it(store: tuple[str, type[Scripted]]) -> None:
    url, handler = store
    handler.answers["/write"] = (204, {})
    found = Prometheus(Server(url), Server(f"{url}/write"))
    found.check()
    assert [(method, path, body) for method, path, _who, body in handler.asked] == [("GET", "/api/v1/query", b""), ("POST", "/write", b"\0")]
    assert not found.receives()
    handler.answers["/api/v1/query"] = (200, {"status": "success", "data": {"result": [{"value": [1, "3"]}]}})
    assert found.receives()
    handler.answers["/write"] = (400, {})
    with pytest.raises(Invalid) as caught:
        found.check()
    assert caught.value.subject == "write_url"


def test_nobody_who_answers_is_said(store: tuple[str, type[Scripted]]) -> None:
    with pytest.raises(Unavailable):
        influx("http://127.0.0.1:1").check()
    with pytest.raises(Invalid):
        Server("https://127.0.0.1:1", ca_file="/nonexistent/ca.pem").ask("GET", "/")


@pytest.mark.parametrize("url", ["http://a.example.com:8086", "https://a.example.com/select/0/prometheus", "http://[::1]:8086", "http://10.0.0.7"])
def test_addresses_that_every_configuration_can_carry(url: str) -> None:
    assert check_url("url", f"{url}/") == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example.com",
        "ftp://a.example.com",
        "http://",
        "http://a.example.com:port",
        "http://a b",
        'http://a"',
        "http://a\\n",
        "http://a?x=1",
        "http://$(x)",
    ],
)
def test_addresses_that_would_mean_something_else_are_refused(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_url("write_url", url)
    assert caught.value.subject == "write_url"
