"""Stores of the other providers on loopback: the emulators of Azure and GCS that everybody tests with, and OpenStack Swift itself.

They are installed when they are first asked for, outside of the checkout. Each is read back by a client that has nothing in common with what is tested.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from lab import builds, locks, paths, processes
from tests.stores.servers import free_port

READY_SECONDS = 60.0
AZURITE, SWIFT, MEMCACHED = "azurite@3.35.0", "swift==2.38.3", ("memcached", "libevent-2.1-7")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def installed(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of a program, made once."""
    folder = paths.builds() / name
    with locks.held(folder / "lock"):
        if not (folder / "ready").exists():
            shutil.rmtree(folder / "program", ignore_errors=True)
            (folder / "program").mkdir(parents=True)
            make(folder / "program")
            (folder / "ready").touch()
    return folder / "program"


class Provider(ABC):
    """A store of one provider. The kernel ends its processes when the test process dies, however that happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def start(self) -> None:
        """Start whatever it consists of."""

    @abstractmethod
    def store(self, wrong: bool = False) -> Store:
        """The server as the collection sees it; with credentials that it does not know, if wanted."""

    @abstractmethod
    def contents(self, bucket: str) -> dict[str, bytes]:
        """Every object, read by another client."""

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        try:
            self.start()
            yield self
        finally:
            for process in reversed(self._processes):
                process.send_signal(signal.SIGTERM)
            for process in reversed(self._processes):
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _spawn(self, *words: str | Path, environment: Mapping[str, str] | None = None) -> None:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *map(str, words)],
                env={"PATH": _PATH, "HOME": str(self.folder), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)

    def _wait(self, url: str) -> None:
        def answers() -> bool:
            try:
                urllib.request.urlopen(url, timeout=2).close()
            except urllib.error.HTTPError:
                return True
            except OSError:
                return False
            return True

        assert processes.wait_until(answers, READY_SECONDS), (self.folder / "log").read_text()[-2000:]


class Azurite(Provider):
    """Microsoft's emulator of Azure Blob Storage."""

    account = "emulated"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.account}"

    def start(self) -> None:
        program = installed(AZURITE, lambda folder: _run("npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", folder, AZURITE))
        node = shutil.which("node")
        assert node, "node is needed for the emulator of Azure"
        words = ("--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", self.folder / "data", "--silent", "--skipApiVersionCheck")
        self._spawn(node, program / "node_modules/azurite/dist/src/blob/main.js", *words, environment={"AZURITE_ACCOUNTS": f"{self.account}:{self.key}"})
        self._wait(self.endpoint)

    def store(self, wrong: bool = False) -> Store:
        key = base64.b64encode(secrets.token_bytes(64)).decode() if wrong else self.key
        return Store("azure", endpoint=self.endpoint, account=self.account, account_key=key)

    def contents(self, bucket: str) -> dict[str, bytes]:
        from azure.storage.blob import ContainerClient

        credential = {"account_name": self.account, "account_key": self.key}
        with ContainerClient(self.endpoint, bucket, credential=credential) as client:
            return {str(name): client.download_blob(name).readall() for name in client.list_blob_names()}


