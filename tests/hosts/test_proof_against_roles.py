"""A second run of each role against one that keeps the same state task by task, as roles usually do: at most a third of the tasks, and of the time."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab import builds
from tests import labs
from tests.perf import rival
from tests.perf.figures import at_most, ratio, told
from tests.proof import Measured
from tests.quality.checkout import ROOT, environment

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet

OURS, THEIRS = "ours", "theirs"
ROUNDS = 3
A_THIRD = 0.33
ROLES = ("host_baseline", "postgres_server", "load_balancer", "object_store_server", "etcd_server", "firewall")


@dataclass
class Ended:
    """How a run went: its seconds, its tasks, and how many of them changed something.

    A task is one that was carried out: each item of a loop is one, and one that is skipped is none.
    """

    seconds: float
    tasks: int
    changed: int


@dataclass
class Contest:
    """Two hosts alike, one for each side; both sides run with the same Ansible, over connections that stay open."""

    fleet: Fleet
    folder: Path
    programs: Path

    def ours(self, role: str) -> Ended:
        play = {"name": "The role alone", "hosts": OURS, "gather_facts": False, "roles": [f"paas.hardening.{role}"]}
        # Members of etcd are those of a group.
        inventory = self._file("groups.yml", yaml.safe_dump({"all": {"children": {"etcd": {"hosts": {OURS: {}}}}}}))
        return self._play(self._file("ours.yml", yaml.safe_dump([play])), self._wishes(), "-i", str(inventory))

    def theirs(self, role: str) -> Ended:
        inventory = self._file("measured.yml", yaml.safe_dump({"all": {"children": {"measured": {"hosts": {THEIRS: {}}}}}}))
        return self._play(ROOT / f"tests/perf/task_by_task/{role}.yml", self._wishes(), "-i", str(inventory))

    def _wishes(self) -> Mapping[str, Any]:
        minio, etcd, ours = builds.binary("minio"), builds.binary("etcd"), self.fleet.host(OURS)
        rules = [{"name": "all", "from": ["anywhere"], "ports": [80, 443, 2222, 2379, 5432, 9000]}]
        return {
            # ours
            "firewall_administrators": [ours.addresses.host],
            "firewall_rules": rules,
            "postgres_server_data_disk": "/dev/vdb",
            "postgres_server_access": [{"database": "app", "role": "app", "network": f"{ours.addresses.host}/32"}],
            "postgres_server_roles": [{"name": "app", "password": self.secret}],
            "postgres_server_databases": [{"name": "app", "owner": "app", "extensions": ["pgcrypto"]}],
            "postgres_server_settings": {"shared_buffers": "64MB"},
            "load_balancer_backends": [f"{ours.addresses.host}"],
            "load_balancer_virtual_addresses": [f"{ours.address.rpartition('.')[0]}.239/24"],
            "load_balancer_verify": False,
            "load_balancer_verify_from_controller": False,
            "object_store_server_binary": str(minio),
            "object_store_server_binary_sha256": hashlib.sha256(minio.read_bytes()).hexdigest(),
            "object_store_server_data_disks": ["/dev/vdc"],
            "object_store_server_root_access_key": "store-root",
            "object_store_server_root_secret_key": self.secret,
            "etcd_server_binary": str(etcd),
            "etcd_server_binary_sha256": hashlib.sha256(etcd.read_bytes()).hexdigest(),
            "etcd_server_clients": ["app"],
            "etcd_server_authentication": True,
            "etcd_server_root_password": self.secret,
            "etcd_server_users": [{"name": "app", "prefix": "/app/"}],
            "etcd_server_disk_latency": 60000,
            "host_baseline_time_servers": [ours.addresses.host],
            # theirs
            "app_password": self.secret,
            "virtual_address": f"{ours.address.rpartition('.')[0]}.238/24",
            "data_disk": "/dev/vdc",
            "minio_program": str(minio),
            "etcd_program": str(etcd),
            "etcdctl_program": str(builds.binary("etcdctl")),
            "root_secret": self.secret,
            "administrators": ours.addresses.host,
            "ports": [80, 443, 2222, 2379, 5432, 9000],
        }

    @property
    def secret(self) -> str:
        path = self.folder / "secret"
        if not path.exists():
            path.touch(0o600)
            path.write_text(secrets.token_hex(20))
        return path.read_text()

    def _file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text)
        return path

    def _play(self, playbook: Path, variables: Mapping[str, Any], *arguments: str) -> Ended:
        extra = self._file("variables.json", json.dumps(dict(variables)))
        words = [str(self.programs / "ansible-playbook"), str(playbook), "-i", str(self.fleet.inventory), *arguments, "-e", f"@{extra}"]
        places = {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"), "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"), "ANSIBLE_NOCOLOR": "1"}
        begun = time.monotonic()
        done = subprocess.run(words, cwd=self.folder, env=environment(ROOT, places), capture_output=True, text=True, check=False, timeout=600)
        seconds = time.monotonic() - begun
        assert done.returncode == 0, done.stdout + done.stderr
        changed = re.findall(r"changed=(\d+)", done.stdout.rpartition("PLAY RECAP")[2])
        return Ended(seconds, len(re.findall(r"^(?:ok|changed): \[", done.stdout, re.MULTILINE)), sum(map(int, changed)))


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Contest]:
    with labs.hosts([OURS, THEIRS], disks=2, report=report, purpose="race") as fleet:
        # Ours does that itself where a package is missing.
        fleet.host(THEIRS).run("apt-get update -qq", seconds=300)
        yield Contest(fleet, tmp_path_factory.mktemp("race"), rival.programs(report))


@pytest.mark.parametrize("role", ROLES)
def test_a_second_run_takes_a_third_of_the_tasks_and_of_the_time(contest: Contest, role: str, measured: Measured) -> None:
    contest.ours(role)
    contest.theirs(role)
    fast, slow = [], []
    for number in range(ROUNDS):
        for side, runs in ((contest.ours, fast), (contest.theirs, slow))[:: -1 if number % 2 else 1]:
            runs.append(side(role))
    assert {run.changed for run in fast} == {0}
    assert {run.changed for run in slow} == {0}, "a second run changed something, so the two do not keep the same"
    seconds = [[run.seconds for run in runs] for runs in (fast, slow)]
    measured(
        at_most(f"{role}: tasks of the second run, ours / task by task", fast[0].tasks / slow[0].tasks, "times", A_THIRD, f"{fast[0].tasks} / {slow[0].tasks}"),
        at_most(f"{role}: time of the second run, ours / task by task", 1 / ratio(seconds[1], seconds[0]), "times", A_THIRD),
        told(f"{role}: second run", statistics.median(seconds[0]), "s"),
        told(f"{role}: second run, task by task", statistics.median(seconds[1]), "s"),
    )
