"""Two real hosts, made by the roles: a PostgreSQL, and a MinIO by TLS, with an authority of its own, in whose bucket the server's log and backups are."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab import builds
from lab.image.lab import s3
from tests.backup.archive_site import Archive
from tests.contract.playbook import Run
from tests.hosts.object_store_site import OURS, PORT

if TYPE_CHECKING:
    from lab.hosts.host import Host

BUCKET, WRITER, KEYS, AUTHORITY = "log", "log-writer", "/etc/paas/store-keys", "/etc/store-authority.crt"
# The repository's folder in the bucket.
FOLDER = "servers/db"


@dataclass
class Bucketed(Archive):
    """The hosts, plays on them, and the secrets of this run."""

    secret: str = field(default_factory=lambda: secrets.token_hex(20))
    root_secret: str = field(default_factory=lambda: secrets.token_hex(20))

    @property
    def store(self) -> Host:
        return self.fleet.host("s3")

    def have_the_store(self) -> None:
        """Make the store by its role, and bring its authority and the keys of one identity to the server."""
        program = builds.binary("minio")
        own = {
            "binary": str(program),
            "binary_sha256": hashlib.sha256(program.read_bytes()).hexdigest(),
            "root_access_key": "store-root",
            "root_secret_key": self.root_secret,
            # Beside it there is one that the identity has no right to.
            "buckets": [{"name": BUCKET}, {"name": "others"}],
            "identities": [{"access_key": WRITER, "secret_key": self.secret, "buckets": [BUCKET]}],
            # The lab's disk is shared.
            "capacity_warning": 99,
            "verify": False,
        }
        given = {f"object_store_server_{name}": value for name, value in own.items()}
        self._play([{"hosts": "s3", "gather_facts": False, "vars": given, "roles": ["paas.hardening.object_store_server"]}]).ok()
        self.host.run(f"cat > {AUTHORITY}; chmod 644 {AUTHORITY}", stdin=self.store.run(f"cat {OURS}/ca.crt"))
        self.host.run(f"umask 077; cat > {KEYS}", stdin=f"{WRITER}\n{self.secret}\n")

    def in_the_bucket(self, *arguments: str, **changed: Any) -> Run:
        """Have the server and its archive, by the roles, in the bucket."""
        bucket = {"endpoint": "s3", "port": PORT, "bucket": BUCKET, "key_file": KEYS, "ca_file": AUTHORITY, **changed}
        return self.roles(*arguments, postgres_archive_s3=bucket, postgres_archive_path=f"/{FOLDER}")

    def client(self) -> s3.Store:
        """The store's root, by a client that has nothing in common with pgBackRest."""
        authority = self.folder / "store.crt"
        authority.write_text(self.store.run(f"cat {OURS}/ca.crt"))
        return s3.Store(f"https://{self.store.address}:{PORT}", "store-root", self.root_secret, trust=s3.trust(str(authority)))

    def listed(self, below: str = "") -> list[str]:
        return sorted(entry.key for entry in self.client().entries(BUCKET, f"{FOLDER}/{below}"))

    def get(self, key: str) -> bytes:
        answer = self.client().send("GET", f"/{BUCKET}/{key}")
        assert answer.status == 200, (key, answer.status)
        return answer.body

    def put(self, key: str, content: bytes) -> None:
        assert self.client().send("PUT", f"/{BUCKET}/{key}", content).status == 200

    def delete(self, key: str) -> None:
        assert self.client().send("DELETE", f"/{BUCKET}/{key}").status == 204
