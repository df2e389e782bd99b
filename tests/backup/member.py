"""A real etcd on loopback with TLS on both sides, in a folder of its own, ended by its number."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.member import Access, Member
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import Programs
from lab import builds, processes

# etcd's own advice.
BUMP = 1_000_000_000
READY_SECONDS = 60.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _number in range(count)]
        return [int(server.getsockname()[1]) for server in found]


class Etcd:
    """One member. ``peers`` has the peer URLs by name when it belongs to several."""

    def __init__(self, folder: Path, name: str = "default", peers: Mapping[str, str] | None = None, quota: int = 0) -> None:
        folder.mkdir(parents=True)
        self.folder, self.name, self.quota = folder, name, quota
        (port,) = free_ports(1)
        self.peers = peers or {name: f"http://127.0.0.1:{free_ports(1)[0]}"}
        self.endpoint = f"https://127.0.0.1:{port}"
        self.programs = builds.binary("etcd").parent
        self.process: subprocess.Popen[bytes] | None = None
        make = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2")
        self._openssl(*make, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt")
        for file, names in (("server", ("-addext", "subjectAltName=IP:127.0.0.1")), ("client", ())):
            signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:false")
            self._openssl(*make, "-subj", f"/CN={file}", *names, *signed, "-keyout", f"{file}.key", "-out", f"{file}.crt")

    def _openssl(self, *words: str) -> None:
        processes.run(["openssl", *words], folder=self.folder)

    def start(self) -> None:
        """Start it; ``wait`` waits until it answers."""
        command = [
            self.programs / "etcd",
            f"--name={self.name}",
            f"--data-dir={self.folder / 'data'}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={self.peers[self.name]}",
            f"--initial-advertise-peer-urls={self.peers[self.name]}",
            f"--initial-cluster={','.join(f'{name}={url}' for name, url in self.peers.items())}",
            f"--cert-file={self.folder / 'server.crt'}",
            f"--key-file={self.folder / 'server.key'}",
            f"--trusted-ca-file={self.folder / 'ca.crt'}",
            "--client-cert-auth",
            "--unsafe-no-fsync",
            "--log-level=error",
            *([f"--quota-backend-bytes={self.quota}"] if self.quota else []),
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )

    def wait(self) -> None:
        assert processes.wait_until(self.answers, READY_SECONDS, pause=0.2), (self.folder / "log").read_text()[-2000:]

    def answers(self) -> bool:
        return self.ctl("endpoint", "health", check=False).returncode == 0

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Started and answering, and ended at the end whatever happens."""
        try:
            self.start()
            self.wait()
            yield self
        finally:
            self.end()

    def end(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ctl(self, *words: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Ask it by etcdctl."""
        flags = [f"--endpoints={self.endpoint}", "--dial-timeout=2s", *(f"--{name}={path}" for name, path in self.files("cacert", "cert", "key").items())]
        done = subprocess.run([self.programs / "etcdctl", *flags, *words], capture_output=True, text=True, check=False, input=stdin)
        assert not check or done.returncode == 0, done.stderr
        return done

    def files(self, *names: str) -> dict[str, str]:
        """The client's files of TLS under the given names: the authority's, the certificate, its key."""
        return dict(zip(names, (str(self.folder / file) for file in ("ca.crt", "client.crt", "client.key")), strict=True))

    def put(self, **values: str) -> None:
        for key, value in values.items():
            self.ctl("put", "--", key, value)

    def fill(self, count: int, size: int, prefix: str = "/registry/secrets/default/") -> None:
        """Write so many keys, many in one transaction."""
        for begin in range(0, count, 100):
            puts = "".join(f"put {prefix}{number:06d} {os.urandom(size // 2).hex()}\n" for number in range(begin, min(count, begin + 100)))
            self.ctl("txn", stdin=f"\n{puts}\n\n")

    def revision(self) -> int:
        (status,) = json.loads(self.ctl("endpoint", "status", "--write-out=json").stdout)
        return int(status["Status"]["header"]["revision"])

    def options(self, *others: Etcd, **changed: Any) -> dict[str, Any]:
        """The option ``etcd`` of the module."""
        endpoints = [self.endpoint, *(other.endpoint for other in others)]
        found: dict[str, Any] = {"endpoints": endpoints, "programs": str(self.programs), "timeout": 120, **self.files("ca_file", "client_cert", "client_key")}
        return {**found, **changed}


def cluster(folder: Path, count: int) -> Sequence[Etcd]:
    """Members of one cluster that trust one authority, not started."""
    peers = {f"m{number}": f"http://127.0.0.1:{port}" for number, port in enumerate(free_ports(count))}
    members = [Etcd(folder / name, name, peers) for name in peers]
    for member in members[1:]:
        for file in ("ca.crt", "ca.key", "server.crt", "server.key", "client.crt", "client.key"):
            (member.folder / file).write_bytes((members[0].folder / file).read_bytes())
    return members


def member_of(etcd: Etcd, programs: Programs) -> Member:
    access = Access((etcd.endpoint,), **etcd.files("ca_file", "client_cert", "client_key"))
    return Member(programs, etcd.endpoint, access.flags())


def left_running(folder: Path) -> list[str]:
    """Commands of processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in os.readlink(entry / "cwd"):
                found.append((entry / "cmdline").read_bytes().decode())
        except OSError:
            continue
    return found
