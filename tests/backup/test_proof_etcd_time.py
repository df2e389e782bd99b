"""Time never runs back: whoever watched an etcd finds the restored one later than all that was seen, and is told to read anew."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import Programs
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.proof import started
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.snapshot import bump_for, read_snapshot, restore
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from lab import processes
from tests.backup.member import Etcd, left_running, member_of
from tests.perf import figures
from tests.proof import Measured

WATCHERS = 50
# All keys, in etcd's own spelling.
ALL = base64.b64encode(b"\0").decode()


def asked(start: int = 0) -> str:
    request: dict[str, Any] = {"key": ALL, "range_end": ALL}
    return json.dumps({"create_request": {**request, **({"start_revision": str(start)} if start else {})}})


class Watcher(threading.Thread):
    """Somebody who watches everything; ``seen`` is the last revision that was told."""

    def __init__(self, member: Etcd) -> None:
        super().__init__(daemon=True)
        files = member.files("ca", "cert", "key")
        trust = ssl.create_default_context(cafile=files["ca"])
        trust.load_cert_chain(files["cert"], files["key"])
        host, port = member.endpoint.removeprefix("https://").split(":")
        self.connection = http.client.HTTPSConnection(host, int(port), context=trust)
        self.seen = 0

    def run(self) -> None:
        try:
            self.connection.request("POST", "/v3/watch", asked())
            answer = self.connection.getresponse()
            while line := answer.readline():
                for event in json.loads(line)["result"].get("events", ()):
                    self.seen = max(self.seen, int(event["kv"]["mod_revision"]))
        except (OSError, http.client.HTTPException, ValueError):
            """It is over."""

    def end(self) -> None:
        if self.connection.sock is not None:
            self.connection.sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def watched(member: Etcd) -> Iterator[list[Watcher]]:
    """Watchers at work, and somebody who writes all the time."""
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.wait(0.05):
            number += 1
            member.ctl("put", f"written/{number % 50}", str(number))

    watchers = [Watcher(member) for _number in range(WATCHERS)]
    writer = threading.Thread(target=write)
    for thread in (*watchers, writer):
        thread.start()
    try:
        assert processes.wait_until(lambda: all(watcher.seen for watcher in watchers), 60)
        yield watchers
    finally:
        over.set()
        writer.join()
        for watcher in watchers:
            watcher.end()
            watcher.join(10)


class Local(http.client.HTTPConnection):
    """A connection to a socket in a folder."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def told_to_read_anew(path: str, revision: int) -> bool:
    """Whether a watcher that goes on from a revision is sent away, instead of waiting for what will never come."""
    connection = Local(path)
    try:
        connection.request("POST", "/v3/watch", asked(revision))
        answer = connection.getresponse()
        while line := answer.readline():
            result = json.loads(line)["result"]
            if result.get("canceled"):
                return int(result["compact_revision"]) >= revision
    finally:
        connection.close()
    return False


@pytest.mark.timeout(3600)
def test_the_revision_never_runs_back(
    programs: Programs, tmp_path: Path, share: Callable[[int, int], int], measured: Measured, report: Callable[[str], None]
) -> None:
    restores, back, kept = share(3, 100), 0, 0
    with Etcd(tmp_path / "live").running() as live:
        live.fill(200, 300)
        with watched(live) as watchers:
            for number in range(restores):
                folder = tmp_path / f"restore{number}"
                folder.mkdir()
                path, saved = str(folder / "snapshot.db"), time.time()
                member_of(live, programs).save(path, Deadline(120))
                snapshot = read_snapshot(path)
                # Life goes on after the snapshot: its watchers see what no restore will bring back.
                last = live.revision()
                assert processes.wait_until(lambda last=last: min(watcher.seen for watcher in watchers) > last, 60)
                restore(programs, path, snapshot.sha256, str(folder / "data"), bump_for(time.time() - saved), Deadline(120))
                seen = [watcher.seen for watcher in watchers]
                with started(programs, str(folder / "data"), str(folder), Deadline(120)) as restored:
                    back += restored.agreed_revision(Deadline(60)) <= max(seen)
                    kept += sum(not told_to_read_anew(str(folder / "client.sock:0"), revision + 1) for revision in seen)
                processes.run(["rm", "-r", str(folder)])
                if number % 20 == 19:
                    report(f"{number + 1} of {restores} restores of etcd")
    assert left_running(tmp_path) == []
    measured(
        figures.at_most("restores of etcd whose revision is not above all that watchers saw", back, f"of {restores}", 0, f"{WATCHERS} watchers, live writers"),
        figures.at_most("watchers who would go on in a past that is no more", kept, f"of {restores * WATCHERS}", 0),
    )
