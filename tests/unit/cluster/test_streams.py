"""Commands on a server that is too old for the end of input, and connections that break. Real servers have their turn in tests/integration."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import ExecAnswer, ProtocolNotSpoken, execute, http_through
from ansible_collections.paas.hardening.plugins.module_utils._core import errors
from tests.unit.cluster.conftest import Certificates
from tests.unit.cluster.old_socket_server import OldSocketServer
from tests.unit.cluster.scripted_server import Reply, ScriptedServer, status

CANARY = "c4n4ry-hunter2"


def run(server: OldSocketServer, **options: Any) -> ExecAnswer:
    return execute(connect({"host": server.url, "api_key": "k", "retry_timeout": 0}), "x", "p", ["psql", "-f", "-"], **options)


def test_an_old_server_is_told_how_much_input_comes() -> None:
    with OldSocketServer() as server:
        assert run(server, stdin=f"séc {CANARY}" * 9000).stdout == f"séc {CANARY}" * 9000
        assert server.refused == 1
        shell, option, script, name, count, *command = server.commands[0]
    assert (shell, option, name, command) == ("sh", "-c", "sh", ["psql", "-f", "-"])
    assert int(count) == len((f"séc {CANARY}" * 9000).encode())
    assert CANARY not in script


def test_without_input_the_command_stays_as_it_is() -> None:
    with OldSocketServer() as server:
        assert run(server) == ExecAnswer(0, "", "")
        assert server.commands == [["psql", "-f", "-"]]
        assert server.refused == 0
        assert server.authorizations == [b"Bearer k"]


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"status": "Success"}, 0),
        ({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "12"}]}}, 12),
    ],
)
def test_exit_codes(result: dict[str, Any], code: int) -> None:
    with OldSocketServer(result) as server:
        assert run(server).code == code


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        ({"status": "Failure", "message": f'exec: "{CANARY}": executable file not found in $PATH'}, errors.NotFound),
        ({"status": "Failure", "message": f"error executing command: {CANARY}"}, errors.Unavailable),
        ({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": CANARY}]}}, errors.Unavailable),
    ],
)
def test_a_command_that_could_not_run(result: dict[str, Any], kind: type) -> None:
    with OldSocketServer(result) as server, pytest.raises(errors.Failure) as caught:
        run(server)
    assert type(caught.value) is kind
    assert CANARY not in str(caught.value)


def test_a_connection_that_breaks_is_no_success() -> None:
    with OldSocketServer(cut=True) as server, pytest.raises(errors.Unavailable, match="broke before it ended"):
        run(server)


def test_a_server_that_speaks_none_of_it() -> None:
    with OldSocketServer() as server, pytest.raises(ProtocolNotSpoken):
        execute(connect({"host": server.url, "api_key": "k"}), "x", "p", ["true"], protocols=("v9.channel.k8s.io",))


def test_refusals_are_the_same_as_everywhere() -> None:
    with ScriptedServer([status(403, "Forbidden", 'User "bob" cannot get resource "pods/exec"')]) as server, pytest.raises(errors.Forbidden) as caught:
        execute(server.connect(), "x", "p", ["true"], stdin=CANARY)
    assert 'resources: ["pods/exec"]' in caught.value.hint
    with ScriptedServer([status(404, "NotFound", "", name="p", kind="pods")]) as server, pytest.raises(errors.NotFound):
        http_through(server.connect(), "x", "p", 80)


def test_a_server_under_another_name_gets_nothing(certificates: Certificates) -> None:
    with ScriptedServer([Reply()], certificates.server_context("elsewhere")) as server:
        with pytest.raises(errors.Unavailable, match="is for another name"):
            execute(server.connect(ca_cert=certificates.crt("ca")), "x", "p", ["true"])
        assert not server.requests


def test_nobody_listens() -> None:
    with OldSocketServer() as server:
        url = server.url
    with pytest.raises(errors.Unavailable, match="nothing listens there"):
        execute(connect({"host": url, "api_key": "k"}), "x", "p", ["true"])