class FakeGcs(Provider):
    """The emulator of Google Cloud Storage, and the door at which Google gives out tokens: the emulator has none, so this one is made here."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._door = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _TokenDoor)
        _run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", folder / "key")

    def start(self) -> None:
        threading.Thread(target=self._door.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{self.port}"
        words = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port), "-backend", "filesystem", "-external-url", here, "-log-level", "error")
        self._spawn(builds.binary("fake-gcs-server"), *words, "-filesystem-root", self.folder / "data")
        self._wait(f"{here}/storage/v1/b")

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        try:
            with super().running():
                yield self
        finally:
            self._door.shutdown()
            self._door.server_close()

    def store(self, wrong: bool = False) -> Store:
        account = {
            "type": "service_account",
            "project_id": "lab",
            "private_key_id": "lab",
            "private_key": (self.folder / "key").read_text(),
            "client_email": "nobody@lab.example" if wrong else _TokenDoor.known,
            "client_id": "1",
            "token_uri": f"http://127.0.0.1:{self._door.server_port}/token",
        }
        return Store("gcs", endpoint=f"http://127.0.0.1:{self.port}/storage/v1/", service_account=json.dumps(account))

    def contents(self, bucket: str) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        here, page = f"http://127.0.0.1:{self.port}/storage/v1/b/{bucket}/o", ""
        while True:
            with urllib.request.urlopen(f"{here}?pageToken={urllib.parse.quote(page)}") as answer:
                listed = json.load(answer)
            for entry in listed.get("items", ()):
                with urllib.request.urlopen(f"{here}/{urllib.parse.quote(entry['name'], safe='')}?alt=media") as answer:
                    found[entry["name"]] = answer.read()
            page = listed.get("nextPageToken", "")
            if not page:
                return found


class _TokenDoor(http.server.BaseHTTPRequestHandler):
    """Gives a token to the one account that it knows, as Google does for a signed assertion."""

    known = "mover@lab.example"

    def do_POST(self) -> None:
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        claims = form["assertion"][0].split(".")[1]
        issuer = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["iss"]
        good = issuer == self.known
        token = {"access_token": secrets.token_hex(16), "expires_in": 3600, "token_type": "Bearer"}
        body = json.dumps(token if good else {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}).encode()
        self.send_response(200 if good else 400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


class Swift(Provider):
    """OpenStack Swift on one device, with its own small authentication (v1)."""

    account, user = "lab", "mover"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.key = secrets.token_hex(16)
        self._ports = {name: free_port() for name in ("account", "container", "object", "memcached")}

    @property
    def auth_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/auth/v1.0"

    def start(self) -> None:
        program = installed(SWIFT, _install_swift)
        cache = installed("-".join(MEMCACHED), _install_memcached)
        self._configure(program / "venv/bin/swift-ring-builder")
        libraries = next((cache / "usr/lib").glob("*/libevent-2.1.so.7")).parent
        memory = ("-u", "root", "-l", "127.0.0.1", "-p", str(self._ports["memcached"]), "-U", "0")
        self._spawn(cache / "usr/bin/memcached", *memory, environment={"LD_LIBRARY_PATH": str(libraries)})
        for name in ("account", "container", "object"):
            self._spawn(program / f"venv/bin/swift-{name}-server", self.folder / f"{name}.conf")
        self._spawn(program / "venv/bin/swift-proxy-server", self.folder / "proxy.conf")
        self._wait(f"http://127.0.0.1:{self.port}/info")
        # The servers behind the proxy take a moment longer.
        assert processes.wait_until(lambda: self._ask("PUT", "ready") < 300, READY_SECONDS), (self.folder / "log").read_text()[-2000:]

    def _configure(self, ring_builder: Path) -> None:
        (self.folder / "devices/d1").mkdir(parents=True)
        (self.folder / "swift.conf").write_text(
            f"[swift-hash]\nswift_hash_path_suffix = {secrets.token_hex(8)}\n[storage-policy:0]\nname = one\ndefault = yes\n"
        )
        shared = f"[DEFAULT]\nbind_ip = 127.0.0.1\nswift_dir = {self.folder}\nuser = root\nworkers = 0\nlog_address = {self.folder}/no-syslog\n"
        for name in ("account", "container", "object"):
            ring, device = self.folder / f"{name}.builder", f"r1z1-127.0.0.1:{self._ports[name]}/d1"
            for words in (("create", "6", "1", "1"), ("add", device, "1"), ("rebalance",)):
                _run(ring_builder, ring, *words)
            local = f"bind_port = {self._ports[name]}\ndevices = {self.folder}/devices\nmount_check = false\n"
            pipeline = f"[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n"
            (self.folder / f"{name}.conf").write_text(shared + local + pipeline)
        filters = ("catch_errors", "cache", "tempauth", "dlo", "slo")
        sections = "".join(f"[filter:{name}]\nuse = egg:swift#{name if name != 'cache' else 'memcache'}\n{self._extra(name)}" for name in filters)
        pipeline = f"[pipeline:main]\npipeline = {' '.join(filters)} proxy-server\n[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
        (self.folder / "proxy.conf").write_text(shared + f"bind_port = {self.port}\n" + pipeline + sections)

    def _extra(self, name: str) -> str:
        if name == "tempauth":
            return f"user_{self.account}_{self.user} = {self.key} .admin\n"
        return f"memcache_servers = 127.0.0.1:{self._ports['memcached']}\n" if name == "cache" else ""

    def store(self, wrong: bool = False) -> Store:
        key = "a-wrong-key-of-some-length" if wrong else self.key
        return Store("swift", user=f"{self.account}:{self.user}", key=key, auth_url=self.auth_url, tenant=self.account, auth_version=1)

    def _enter(self) -> tuple[str, str]:
        """The URL of the account, and a token."""
        request = urllib.request.Request(self.auth_url, headers={"X-Auth-User": f"{self.account}:{self.user}", "X-Auth-Key": self.key})
        with urllib.request.urlopen(request) as answer:
            return answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"]

    def _ask(self, method: str, path: str) -> int:
        try:
            url, token = self._enter()
            with urllib.request.urlopen(urllib.request.Request(f"{url}/{path}", method=method, headers={"X-Auth-Token": token})) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def contents(self, bucket: str) -> dict[str, bytes]:
        url, token = self._enter()
        headers = {"X-Auth-Token": token}
        with urllib.request.urlopen(urllib.request.Request(f"{url}/{bucket}?format=json", headers=headers)) as answer:
            names = [entry["name"] for entry in json.load(answer)]
        found = {}
        for name in names:
            with urllib.request.urlopen(urllib.request.Request(f"{url}/{bucket}/{urllib.parse.quote(name)}", headers=headers)) as answer:
                found[name] = answer.read()
        return found


def _install_swift(folder: Path) -> None:
    _run(sys.executable, "-m", "venv", folder / "venv")
    _run(folder / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", SWIFT)


def _install_memcached(folder: Path) -> None:
    """Unpack Debian's packages without installing them: nothing is started, and nothing stays on the machine."""
    _run("apt-get", "update", "--quiet")
    processes.run(["apt-get", "download", *MEMCACHED], folder=folder)
    for package in folder.glob("*.deb"):
        _run("dpkg", "-x", package, folder)


def _run(*words: str | Path) -> None:
    processes.run(list(words), env=os.environ)
