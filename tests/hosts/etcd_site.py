"""Three hosts for etcd, one member each, as an inventory has them; and the cluster seen by etcd's own client, run where the tests are."""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lab import builds
from tests.contract.playbook import Run, run_playbook
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.hosts.host import Host

# Debian 12, 12 and 13; and one of each by itself, with the distribution's own program.
HOSTS = ("e1", "e2", "e3")
PACKAGED = ("e4", "e5")
GROUND, MEMBER, CLUSTER, REACH = "Have what a member needs", "Have the member", "Have the cluster", "Look from every host at the members, without a certificate"
OURS, DATA = "/etc/paas-hardening/etcd", "/srv/etcd/data"
UNIT = "etcd-member.service"


@dataclass
class Members:
    """The hosts, the playbook for them, and the secret of this run. ``more`` are variables of the group."""

    fleet: Fleet
    folder: Path
    password: str = field(default_factory=lambda: secrets.token_hex(20))
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def hosts(self) -> dict[str, Host]:
        return {name: self.fleet.host(name) for name in HOSTS}

    def run(self, *arguments: str, members: Sequence[str] = HOSTS, **variables: Any) -> Run:
        """Run the part of hosts.yml that is about etcd, with these hosts in the group, and variables above those of the inventory."""
        inventory = self.folder / "groups.yml"
        own = {**self._own(), **{f"etcd_server_{name}": value for name, value in self.more.items()}}
        inventory.write_text(yaml.safe_dump({"all": {"children": {"etcd": {"hosts": {name: {} for name in members}, "vars": own}}}}))
        inventory.chmod(0o600)
        return run_playbook(
            self.folder,
            ROOT / "playbooks/hosts.yml",
            *("-i", str(self.fleet.inventory), "-i", str(inventory), "--tags", "etcd", *arguments),
            variables={f"etcd_server_{name}": value for name, value in variables.items()},
            more={"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")},
        )

    def _own(self) -> dict[str, Any]:
        program = builds.binary("etcd")
        own = {
            "binary": str(program),
            "binary_sha256": hashlib.sha256(program.read_bytes()).hexdigest(),
            "data_disk": "/dev/vdb",
            "clients": ["writer", "reader"],
            # The machine is noisy, and its disks are shared.
            "heartbeat_interval": 500,
            "election_timeout": 5000,
            "disk_latency": 60000,
            "quota_backend_bytes": 1 << 26,
        }
        return {f"etcd_server_{name}": value for name, value in own.items()}

    def plans(self, run: Run, hosts: Sequence[str] = HOSTS) -> dict[str, list[dict[str, Any]]]:
        """What was, or would be, changed on each host, in all steps."""
        return {name: [change for result in self.results(run, name) for change in result["plan"]] for name in hosts}

    def results(self, run: Run, host: str) -> list[Mapping[str, Any]]:
        found = [run.result(GROUND, host), run.result(MEMBER, host)]
        return [*found, run.result(CLUSTER, host)] if host in (HOSTS[0], *PACKAGED) else found

    def findings(self, run: Run, host: str) -> dict[str, Mapping[str, Any]]:
        return {finding["control"].removeprefix("host-etcd-"): finding for result in self.results(run, host) for finding in result["findings"]}

    def statuses(self, run: Run, hosts: Sequence[str] = HOSTS) -> dict[str, set[str]]:
        return {name: {finding["status"] for finding in self.findings(run, name).values()} for name in hosts}

    def said(self, run: Run, host: str) -> str:
        return " ".join(reason for finding in self.findings(run, host).values() for reason in finding["reasons"])

    # The cluster, by etcd's own client.

    def client_files(self, client: str = "writer", host: str = "e1") -> list[str]:
        """Bring a client's certificate here, as one brings it to where it is used, with what it trusts."""
        folder = self.folder / f"{client}-{host}"
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, path in (("crt", f"{OURS}/clients/{client}.crt"), ("key", f"{OURS}/clients/{client}.key"), ("ca", f"{OURS}/trust.crt")):
            (folder / name).write_text(self.fleet.host(host).run(f"cat {path}"))
            (folder / name).chmod(0o600)
        return [f"--cacert={folder}/ca", f"--cert={folder}/crt", f"--key={folder}/key"]

    def endpoints(self, hosts: Sequence[str] = HOSTS) -> str:
        return ",".join(f"https://{self.fleet.host(name).address}:2379" for name in hosts)

    def etcdctl(self, *words: str, hosts: Sequence[str] = HOSTS, files: Sequence[str] = (), root: bool = False, stdin: str = "") -> tuple[int, str]:
        """Ask the cluster; the status and what was said."""
        login = {"ETCDCTL_USER": "root", "ETCDCTL_PASSWORD": self.password} if root else {}
        command = [str(builds.binary("etcdctl")), f"--endpoints={self.endpoints(hosts)}", "--dial-timeout=5s", "--command-timeout=20s"]
        done = subprocess.run(
            [*command, *(files or self.client_files()), *words],
            input=stdin,
            env={"PATH": "/usr/bin:/bin", **login},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def members(self, **options: Any) -> list[dict[str, Any]]:
        """The members as the cluster knows them."""
        status, said = self.etcdctl("member", "list", "--write-out=json", **options)
        assert status == 0, said
        found: list[dict[str, Any]] = json.loads(said)["members"]
        return sorted(found, key=lambda member: str(member.get("name", "")))


class Writer:
    """Writes one key after the other, and remembers which of them the cluster has acknowledged."""

    def __init__(self, site: Members, hosts: Sequence[str]) -> None:
        self._files = site.client_files()
        self._site, self._hosts = site, hosts
        # What an earlier writer has left says nothing of this one.
        self._prefix = f"/writer/{secrets.token_hex(4)}/"
        self.acknowledged: list[int] = []
        self.longest = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_ended: object) -> None:
        self._end.set()
        self._thread.join()

    def _write(self) -> None:
        number, last = 0, time.monotonic()
        while not self._end.is_set():
            number += 1
            status, _said = self._site.etcdctl("put", f"{self._prefix}{number:06d}", str(number), hosts=self._hosts, files=self._files)
            if status == 0:
                self.acknowledged.append(number)
                self.longest = max(self.longest, time.monotonic() - last)
                last = time.monotonic()
            time.sleep(0.05)

    def lost(self, hosts: Sequence[str]) -> list[int]:
        """Acknowledged writes that are not there."""
        status, said = self._site.etcdctl("get", self._prefix, "--prefix", "--keys-only", hosts=hosts, files=self._files)
        assert status == 0, said
        there = {int(line.rpartition("/")[2]) for line in said.splitlines() if line}
        return [number for number in self.acknowledged if number not in there]


def nothing(hosts: Sequence[str] = HOSTS) -> dict[str, list[dict[str, Any]]]:
    return {name: [] for name in hosts}


def told(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The object and the field of each change, in one line each."""
    return [f"{change['object']}: {change['field']}" for change in changes]
