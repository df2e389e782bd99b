"""What is asked of stores of metrics, on real ones: who is taken, who may write, whether anything arrives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden, Invalid, NotFound, Unauthorized, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.metrics.server import InfluxDB, Prometheus, Server
from lab import processes
from tests.moves.metrics import Influx, Victoria
from tests.stores.servers import free_port


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    with Influx(tmp_path_factory.mktemp("influx"), "127.0.0.1").running() as server:
        yield server


@pytest.fixture(scope="module")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victoria]:
    with Victoria(tmp_path_factory.mktemp("victoria")).running() as server:
        yield server


def client(influx: Influx, user: str, password: str, database: str) -> InfluxDB:
    return InfluxDB(Server(influx.url, user, password), database)


def test_a_user_of_the_database_is_taken_and_nothing_is_written(influx: Influx) -> None:
    password = influx.make("workflow", "mover")
    store = client(influx, "mover", password, "workflow")
    store.check()
    assert not store.receives()
    assert not influx.say("SHOW MEASUREMENTS ON workflow")[0].get("series")


def test_what_arrives_is_seen(influx: Influx) -> None:
    password = influx.make("arriving", "sender")
    store = client(influx, "sender", password, "arriving")
    answer = store.server.ask("POST", "/write", {"db": "arriving"}, b"system,host=node-1 uptime=5i")
    assert answer.status == 204
    assert store.receives()


def test_who_is_not_taken_is_told_why_and_no_password_is_shown(influx: Influx) -> None:
    password = influx.make("closed", "owner")
    reader = influx.make("closed", "reader", "READ")
    stranger = influx.make("elsewhere", "stranger")
    cases: list[tuple[str, str, str, type[Failure]]] = [
        ("owner", "wrong-canary-password", "closed", Unauthorized),
        ("reader", reader, "closed", Forbidden),
        ("stranger", stranger, "closed", NotFound),
        ("owner", password, "no-such-database", NotFound),
        ("", "", "closed", Unauthorized),
    ]
    for user, secret, database, failure in cases:
        with pytest.raises(failure) as caught:
            client(influx, user, secret, database).check()
        assert caught.value.hint, (user, database)
        assert not secret or secret not in str(caught.value)


def test_something_else_is_no_store(victoria: Victoria, influx: Influx) -> None:
    with pytest.raises(Invalid):
        InfluxDB(Server(f"{victoria.url}/select"), "workflow").check()
    with pytest.raises(Failure):
        Prometheus(Server(influx.url), None).check()
    with pytest.raises(Unavailable):
        Prometheus(Server(f"http://127.0.0.1:{free_port()}"), None).check()


def test_a_store_of_prometheus_kind(victoria: Victoria) -> None:
    store = Prometheus(Server(victoria.url), Server(f"{victoria.url}/api/v1/write"))
    store.check()
    assert not store.receives()
    victoria.take('up{job="lab"} 1\n')
    assert processes.wait_until(store.receives, 60)
    with pytest.raises(Invalid) as caught:
        Prometheus(Server(victoria.url), Server(f"{victoria.url}/api/v2/no-such-path")).check()
    assert caught.value.subject == "write_url"
