"""The base image unpacked once, and a real PostgreSQL in it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import builds
from tests.platforms.sandbox import Sandbox, free_port


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The base image as a folder, 300 MB of it."""
    folder = tmp_path_factory.mktemp("image")
    yield Sandbox.unpack(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def image(sandbox: Sandbox) -> Sandbox:
    """The image with the store's program in it."""
    program, target = builds.binary("minio"), sandbox.folder / "usr/local/bin/minio"
    if not target.exists():
        try:
            os.link(program, target)
        except OSError:  # another file system
            target.write_bytes(program.read_bytes())
            target.chmod(0o755)
    return sandbox


@dataclass
class Database:
    """A PostgreSQL of the tests: where it listens, who owns it, and a way to ask it as the owner."""

    sandbox: Sandbox
    port: int
    user: str
    password: str

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Runs the server; twice in a row it finds its data again."""
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "postgres", "-D", "/var/lib/postgresql/lab", "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        # by SIGTERM it would wait until the last client has gone
        with self.sandbox.running(*command, port=self.port, stop_signal=signal.SIGINT):
            # the port is open before the server lets anybody in
            self.sandbox.run("sh", "-c", "until pg_isready -q -h 127.0.0.1 -p $PORT; do sleep 0.05; done", env={"PORT": str(self.port)})
            yield

    def ask(self, statement: str) -> list[list[str]]:
        """The rows of a statement as text."""
        text = self.sandbox.run(
            "psql", "-qXAt", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", "postgres", env={"PGPASSWORD": self.password}, stdin=statement
        )
        return [line.split("|") for line in text.splitlines()]

    @property
    def deis(self) -> dict[str, str]:
        """The environment that Deis' and Hephy's controller finds it by."""
        return {
            "DEIS_DATABASE_NAME": "postgres",
            "DEIS_DATABASE_USER": self.user,
            "DEIS_DATABASE_PASSWORD": self.password,
            "DEIS_DATABASE_SERVICE_HOST": "127.0.0.1",
            "DEIS_DATABASE_SERVICE_PORT": str(self.port),
        }

    @property
    def drycc(self) -> dict[str, str]:
        """The environment that Drycc's services find it by."""
        return {"DRYCC_DATABASE_URL": f"postgres://{self.user}:{self.password}@127.0.0.1:{self.port}/postgres"}


@pytest.fixture(scope="session")
def cold_database(sandbox: Sandbox) -> Database:
    """An empty database that does not run."""
    database = Database(sandbox, free_port(), f"u{secrets.token_hex(8)}", secrets.token_hex(16))
    sandbox.run("install", "-d", "-o", "postgres", "-m", "700", "/var/lib/postgresql/lab", "/var/run/postgresql")
    sandbox.run("install", "-o", "postgres", "-m", "600", "/dev/stdin", "/tmp/password", stdin=database.password + "\n")
    sandbox.run(
        "setpriv",
        "--reuid=postgres",
        "--regid=postgres",
        "--init-groups",
        "initdb",
        "-D",
        "/var/lib/postgresql/lab",
        "-U",
        database.user,
        "--auth=scram-sha-256",
        "--pwfile=/tmp/password",
        "--no-sync",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
    )
    return database
