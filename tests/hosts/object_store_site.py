"""Two S3 servers on real hosts, MinIO on two disks and the Versity gateway on one, as an inventory has them; and what clients of others see of them."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lab import builds
from lab.image.lab import s3
from tests.contract.playbook import Run, run_playbook
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.hosts.host import Host

# MinIO on Debian 12, Versity on Debian 13; each host is a client of the other's store.
HOSTS = {"s3a": "minio", "s3b": "versity"}
PROGRAMS = {"minio": "minio", "versity": "versitygw"}
OTHER = {"s3a": "s3b", "s3b": "s3a"}
STORE, REACH = "Have the store", "Look from every host at the stores, without credentials"
OURS = "/etc/paas-hardening/object-store"
IDENTITIES = {"registry": (["registry"], "write"), "backup": (["backups"], "write"), "auditor": (["backups", "registry"], "read")}
PORT = 9000


@dataclass
class Stores:
    """The hosts, the playbook for them, and the secrets of this run."""

    fleet: Fleet
    folder: Path
    secrets: Mapping[str, str] = field(default_factory=lambda: {name: secrets.token_hex(20) for name in ("root", *IDENTITIES)})

    @property
    def hosts(self) -> dict[str, Host]:
        return {name: self.fleet.host(name) for name in HOSTS}

    def run(self, *arguments: str, **variables: Any) -> Run:
        """Run the part of hosts.yml that is about object stores, with variables above those of the inventory."""
        inventory = self.folder / "groups.yml"
        groups = {backend: {"hosts": {name: {}}, "vars": self._own(backend)} for name, backend in HOSTS.items()}
        inventory.write_text(yaml.safe_dump({"all": {"children": {"object_store": {"children": groups}}}}))
        inventory.chmod(0o600)
        return run_playbook(
            self.folder,
            ROOT / "playbooks/hosts.yml",
            *("-i", str(self.fleet.inventory), "-i", str(inventory), *(arguments if "--tags" in arguments else ("--tags", "object_store", *arguments))),
            variables=variables,
            more={"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")},
        )

    def _own(self, backend: str) -> dict[str, Any]:
        program = builds.binary(PROGRAMS[backend])
        own = {
            "backend": backend,
            "binary": str(program),
            "binary_sha256": hashlib.sha256(program.read_bytes()).hexdigest(),
            "data_disks": ["/dev/vdb", "/dev/vdc"] if backend == "minio" else ["/dev/vdb"],
            "root_access_key": "store-root",
            "root_secret_key": self.secrets["root"],
            "buckets": [{"name": "registry"}, {"name": "backups", "object_lock": True, "retention_days": 1}, {"name": "scratch", "versioning": False}],
            "identities": [
                {"access_key": name, "secret_key": self.secrets[name], "buckets": buckets, "rights": rights} for name, (buckets, rights) in IDENTITIES.items()
            ],
        }
        return {f"object_store_server_{name}": value for name, value in own.items()}

    def result(self, run: Run, host: str) -> Mapping[str, Any]:
        return run.result(STORE, host)

    def plans(self, run: Run, hosts: Sequence[str] = tuple(HOSTS)) -> dict[str, list[dict[str, Any]]]:
        """What was, or would be, changed on each host."""
        return {name: list(self.result(run, name)["plan"]) for name in hosts}

    def curl(self, store: str, *words: str, who: str = "", body: str = "", verify: bool = True) -> tuple[int, str]:
        """Ask a store by curl on the other host, with the authority that the role told, as an identity or as nobody. Return the HTTP status and what came."""
        client = self.hosts[OTHER[store]]
        client.run("cat > /tmp/authority.crt", stdin=self.hosts[store].run(f"cat {OURS}/ca.crt"))
        client.run("cat > /tmp/body", stdin=body)
        access = "store-root" if who == "root" else who
        config = f'user = "{access}:{self.secrets[who]}"\naws-sigv4 = "aws:amz:us-east-1:s3"\n' if who else ""
        # Older ones do not send it by themselves.
        config += 'header = "x-amz-content-sha256: UNSIGNED-PAYLOAD"\n' if who else ""
        trust = ["--cacert", "/tmp/authority.crt"] if verify else []
        given = [*words[:-1], f"https://{store}:{PORT}{words[-1]}" if words[-1].startswith("/") else words[-1]]
        command = shlex.join(["curl", "--silent", "--show-error", "--max-time", "10", *trust, "--write-out", "\n%{http_code}", "--config", "-", *given])
        said, _newline, status = client.run(f"{command} 2>&1 || true", stdin=config).rstrip("\n").rpartition("\n")
        return int(status) if status.isdigit() else 0, said

    def administer(self, store: str, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b"") -> int:
        """Do as root, by another client than the role's, what somebody might do by hand; the HTTP status."""
        ca = self.folder / f"{store}.crt"
        ca.write_text(self.hosts[store].run(f"cat {OURS}/ca.crt"))
        client = s3.Store(f"https://{self.hosts[store].address}:{PORT}", "store-root", self.secrets["root"], trust=s3.trust(str(ca)))
        return client.send(method, path, body, dict(query or {})).status

    def let_in(self, store: str, bucket: str) -> None:
        """Let everybody read a bucket."""
        statement = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}/*"]}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
        assert self.administer(store, "PUT", f"/{bucket}", {"policy": ""}, policy) in (200, 204)

    def set_versioning(self, store: str, bucket: str, status: str) -> None:
        text = f'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>{status}</Status></VersioningConfiguration>'
        assert self.administer(store, "PUT", f"/{bucket}", {"versioning": ""}, text.encode()) == 200

    def change_account(self, store: str, name: str, secret: str, administrator: bool) -> None:
        """Give an identity another secret and all rights, or make it."""
        if HOSTS[store] == "versity":
            role = "admin" if administrator else "user"
            there = f"<MutableProps><Secret>{secret}</Secret><Role>{role}</Role></MutableProps>".encode()
            if self.administer(store, "PATCH", "/update-user", {"access": name}, there) != 200:
                fresh = f"<Account><Access>{name}</Access><Secret>{secret}</Secret><Role>{role}</Role></Account>".encode()
                assert self.administer(store, "PATCH", "/create-user", {}, fresh) == 201
            return
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("iam-assets/users.json", json.dumps({name: {"secretKey": secret, "status": "enabled"}}))
            if administrator:
                archive.writestr("iam-assets/user_mappings.json", json.dumps({name: {"version": 1, "policy": "consoleAdmin"}}))
        assert self.administer(store, "PUT", "/minio/admin/v3/import-iam", {}, packed.getvalue()) == 200


def nothing(hosts: Sequence[str] = tuple(HOSTS)) -> dict[str, list[dict[str, Any]]]:
    return {name: [] for name in hosts}


def findings(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {finding["control"].removeprefix("host-object-store-"): finding for finding in result["findings"]}


def statuses(result: Mapping[str, Any]) -> set[str]:
    return {finding["status"] for finding in result["findings"]}


def told(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The object and the field of each change, in one line each."""
    return [f"{change['object']}: {change['field']}" for change in changes]
