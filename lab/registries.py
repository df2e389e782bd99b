"""The image registry outside: Debian's docker-registry on a folder, in plain text and behind TLS, for one account."""

from __future__ import annotations

import http.client
import secrets
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import layers, paths, processes
from lab.errors import LabError
from lab.progress import Report, silent
from lab.servers import Server, daemon

if TYPE_CHECKING:
    from lab.seed.registry import Registry

PORT, TLS_PORT = 5000, 443
PROGRAM = "usr/bin/docker-registry"
# Debian's Python can still make a hash that docker-registry takes; the password comes by standard input.
_HASH = "import crypt, sys; print(crypt.crypt(sys.stdin.read(), crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=1 << 5)))"


def hashed(password: str, report: Report = silent) -> str:
    """A password as docker-registry's list of accounts has it. Raises CommandFailed."""
    root = layers.unpacked(layers.debian(report), report)
    return processes.run(["chroot", str(root), "python3", "-c", _HASH], stdin=password).strip()


def program(report: Report = silent) -> Path:
    """Path of docker-registry, out of the lab's base image."""
    return layers.unpacked(layers.debian(report), report) / PROGRAM


def settings(data: Path, address: str, accounts: Path | None, tls: tuple[Path, Path] | None = None) -> str:
    """The configuration of one docker-registry."""
    lines = [
        "version: 0.1",
        "log: {level: error, accesslog: {disabled: true}}",
        f"storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}",
        f"http: {{addr: '{address}', secret: {secrets.token_hex(16)}{f', tls: {{certificate: {tls[0]}, key: {tls[1]}}}' if tls else ''}}}",
    ]
    lines += [f"auth: {{htpasswd: {{realm: registry, path: {accounts}}}}}"] if accounts else []
    return "\n".join(lines) + "\n"


class ImageRegistry(Server):
    """The registry of a lab."""

    name = "registry"

    @property
    def server(self) -> str:
        """How names of its images begin, behind TLS."""
        return self.address

    @property
    def plain_server(self) -> str:
        """The same, in plain text."""
        return f"{self.address}:{PORT}"

    @property
    def _accounts(self) -> Path:
        return self.folder / "htpasswd"

    def _prepare(self, report: Report) -> list[dict[str, Any]]:
        data = paths.private_folder(self.folder / "data")
        known = paths.read_json(self.credentials_file) or {"account": f"robot-{secrets.token_hex(3)}", "password": secrets.token_hex(20)}
        facts = {"server": self.server, "plain_server": self.plain_server, "ca_file": str(self.ca_file)}
        paths.write_json(self.credentials_file, {**known, **facts})
        if not self._accounts.exists():
            paths.write(self._accounts, f"{known['account']}:{hashed(known['password'], report)}\n")
        pair = self.layout.authority.ensure_server(self.name, [f"IP:{self.address}", f"DNS:{self.name}"])
        daemons = []
        for name, port, tls in (("plain", PORT, None), ("tls", TLS_PORT, pair)):
            file = self.folder / f"{name}.yml"
            if not file.exists():
                paths.write(file, settings(data, f"{self.address}:{port}", self._accounts, tls))
            daemons.append(daemon(name, [program(report), "serve", file]))
        return daemons

    def ready(self) -> bool:
        """Whether it answers on both ports."""
        trust = ssl.create_default_context(cafile=str(self.ca_file))
        for connection in (
            http.client.HTTPConnection(self.address, PORT, timeout=5),
            http.client.HTTPSConnection(self.address, TLS_PORT, timeout=5, context=trust),
        ):
            try:
                connection.request("GET", "/v2/")
                if connection.getresponse().status != 401:
                    return False
            except (OSError, http.client.HTTPException):
                return False
            finally:
                connection.close()
        return True

    def client(self) -> Registry:
        """A client of it, as its account, in plain text."""
        from lab.seed.registry import Registry  # what seeds a platform knows clusters, and clusters know this

        return Registry(self.plain_server, self.credentials["account"], self.credentials["password"])

    def change_password(self) -> str:
        """Give its account another password, from now on; the new one. Raises LabError when it is down."""
        if not self.is_up():
            raise LabError(f"{self.name} of lab {self.lab} does not run")
        known = {**self.credentials, "password": secrets.token_hex(20)}
        paths.write(self._accounts, f"{known['account']}:{hashed(known['password'])}\n")
        paths.write_json(self.credentials_file, known)
        return str(known["password"])
