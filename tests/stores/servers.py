"""Two real S3 servers of different makers on loopback, each in a folder of its own, with credentials of its own, ended by its number."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from lab import builds, processes
from lab.image.lab import s3

READY_SECONDS = 30.0
PART = 5 << 20


class ObjectServer(ABC):
    """A server on a free port of loopback. The kernel ends it when the test process dies, however that happens."""

    program = ""
    health = ""
    authority: Path | None = None
    "The certificate of who vouches for it, where it speaks TLS."

    def __init__(self, folder: Path, capacity: int | None = None) -> None:
        """``capacity`` bytes, if given, are all that it holds; its data then lie in memory and are gone with it."""
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.capacity = capacity
        self.access_key, self.secret_key = f"k{secrets.token_hex(8)}", secrets.token_hex(20)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The program and its arguments, without a secret."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """The variables that carry the secrets."""

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        words = [str(word) for word in self.command()]
        if self.capacity:
            mount = f'mount -t tmpfs -o size={self.capacity} tmpfs "$0" && exec "$@"'
            words = ["unshare", "--mount", "sh", "-c", mount, str(self.data), *words]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder), **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        assert processes.wait_until(self.answers, READY_SECONDS), f"{self.program} does not start:\n{(self.folder / 'log').read_text()[-2000:]}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Started, and ended at the end whatever happens."""
        try:
            self.start()
            yield self
        finally:
            self.end()

    def answers(self) -> bool:
        try:
            return self.client().ask(self.health) == 200
        except OSError:
            return False

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal and wait for its end."""
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def speak_tls(self) -> None:
        """From its next start on it speaks TLS, with a certificate that an authority of its own has signed."""
        self.authority = self.folder / "ca.crt"
        make = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2")
        here = {name: str(self.folder / name) for name in ("ca.crt", "ca.key", "public.crt", "private.key")}
        self._openssl(*make, "-subj", "/CN=authority", "-keyout", here["ca.key"], "-out", here["ca.crt"])
        signed = ("-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1", "-CA", here["ca.crt"], "-CAkey", here["ca.key"])
        self._openssl(*make, *signed, "-addext", "basicConstraints=critical,CA:false", "-keyout", here["private.key"], "-out", here["public.crt"])

    def _openssl(self, *words: str) -> None:
        processes.run(["openssl", *words])

    def client(self) -> s3.Store:
        """A client that has nothing in common with what is tested."""
        trust = s3.trust(str(self.authority)) if self.authority else None
        return s3.Store(self.endpoint, self.access_key, self.secret_key, trust=trust)

    def store(self, **changes: Any) -> Store:
        """The server as the collection sees it."""
        return Store(**{"provider": "s3", "endpoint": self.endpoint, "access_key": self.access_key, "secret_key": self.secret_key, **changes})

    def bucket(self, name: str, objects: Mapping[str, bytes] | None = None) -> None:
        """Make a bucket with these objects."""
        # A server that has just begun to answer may not be able to write yet.
        assert processes.wait_until(lambda: self.client().make_bucket(name) == 200, READY_SECONDS)
        for key, content in (objects or {}).items():
            self.put(name, key, content)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        answer = self.client().send("PUT", f"/{bucket}/{key}", content)
        assert answer.status == 200, f"{key!r}: {answer.status} {answer.body[:300]!r}"

    def put_in_parts(self, bucket: str, key: str, content: bytes) -> None:
        """Write an object whose ETag is not its MD5."""
        client, path = self.client(), f"/{bucket}/{key}"
        begun = client.send("POST", path, query={"uploads": ""})
        upload = begun.body.partition(b"<UploadId>")[2].partition(b"</UploadId>")[0].decode()
        parts = []
        for number, start in enumerate(range(0, len(content), PART), start=1):
            answer = client.send("PUT", path, content[start : start + PART], {"partNumber": str(number), "uploadId": upload})
            etag = next(value for name, value in answer.headers.items() if name.lower() == "etag")
            parts.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        body = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>"
        assert client.send("POST", path, body.encode(), {"uploadId": upload}).status == 200

    def get(self, bucket: str, key: str) -> bytes:
        return read(self.client(), bucket, key)

    def keys(self, bucket: str) -> list[str]:
        return sorted(entry.key for entry in self.client().entries(bucket))

    def delete(self, bucket: str, key: str) -> None:
        assert self.client().send("DELETE", f"/{bucket}/{key}").status == 204

    def contents(self, bucket: str) -> dict[str, bytes]:
        """Every object, read by the other client, made once: it reads all certificates that the system trusts."""
        client = self.client()
        return {entry.key: read(client, bucket, entry.key) for entry in client.entries(bucket)}


def read(client: s3.Store, bucket: str, key: str) -> bytes:
    """One object."""
    answer = client.send("GET", f"/{bucket}/{key}")
    assert answer.status == 200, f"{key!r}: {answer.status}"
    return answer.body


class Minio(ObjectServer):
    """The server that the platforms bring with them."""

    program, health = "minio", "/minio/health/ready"

    def command(self) -> Sequence[str | Path]:
        tls = ["--certs-dir", self.folder] if self.authority else []
        return [builds.binary("minio"), "server", "--quiet", *tls, "--address", f"127.0.0.1:{self.port}", self.data]

    def environment(self) -> Mapping[str, str]:
        return {"MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key, "MINIO_UPDATE": "off", "MINIO_CALLHOME_ENABLE": "off"}


class Gateway(ObjectServer):
    """Versity's gateway: an object is a file in a folder."""

    program, health = "versitygw", "/health"

    def __init__(self, folder: Path, capacity: int | None = None, versions: bool = False) -> None:
        """``versions``: buckets can keep what is overwritten."""
        super().__init__(folder, capacity)
        self.versions = versions
        for name in ("accounts", "attributes", "versions"):
            (folder / name).mkdir()

    def command(self) -> Sequence[str | Path]:
        words: list[str | Path] = [builds.binary("versitygw"), "--port", f"127.0.0.1:{self.port}", "--health", self.health]
        words += ["--iam-dir", self.folder / "accounts", "--iam-cache-disable"]
        if self.authority:
            words += ["--cert", self.folder / "public.crt", "--key", self.folder / "private.key"]
        kept = ["--versioning-dir", self.folder / "versions"] if self.versions else []
        return [*words, "--quiet", "posix", "--sidecar", self.folder / "attributes", *kept, self.data]

    def environment(self) -> Mapping[str, str]:
        return {"ROOT_ACCESS_KEY_ID": self.access_key, "ROOT_SECRET_ACCESS_KEY": self.secret_key}

    def add_user(self) -> tuple[str, str]:
        """Make a user without any right; return access key and secret."""
        access_key, secret_key = f"u{secrets.token_hex(8)}", secrets.token_hex(20)
        body = f"<Account><Access>{access_key}</Access><Secret>{secret_key}</Secret><Role>user</Role></Account>"
        assert self.client().send("PATCH", "/create-user", body.encode()).status == 201
        return access_key, secret_key

    def allow(self, bucket: str, access_key: str, *actions: str) -> None:
        """Give a user these rights in a bucket and in its objects, in place of those that were given before."""
        resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        statements = [
            {"Effect": "Allow", "Principal": {"AWS": [access_key]}, "Action": [action], "Resource": resources[:1] if "Bucket" in action else resources[1:]}
            for action in actions
        ]
        answer = self.client().send("PUT", f"/{bucket}", json.dumps({"Version": "2012-10-17", "Statement": statements}).encode(), {"policy": ""})
        assert answer.status in (200, 204), answer.body


def children(pid: int) -> set[int]:
    """The children of all threads of a process."""
    found: set[int] = set()
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(int(word) for word in thread.read_text().split())
    return found


def rclones(verb: str = "") -> list[int]:
    """Every rclone of this process, or those that do this."""
    found = []
    for pid in children(os.getpid()):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if processes.program(pid) == "rclone" and (not verb or verb.encode() in words):
                found.append(pid)
    return found


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
