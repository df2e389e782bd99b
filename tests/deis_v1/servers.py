"""The etcd of the first generation, as Debian 12 still has it: release 3.4 with its second API, on loopback, alone or as three members."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import processes
from tests.backup.member import free_ports
from tests.moves.metrics import unpacked

READY_SECONDS = 60.0
MACHINES = "/_coreos.com/fleet/machines"
PLANES = ("controlPlane", "dataPlane", "routerMesh")


def program() -> Path:
    return unpacked("etcd-server") / "usr/bin/etcd"


class Certificates:
    """An authority, a server's certificate for loopback, and a client's; and another authority that has nothing to do with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name in ("ca", "other"):
            self._openssl(*_MAKE, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
        for name, names in (("server", "subjectAltName=IP:127.0.0.1,DNS:deis.example.com,DNS:*.example.com"), ("client", "subjectAltName=DNS:client")):
            signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:false", "-addext", names)
            self._openssl(*_MAKE, "-subj", f"/O={name}", *signed, "-keyout", f"{name}.key", "-out", f"{name}.crt")

        self._openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", "dh2048.pem")

    def _openssl(self, *words: str) -> None:
        processes.run(["openssl", *words], folder=self.folder)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


_MAKE = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2")


class Etcd:
    """One member."""

    def __init__(self, folder: Path, name: str = "default", peers: Mapping[str, str] | None = None, tls: Certificates | None = None, v2: bool = True) -> None:
        self.folder, self.name, self.tls, self.v2 = folder, name, tls, v2
        folder.mkdir(parents=True)
        port, peer = free_ports(2)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self.peers = dict(peers or {name: f"http://127.0.0.1:{peer}"})
        self.login: tuple[str, str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [
            *(str(program()), f"--name={self.name}", f"--data-dir={self.folder / 'data'}", "--log-level=error", f"--enable-v2={str(self.v2).lower()}"),
            *(f"--listen-client-urls={self.url}", f"--advertise-client-urls={self.url}"),
            *(f"--listen-peer-urls={self.peers[self.name]}", f"--initial-advertise-peer-urls={self.peers[self.name]}"),
            f"--initial-cluster={','.join(f'{name}={url}' for name, url in self.peers.items())}",
            # The machine is noisy, and its processes are idle ones.
            *("--heartbeat-interval=300", "--election-timeout=3000"),
        ]
        if self.tls:
            files = {"cert-file": "server.crt", "key-file": "server.key", "trusted-ca-file": "ca.crt"}
            words += ["--client-cert-auth", *(f"--{option}={self.tls.path(file)}" for option, file in files.items())]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )

    def wait(self) -> None:
        assert processes.wait_until(self._ready, READY_SECONDS), (self.folder / "log").read_text()[-2000:]

    def _ready(self) -> bool:
        try:
            return bool(self.ask("GET", "/health")[1].get("health") == "true")
        except OSError:
            return False

    def stop(self, hard: bool = False) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL if hard else signal.SIGTERM)
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Etcd]:
        self.start()
        try:
            self.wait()
            yield self
        finally:
            self.stop()

    # What the tests themselves ask and write, by the second API, too.

    def ask(self, method: str, path: str, form: Mapping[str, str] | None = None, document: Any = None) -> tuple[int, dict[str, Any], int]:
        """The status, the JSON object, and etcd's counter of writes."""
        body = urllib.parse.urlencode(form).encode() if form is not None else json.dumps(document).encode() if document is not None else None
        request = urllib.request.Request(self.url + path, body, method=method)
        if document is not None:
            request.add_header("Content-Type", "application/json")
        if self.login:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(self.login).encode()).decode())
        context = None
        if self.tls:
            context = ssl.create_default_context(cafile=self.tls.path("ca.crt"))
            context.load_cert_chain(self.tls.path("client.crt"), self.tls.path("client.key"))
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as answer:
                return answer.status, json.loads(answer.read() or b"{}"), int(answer.headers.get("X-Etcd-Index", 0))
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"{}"), int(error.headers.get("X-Etcd-Index", 0))

    def put(self, key: str, value: str, ttl: int = 0) -> None:
        status, told, _counter = self.ask("PUT", f"/v2/keys{key}", {"value": value, **({"ttl": str(ttl)} if ttl else {})})
        assert status in (200, 201), told

    def make_folder(self, key: str) -> None:
        status, told, _counter = self.ask("PUT", f"/v2/keys{key}", {"dir": "true"})
        assert status in (200, 201), told

    def remove(self, key: str) -> None:
        status, told, _counter = self.ask("DELETE", f"/v2/keys{key}?recursive=true")
        assert status in (200, 404), told

    def value(self, key: str) -> str | None:
        status, told, _counter = self.ask("GET", f"/v2/keys{key}?quorum=true")
        return told["node"].get("value") if status == 200 else None

    def values(self, folder: str = "/") -> dict[str, str]:
        """All keys below a folder, by the answer as it stands."""
        found: dict[str, str] = {}

        def walk(node: Mapping[str, Any]) -> None:
            if not node.get("dir"):
                found[node["key"]] = node["value"]
            for inner in node.get("nodes", ()):
                walk(inner)

        status, told, _counter = self.ask("GET", f"/v2/keys{folder}?recursive=true&quorum=true")
        if status == 200:
            walk(told["node"])
        return found

    def counter(self) -> int:
        """etcd's own count of writes: what does not change it wrote nothing."""
        return self.ask("GET", "/v2/keys/")[2]

    def writes(self) -> dict[str, int]:
        """What etcd counts by itself of each kind of write, the refused ones with them."""
        told = self.ask("GET", "/v2/stats/store")[1]
        kinds = ("sets", "delete", "update", "create", "compareAndSwap", "compareAndDelete")
        return {name: number for name, number in told.items() if name.startswith(kinds)}

    def shut(self) -> None:
        """Take from everybody else what etcd gives them when authentication is turned on."""
        revoked = {"role": "guest", "revoke": {"kv": {"read": ["/*"], "write": ["/*"]}}}
        status, told, _counter = self.ask("PUT", "/v2/auth/roles/guest", document=revoked)
        assert status == 200, told

    def open_account(self) -> None:
        """Make an account, and turn authentication on; the rights of everybody else stay what they are."""
        password = secrets.token_hex(16)
        status, told, _counter = self.ask("PUT", "/v2/auth/users/root", document={"user": "root", "password": password})
        assert status in (200, 201), told
        status, told, _counter = self.ask("PUT", "/v2/auth/enable")
        assert status == 200, told
        self.login = ("root", password)


