"""The PostgreSQL outside: Debian's server out of the lab's base image, by password in plain text or behind TLS."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path
from typing import Any

from lab import layers, paths, processes
from lab.errors import LabError
from lab.progress import Report, silent
from lab.servers import Server, daemon

PORT = 5432
SUPERUSER = "postgres"
PROGRAMS = "/usr/lib/postgresql/15/bin"
# where the server sees the base image, and in it its data
_ROOT = "/run/root"
_DATA = "/var/lib/postgresql/data"
_AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,62}")


class Postgres(Server):
    """The database server of a lab. ``tls_only`` refuses who comes without TLS; ``settings`` are laid over those of the server."""

    name = "postgres"

    def __init__(self, lab: str, max_connections: int = 100, tls_only: bool = False, **settings: str) -> None:
        super().__init__(lab)
        self.max_connections = max_connections
        self.tls_only = tls_only
        self.settings = settings
        self._root = Path()  # the base image, known when the server is prepared

    def _prepare(self, report: Report) -> list[dict[str, Any]]:
        self._root = layers.unpacked(layers.debian(report), report)
        known = paths.read_json(self.credentials_file) or {"user": SUPERUSER, "password": secrets.token_hex(20)}
        paths.write_json(self.credentials_file, {**known, "host": self.address, "port": PORT, "ca_file": str(self.ca_file)})
        configuration = paths.private_folder(self.folder / "configuration")
        certificate, key = self.layout.authority.ensure_server(self.name, [f"IP:{self.address}", f"DNS:{self.name}"])
        paths.write(configuration / "server.crt", certificate.read_text())
        paths.write(configuration / "server.key", key.read_text())
        scheme = "hostssl" if self.tls_only else "host"
        paths.write(configuration / "pg_hba.conf", f"local all all trust\n{scheme} all,replication all 0.0.0.0/0 scram-sha-256\n")
        for path in (paths.private_folder(self.folder / "data"), configuration, *configuration.iterdir()):
            shutil.chown(path, *self._owner())
        settings = {
            "listen_addresses": "*",
            "port": str(PORT),
            "max_connections": str(self.max_connections),
            "unix_socket_directories": "/run/postgresql",
            "hba_file": "/run/configuration/pg_hba.conf",
            "ssl": "on",
            "ssl_cert_file": "/run/configuration/server.crt",
            "ssl_key_file": "/run/configuration/server.key",
            "password_encryption": "scram-sha-256",
            # the machine does not lose what it has written when a process is killed
            "fsync": "off",
            "log_min_error_statement": "panic",  # a statement that fails may hold a password
            "log_timezone": "UTC",
            "timezone": "UTC",
            **self.settings,
        }
        words = ["/usr/sbin/chroot", _ROOT, "/usr/bin/setpriv", *_AS_POSTGRES[1:], f"{PROGRAMS}/postgres", "-D", _DATA]
        return [daemon("postgres", [*words, *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))])]

    def _owner(self) -> tuple[int, int]:
        """User and group of the server, as the base image numbers them."""
        for line in (self._root / "etc/passwd").read_text().splitlines():
            name, _password, user, group = line.split(":")[:4]
            if name == "postgres":
                return int(user), int(group)
        raise LabError("the base image has no user postgres")

    def _plan(self) -> dict[str, Any]:
        # what the server sees in the base image's place, the outer ones first
        inner = {
            "/dev": "/dev",
            # a killed server leaves its shared memory behind: here it goes with the machine
            "/run/memory": "/dev/shm",
            "/proc": "/proc",
            "/run/inner": "/run",
            "/run/scratch": "/tmp",
            str(self.folder / "configuration"): "/run/configuration",
            str(self.folder / "data"): "/var/lib/postgresql",
        }
        return {
            "run_folders": [_ROOT, "/run/inner/postgresql", "/run/inner/configuration", "/run/memory", "/run/scratch"],
            "read_only_binds": {str(self._root): _ROOT},
            "binds": {source: _ROOT + target for source, target in inner.items()},
        }

    def _first_start(self) -> None:
        self._inside("chown", "{}:{}".format(*self._owner()), "/run/inner/postgresql")
        self._inside("chmod", "1777", "/run/memory", "/run/scratch")
        if (self.folder / "data" / "data" / "PG_VERSION").exists():
            return
        shutil.rmtree(self.folder / "data" / "data", ignore_errors=True)  # an initdb that broke off
        words = [f"{PROGRAMS}/initdb", "-D", _DATA, "-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--auth-host=scram-sha-256"]
        # the server's user must be able to open it, as it is not with a pipe of ours
        secret = self.folder / "configuration" / "password"
        paths.write(secret, self.credentials["password"] + "\n")
        shutil.chown(secret, *self._owner())
        try:
            self._chroot(*_AS_POSTGRES, *words, f"--pwfile=/run/configuration/{secret.name}")
        finally:
            secret.unlink()

    def _chroot(self, *command: str, stdin: str | None = None) -> str:
        return self._inside("chroot", _ROOT, *command, stdin=stdin)

    def ready(self) -> bool:
        """Whether it lets people in."""
        try:
            self._chroot(f"{PROGRAMS}/pg_isready", "-q", "-h", "/run/postgresql", "-U", SUPERUSER)
        except LabError:
            return False
        return True

    def sql(self, statement: str, database: str = "postgres") -> list[list[str]]:
        """The rows that a statement gives, as text; asked as the superuser from within the server's machine. Raises CommandFailed."""
        text = self._chroot("psql", "-XAtqF\t", "-v", "ON_ERROR_STOP=1", "-h", "/run/postgresql", "-U", SUPERUSER, "-d", database, stdin=statement)
        return [line.split("\t") for line in text.splitlines()]

    def make_database(self, database: str, owner: str, password: str | None = None) -> dict[str, Any]:
        """Make a role that may log in and owns nothing but this new database; how to reach it, with its password. Raises LabError, CommandFailed."""
        for name in (database, owner):
            if not _NAME.fullmatch(name):
                raise LabError(f"{name!r} is no name for a database or role of the lab")
        password = password or secrets.token_hex(16)
        # on stdin, so that no process list shows it; the server's log keeps no statements
        for statement in (
            f"CREATE ROLE {owner} LOGIN PASSWORD '{_quoted(password)}'",
            f"CREATE DATABASE {database} OWNER {owner}",
            f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
        ):
            self.sql(statement)
        return {"host": self.address, "port": PORT, "user": owner, "password": password, "database": database, "ca_file": str(self.ca_file)}

    def sessions(self, database: str) -> list[list[str]]:
        """Who is connected to a database over the network: role, address, whether behind TLS (t or f)."""
        asked = "SELECT usename, host(client_addr), s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE client_addr IS NOT NULL AND datname = "
        return self.sql(f"{asked}'{_quoted(database)}' ORDER BY 1, 2")


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def psql(root: Path, target: dict[str, Any], sslmode: str = "prefer") -> tuple[list[str], dict[str, str]]:
    """Command line and environment of a psql out of the base image that talks to a server by the network, from this machine; no password in the former."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "PGPASSWORD": target["password"],
        "PGSSLMODE": sslmode,
        "PGCONNECT_TIMEOUT": "5",
    }
    where = ["-h", target["host"], "-p", str(target["port"]), "-U", target["user"], "-d", target["database"]]
    return ["chroot", str(root), "psql", "-XAtqF\t", "-v", "ON_ERROR_STOP=1", *where], environment


def ask(target: dict[str, Any], statement: str, sslmode: str = "prefer") -> list[list[str]]:
    """The rows that a statement gives, as text, from any PostgreSQL that this machine reaches. Raises CommandFailed."""
    words, environment = psql(layers.unpacked(layers.debian(silent)), target, sslmode)
    return [line.split("\t") for line in processes.run(words, stdin=statement, env=environment).splitlines()]
