"""A program in a container, followed from here: what it is given, what it says, and that it does not outlive the connection. The shell is a real one."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.remote import Attached, Lost, RemoteProgram
from lab import processes
from tests.unit.cluster.shell_server import ShellServer

CANARY = "c4n4ry-hunter2 'quoted'\n$(touch broken)"


def start(server: ShellServer, *words: str | Attached, **more: Any) -> RemoteProgram:
    connection = connect({"host": server.url, "api_key": "k", "retry_timeout": 0})
    return RemoteProgram(connection, "x", "p", "c", words, more.pop("variables", {}), **more)


def finished(program: RemoteProgram) -> tuple[int | None, bytes, bytes]:
    """Its exit status and what it wrote."""
    try:
        said = program.stdout.read(), program.stderr.read()
        assert processes.wait_until(lambda: program.poll() is not None, 10)
        return program.poll(), *said
    finally:
        program.end()


def test_it_is_given_words_variables_input_and_files(tmp_path: Path) -> None:
    large, empty = tmp_path / "large", tmp_path / "empty"
    large.write_bytes(os.urandom(300_000))
    empty.touch()
    script = 'printf "%s|" "$@"; printf "%s|" "$SECRET"; cat; sha256sum <"${1#--list=}"; wc -c <"${2#--list=}"; echo no >&2; exit 7'
    with ShellServer(str(tmp_path)) as server:
        words = ("sh", "-c", script, "sh", Attached("--list=", str(large)), Attached("--list=", str(empty)), "it's", "ü")
        code, out, err = finished(start(server, *words, variables={"SECRET": CANARY}, content=b"input\n"))
    digest = hashlib.sha256(large.read_bytes()).hexdigest().encode()
    assert out == f"--list=2|--list=3|it's|ü|{CANARY}|input\n".encode() + digest + b"  -\n0\n"
    assert (code, err) == (7, b"no\n")
    assert "hunter2" not in str(server.lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "large"]


def test_variables_of_the_image_are_not_obeyed(tmp_path: Path) -> None:
    with ShellServer(str(tmp_path), RCLONE_CONFIG="/somewhere", RCLONE_config_s_type="local", KEPT="yes") as server:
        _code, out, _err = finished(start(server, "env", variables={"RCLONE_CONFIG_S_TYPE": "s3"}))
    assert sorted(line for line in out.decode().splitlines() if line.startswith(("RCLONE", "KEPT"))) == ["KEPT=yes", "RCLONE_CONFIG_S_TYPE=s3"]


@pytest.mark.parametrize("name", ["TERM", "KILL"])
def test_a_signal_that_ended_it_is_told(tmp_path: Path, name: str) -> None:
    with ShellServer(str(tmp_path)) as server:
        code, _out, _err = finished(start(server, "sh", "-c", f"kill -{name} $$"))
    assert code == {"TERM": -15, "KILL": -9}[name]


def sleeper(server: ShellServer) -> tuple[RemoteProgram, int]:
    """A program that only a signal ends, and its process number."""
    program = start(server, "sh", "-c", 'trap "" TERM; echo $$; while :; do sleep 0.1; done')
    return program, int(program.stdout.readline())


def test_it_is_asked_to_end_before_it_is_killed(tmp_path: Path) -> None:
    with ShellServer(str(tmp_path)) as server:
        program = start(server, "sh", "-c", f"trap 'echo asked >{tmp_path}/asked; exit 0' TERM; echo on; while :; do sleep 0.1; done")
        assert program.stdout.readline() == b"on\n"
        program.end()
    assert (tmp_path / "asked").exists()
    assert program.code == 0


def test_it_ends_with_the_connection(tmp_path: Path) -> None:
    with ShellServer(str(tmp_path)) as server:
        program, pid = sleeper(server)
        server.cut()
        assert processes.wait_until(lambda: processes.start_time(pid) is None, 5)
        with pytest.raises(Lost, match="is lost"):
            processes.wait_until(program.poll, 5)
        program.end()


def test_it_ends_when_nothing_is_heard(tmp_path: Path) -> None:
    # The beats come every three seconds: this container has less patience.
    with ShellServer(str(tmp_path), silence=1) as server:
        program, pid = sleeper(server)
        assert processes.wait_until(lambda: processes.start_time(pid) is None, 5)
        assert processes.wait_until(lambda: program.poll() == -9, 5)
        program.end()


def test_it_lives_on_as_long_as_it_is_wanted_though_nobody_reads(tmp_path: Path) -> None:
    with ShellServer(str(tmp_path), silence=4) as server:
        program = start(server, "sh", "-c", "yes | head -c 3000000; echo end >&2; cat")
        time.sleep(4.5)
        assert program.poll() is None
        code, out, err = finished(program)
    assert (code, len(out), err) == (0, 3_000_000, b"end\n")
    assert not (tmp_path / "run").exists()


class Cutting(ShellServer):
    """Its connection breaks in the middle of what is handed over."""

    _MOST = 60_000

    def _frame(self, file: Any) -> bytes:
        data = super()._frame(file)
        self._MOST -= len(data)
        if self._MOST < 0:
            raise EOFError
        return data


def test_a_list_that_did_not_arrive_whole_is_not_worked_on(tmp_path: Path) -> None:
    # As when we are killed while it is sent.
    listing = tmp_path / "list"
    listing.write_bytes(b"x" * 200_000)

    with Cutting(str(tmp_path)) as server:
        program = start(server, "touch", f"{tmp_path}/worked", Attached("", str(listing)))
        with pytest.raises(Lost):
            processes.wait_until(program.poll, 5)
        program.end()
        assert server.running is not None
        assert server.running.wait(5) == 125
    assert not (tmp_path / "worked").exists()


def test_nobody_is_there(tmp_path: Path) -> None:
    with ShellServer(str(tmp_path)) as server:
        connection = connect({"host": server.url, "api_key": "k", "retry_timeout": 0})
    with pytest.raises(Lost):
        RemoteProgram(connection, "x", "p", "c", ("true",), {})
