"""What the guard in the cluster does with what it is told by the API server: it acts only on silence, never against what the run has said, and to the end."""

from __future__ import annotations

import ast
import base64
import inspect
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls import guard_program
from ansible_collections.paas.hardening.plugins.module_utils._controls.guard_program import Move, obstacle, take_back, wait

SECRET, WEB, SETTINGS = "/secret", "/web", "/settings"
SILENCE, PAUSE = 0.2, 0.01
UNDO = [
    {"path": WEB, "type": "t", "body": {"replicas": 2}, "note": "frozen"},
    {"path": SETTINGS, "type": "t", "body": {"mode": "first"}, "note": ""},
    {"path": SETTINGS, "type": "t", "body": {"mode": "second"}, "note": ""},
]


class Server:
    """An API server in memory, with one Secret and two other objects; ``faults`` are the next answers that are none."""

    def __init__(self, **fields: str) -> None:
        self.fields: dict[str, str] = {"holder": "run", "phase": "armed", "beat": "1", "undo": json.dumps(UNDO), **fields}
        self.version = 1
        self.gone = False
        self.notes = {"frozen": "2"}
        self.faults: list[int | Exception] = []
        self.before_write: Callable[[], None] = lambda: None
        self.writes: list[tuple[str, Any]] = []
        self.looks = 0

    def ask(self, method: str, path: str, body: Any = None, _kind: str = "") -> tuple[int, Any]:
        fault = self.faults.pop(0) if self.faults else 0
        if isinstance(fault, Exception):
            raise fault
        if fault:
            return fault, {}
        if path != SECRET:
            if method == "PATCH":
                self.writes.append((path, body))
            return 200, {"metadata": {"annotations": dict(self.notes)}}
        if self.gone:
            return 404, {}
        if method == "PATCH":
            self.before_write()
            if body["metadata"]["resourceVersion"] != str(self.version):
                return 409, {}
            self.write(**{key: base64.b64decode(text).decode() for key, text in body["data"].items()})
        self.looks += method == "GET"
        data = {key: base64.b64encode(text.encode()).decode() for key, text in self.fields.items()}
        return 200, {"metadata": {"uid": "u", "resourceVersion": str(self.version)}, "data": data}

    def write(self, **fields: str) -> None:
        self.fields.update(fields)
        self.version += 1


def move(server: Any, uid: str = "u") -> Move:
    return Move(server, SECRET, uid)


def test_an_old_python_understands_it() -> None:
    text = inspect.getsource(guard_program).replace("from __future__ import annotations\n", "")
    tree = ast.parse(text, feature_version=(3, 5))
    assert [node for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr))] == []
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not {name for name in modules if name.startswith("ansible")}


def test_silence_makes_the_move_its_own() -> None:
    server = Server()
    assert wait(move(server), SILENCE, PAUSE)
    assert server.fields["watch"] == "yes"
    assert server.fields["holder"] == "guard"


@pytest.fixture
def door() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_what_can_be_connected_to_is_no_obstacle(door: socket.socket) -> None:
    port = door.getsockname()[1]
    assert obstacle([f"127.0.0.1:{port}", f"localhost:{port}"], SILENCE, PAUSE) == ""


def test_a_way_that_is_shut_is_told_with_its_reason(door: socket.socket) -> None:
    address = f"127.0.0.1:{door.getsockname()[1]}"
    door.close()
    assert re.fullmatch(rf"{address}: .*Connection refused", obstacle([address], SILENCE, PAUSE))


def test_a_name_that_nobody_knows_is_told() -> None:
    assert re.match(r"db\.invalid:5432: .*(not known|resolution)", obstacle(["db.invalid:5432"], SILENCE, PAUSE))


def test_a_way_that_opens_meanwhile_is_no_obstacle() -> None:
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        timer = threading.Timer(SILENCE / 2, late.listen)
        timer.start()
        assert obstacle([f"127.0.0.1:{late.getsockname()[1]}"], SILENCE * 20, PAUSE) == ""
        timer.join()


def test_trouble_stands_where_the_watch_would_and_is_looked_for_once() -> None:
    server, looked = Server(), []

    def trouble() -> str:
        looked.append(server.version)
        # To look takes time, in which the run gives signs of life.
        server.write(beat="2")
        return "db:5432: timed out"

    assert wait(move(server), SILENCE, PAUSE, trouble)
    assert server.fields["watch"] == "db:5432: timed out"
    assert len(looked) == 1


@pytest.mark.parametrize("fields", [{"phase": "done"}, {"phase": "done", "holder": "guard"}])
def test_what_is_over_is_not_waited_for(fields: dict[str, str]) -> None:
    assert not wait(move(Server(**fields)), SILENCE, PAUSE)


def test_a_secret_that_is_gone_or_another_one_is_not_waited_for() -> None:
    server = Server()
    assert not wait(move(server, uid="other"), SILENCE, PAUSE)
    server.gone = True
    assert not wait(move(server), SILENCE, PAUSE)


def test_a_guard_that_was_started_anew_goes_on() -> None:
    assert wait(move(Server(holder="guard")), 3600, PAUSE)


def test_a_sign_of_life_begins_the_time_anew() -> None:
    server = Server()

    def live() -> None:
        # At the very moment in which the guard wants to have it.
        if server.fields.get("watch") and server.version < 5:
            server.write(beat=str(server.version))

    server.before_write = live
    assert wait(move(server), SILENCE, PAUSE)
    assert server.version > 5


def test_a_run_that_says_it_is_through_in_the_last_moment_is_through() -> None:
    server = Server(watch="yes")
    said: list[str] = []

    def through() -> None:
        if not said:
            said.append("committed")
            server.write(phase="committed")

    server.before_write = through
    mine = move(server)
    assert wait(mine, SILENCE, PAUSE)
    server.before_write = lambda: None
    take_back(mine, PAUSE)
    assert server.writes == [(WEB, {"replicas": 2})]


def test_a_server_that_is_away_is_no_silence() -> None:
    server = Server(watch="yes")
    server.faults = [0, *[OSError("away")] * 40]
    assert wait(move(server), SILENCE, PAUSE)
    # The time began anew with the first answer.
    assert server.looks > 5


def test_the_newest_is_taken_back_first_and_what_stands_still_goes_on_last() -> None:
    server = Server(holder="guard")
    take_back(move(server), PAUSE)
    assert server.writes == [(SETTINGS, {"mode": "second"}), (SETTINGS, {"mode": "first"}), (WEB, {"replicas": 2})]
    assert server.fields["phase"] == "done"


def test_what_somebody_let_go_on_meanwhile_is_left_alone() -> None:
    server = Server(holder="guard", phase="committed")
    server.notes = {}
    take_back(move(server), PAUSE)
    assert server.writes == []
    assert server.fields["phase"] == "done"


def test_nothing_is_left_out_while_the_server_is_away() -> None:
    server = Server(holder="guard")
    server.faults = [OSError("away"), 500, 0, 503, 0, TimeoutError("slow"), 0, 500]
    take_back(move(server), PAUSE)
    assert [path for path, _body in server.writes] == [SETTINGS, SETTINGS, WEB]
    assert server.fields["phase"] == "done"


@pytest.mark.parametrize("fields", [{"holder": "another run"}, {"holder": "guard", "phase": "done"}])
def test_what_is_not_its_own_is_left_alone(fields: dict[str, str]) -> None:
    server = Server(**fields)
    take_back(move(server), PAUSE)
    assert server.writes == []
