"""Stores of metrics beside the cluster: Debian's InfluxDB and VictoriaMetrics, installed outside of the checkout when they are first asked for."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab import processes
from tests.stores.providers import installed
from tests.stores.servers import free_port

READY_SECONDS = 30.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def unpacked(package: str) -> Path:
    """The content of a Debian package: nothing of it is started, and nothing stays on the machine."""

    def make(folder: Path) -> None:
        processes.run(["apt-get", "download", package], folder=folder)
        for file in folder.glob("*.deb"):
            processes.run(["dpkg", "-x", str(file), str(folder)])

    return installed(f"debian-{package}", make)


@contextlib.contextmanager
def running(folder: Path, words: list[str], environment: dict[str, str], ready: str) -> Iterator[None]:
    """Run a server until the block ends, or this process does. ``ready`` is a URL that it answers."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *words],
            env={"PATH": _PATH, "HOME": str(folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert processes.wait_until(lambda: answers(ready), READY_SECONDS), (folder / "log").read_text()[-2000:]
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    """Whether somebody answers there, whatever he says."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


class Influx:
    """An InfluxDB that asks who one is, with an administrator."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://{host}:{self.port}"
        self.admin = secrets.token_hex(16)

    @contextlib.contextmanager
    def running(self) -> Iterator[Influx]:
        environment = {
            "INFLUXDB_REPORTING_DISABLED": "true",
            "INFLUXDB_META_DIR": str(self.folder / "meta"),
            "INFLUXDB_DATA_DIR": str(self.folder / "data"),
            "INFLUXDB_DATA_WAL_DIR": str(self.folder / "wal"),
            "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{free_port()}",
            "INFLUXDB_HTTP_BIND_ADDRESS": self.url.removeprefix("http://"),
            "INFLUXDB_HTTP_AUTH_ENABLED": "true",
            "INFLUXDB_HTTP_FLUX_ENABLED": "false",
        }
        with running(self.folder, [str(unpacked("influxdb") / "usr/bin/influxd")], environment, f"{self.url}/ping"):
            self.say(f"CREATE USER admin WITH PASSWORD '{self.admin}' WITH ALL PRIVILEGES", log_in=False)
            yield self

    def say(self, statement: str, log_in: bool = True) -> list[dict[str, Any]]:
        """Run a statement as the administrator; the results."""
        request = urllib.request.Request(f"{self.url}/query", urllib.parse.urlencode({"q": statement}).encode())
        if log_in:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{self.admin}".encode()).decode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            results: list[dict[str, Any]] = json.load(answer)["results"]
        assert not any("error" in result for result in results), results
        return results

    def make(self, database: str, user: str, right: str = "ALL") -> str:
        """Make a database and a user of it; his password."""
        password = secrets.token_hex(12)
        self.say(f'CREATE DATABASE "{database}"')
        self.say(f"CREATE USER \"{user}\" WITH PASSWORD '{password}'")
        if right:
            self.say(f'GRANT {right} ON "{database}" TO "{user}"')
        return password

    def hosts(self, database: str, seconds: int = 60) -> set[str]:
        """Who has sent something within the last seconds."""
        (result,) = self.say(f'SELECT uptime, host FROM "{database}".."system" WHERE time > now() - {seconds}s')
        return {row[2] for series in result.get("series", ()) for row in series["values"]}


class Victoria:
    """A VictoriaMetrics of one process, which asks nobody who he is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Victoria]:
        (program,) = [path for path in (unpacked("victoria-metrics") / "usr/bin").glob("victoria-metrics*") if os.access(path, os.X_OK)][:1]
        words = [str(program), f"-httpListenAddr={self.url.removeprefix('http://')}", f"-storageDataPath={self.folder / 'data'}"]
        with running(self.folder, words, {}, f"{self.url}/health"):
            yield self

    def take(self, text: str) -> None:
        """Import samples in the text of exporters, and make them visible."""
        urllib.request.urlopen(f"{self.url}/api/v1/import/prometheus", text.encode(), timeout=10).close()
        urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=10).close()
