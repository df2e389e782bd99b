"""The store outside: a second, independent S3 server (Versity's gateway on a folder), in plain text and behind TLS."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import builds, paths
from lab.errors import LabError
from lab.image.lab import s3
from lab.progress import Report
from lab.servers import Server, daemon

PORT, TLS_PORT = 9000, 443
READ = ("s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation")
WRITE = (*READ, "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts")


@dataclass(frozen=True)
class Account:
    """A user of the store. Its secret is not shown."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"Account({self.access_key})"


class ObjectStore(Server):
    """The store of a lab.

    ``region`` is what requests must be signed for; ``capacity`` bytes, if given, are all that it holds: the data then lie in memory, outlive ``kill`` and
    ``stop``, but not ``down``.
    """

    name = "store"

    def __init__(self, lab: str, region: str = "us-east-1", capacity: int | None = None) -> None:
        super().__init__(lab)
        self.region = region
        self.capacity = capacity

    @property
    def endpoint(self) -> str:
        """Its URL without TLS."""
        return f"http://{self.address}:{PORT}"

    @property
    def tls_endpoint(self) -> str:
        """Its URL behind TLS, by address; within the cluster it also has Amazon's names."""
        return f"https://{self.address}"

    @property
    def amazon_endpoint(self) -> str:
        """The URL that software derives from the region. The cluster's DNS knows the name; the authority of the lab vouches for it."""
        return f"https://{s3.amazon_host(self.region)}"

    @property
    def root(self) -> Account:
        """Who may do everything."""
        return Account(self.credentials["access_key"], self.credentials["secret_key"])

    def _prepare(self, report: Report) -> list[dict[str, Any]]:
        program = builds.binary("versitygw", report)
        for name in ("buckets", "versions", "accounts"):
            paths.private_folder(self.folder / name)
        known = paths.read_json(self.credentials_file) or {"access_key": secrets.token_hex(10), "secret_key": secrets.token_hex(20)}
        facts = {"endpoint": self.endpoint, "tls_endpoint": self.tls_endpoint, "region": self.region, "ca_file": str(self.ca_file)}
        paths.write_json(self.credentials_file, {**known, **facts})
        domain = f"s3.{self.region}.amazonaws.com"
        hosts = [form for host in ("s3.amazonaws.com", domain) for form in (host, f"*.{host}")]
        certificate, key = self.layout.authority.ensure_server(f"{self.name}-{self.region}", [f"IP:{self.address}", *(f"DNS:{host}" for host in hosts)])
        environment = {"ROOT_ACCESS_KEY_ID": known["access_key"], "ROOT_SECRET_ACCESS_KEY": known["secret_key"]}
        # two processes on one folder: neither may remember an account that the other has changed
        words: list[str | Path] = [
            program,
            "--region",
            self.region,
            "--iam-dir",
            self.folder / "accounts",
            "--iam-cache-disable",
            "--health",
            "/health",
            "--quiet",
        ]
        where: list[str | Path] = ["posix", "--versioning-dir", self.folder / "versions", self.folder / "buckets"]
        return [
            daemon("plain", [*words, "--port", f"{self.address}:{PORT}", *where], environment),
            daemon(
                "tls", [*words, "--port", f"{self.address}:{TLS_PORT}", "--cert", certificate, "--key", key, "--virtual-domain", domain, *where], environment
            ),
        ]

    def _plan(self) -> dict[str, Any]:
        return {"in_memory": {str(self.folder / "buckets"): self.capacity}} if self.capacity else {}

    def ready(self) -> bool:
        """Whether it answers on both ports."""
        trust = s3.trust(str(self.ca_file))
        try:
            return all(s3.Store(url, "", "", trust=trust).ask("/health") == 200 for url in (self.endpoint, self.tls_endpoint))
        except OSError:
            return False

    # Buckets and users

    def client(self, account: Account | None = None, tls: bool = False) -> s3.Store:
        """A client of the store, as its root or as another account."""
        who = account or self.root
        url = self.tls_endpoint if tls else self.endpoint
        return s3.Store(url, who.access_key, who.secret_key, self.region, s3.trust(str(self.ca_file)))

    def make_bucket(self, *buckets: str) -> None:
        """Make buckets that are not there yet. Raises LabError."""
        for bucket in buckets:
            self._done(self.client().make_bucket(bucket), f"bucket {bucket}", 200, 409)

    def add_user(self, rights: Mapping[str, Sequence[str]] | None = None) -> Account:
        """Make a user with no right but those given, per bucket (READ, WRITE, or actions of one's own). Raises LabError."""
        account = Account(f"u{secrets.token_hex(8)}", secrets.token_hex(20))
        body = f"<Account><Access>{account.access_key}</Access><Secret>{account.secret_key}</Secret><Role>user</Role></Account>"
        self._done(self.client().send("PATCH", "/create-user", body.encode()).status, "user", 201)
        for bucket, actions in (rights or {}).items():
            self.allow(bucket, account, actions)
        return account

    def remove_user(self, account: Account) -> None:
        """Revoke an account: from now on the store does not know it. Raises LabError."""
        self._done(self.client().send("PATCH", "/delete-user", query={"access": account.access_key}).status, "user", 200)

    def allow(self, bucket: str, account: Account, actions: Sequence[str]) -> None:
        """Give an account these rights in a bucket in place of those that it had there; none takes them all. Raises LabError."""
        client = self.client()
        kept = client.send("GET", f"/{bucket}", query={"policy": ""})
        statements = json.loads(kept.body)["Statement"] if kept.status == 200 else []
        statements = [entry for entry in statements if entry.get("Sid") != account.access_key]
        if actions:
            statements.append(
                {
                    "Sid": account.access_key,
                    "Effect": "Allow",
                    "Principal": {"AWS": [account.access_key]},
                    "Action": list(actions),
                    "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                }
            )
        if statements:
            policy = json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()
            self._done(client.send("PUT", f"/{bucket}", policy, {"policy": ""}).status, f"policy of {bucket}", 200, 204)
        else:
            self._done(client.send("DELETE", f"/{bucket}", query={"policy": ""}).status, f"policy of {bucket}", 200, 204)

    def export(self, folder: Path, account: Account, **more: str) -> Path:
        """Write an account's keys as one file each (accesskey, secretkey and what else is given), as a mounted Secret shows them; the folder."""
        paths.private_folder(folder)
        for name, text in {"accesskey": account.access_key, "secretkey": account.secret_key, **more}.items():
            paths.write(folder / name, text)
        return folder

    def _done(self, status: int, what: str, *good: int) -> None:
        if status not in good:
            raise LabError(f"the store did not take {what}: {status}", self.machine.log("plain"))