def members(folder: Path) -> list[Etcd]:
    """Three members of one cluster, started and well."""
    ports = free_ports(3)
    peers = {f"m{number}": f"http://127.0.0.1:{port}" for number, port in enumerate(ports)}
    found = [Etcd(folder / name, name, peers) for name in peers]
    for member in found:
        member.start()
    for member in found:
        member.wait()
    return found


def install(etcd: Etcd, release: str = "v1.13.4", applications: Sequence[str] = ("shop", "blog"), planes: Sequence[str] = ()) -> None:
    """What a platform of that release has in etcd when it was just started: nothing of it was chosen by anybody."""
    for folder in ("/deis", MACHINES):
        etcd.remove(folder)
    written = {
        "platform/domain": "example.com",
        "platform/version": release,
        "controller/secretKey": secrets.token_hex(20),
        "controller/builderKey": secrets.token_hex(20),
        "database/engine": "postgresql_psycopg2",
        "database/user": "deis",
        "database/name": "deis",
        "database/password": "changeme123",
        "database/adminUser": "postgres",
        "database/adminPass": "changeme123",
        "store/gateway/accessKey": secrets.token_hex(10),
        "store/gateway/secretKey": secrets.token_hex(20),
        **{f"services/{name}/{name}_v1.web.1": "10.21.1.10:49153" for name in applications},
        "domains/www.example.org": "shop",
    }
    for path, value in written.items():
        etcd.put(f"/deis/{path}", value)
    for path, value in {"controller/host": "10.21.1.10", "controller/port": "8000", "database/host": "10.21.1.11", "store/gateway/host": "10.21.1.12"}.items():
        etcd.put(f"/deis/{path}", value, ttl=3600)
    for number in range(3):
        metadata = dict.fromkeys(planes, "true")
        machine = {"ID": f"{number:032x}", "PublicIP": f"10.21.1.{10 + number}", "Metadata": metadata, "Version": "0.11.7"}
        etcd.put(f"{MACHINES}/{number:032x}/object", json.dumps(machine))
