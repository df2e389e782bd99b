"""One S3 store over four real hosts of Debian 12: predicted, done, done once; it lives without a host, heals what comes back, and keeps its size.

The tests tell one story, in this order.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab import builds
from lab.image.lab import s3
from tests import labs
from tests.contract.playbook import Run, run_playbook
from tests.hosts.conftest import show_xfs
from tests.perf import figures
from tests.proof import Measured
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.hosts.host import Host

HOSTS = ("p1", "p2", "p3", "p4")
STEPS = ("Have what a member of the pool needs", "Have the members begin", "Have the pool as one")
OURS, UNIT, PORT = "/etc/paas-hardening/object-store", "object-store.service", 9000
LOOK = f"ls -lAR /etc/systemd/system {OURS} /srv /usr/local/lib 2>&1; getent passwd object-store; blkid -p /dev/vdb; true"


@dataclass
class Pool:
    """The hosts, the playbook for them, and the secrets of this run."""

    fleet: Fleet
    folder: Path
    secrets: Mapping[str, str] = field(default_factory=lambda: {name: secrets.token_hex(20) for name in ("root", "app")})

    def host(self, name: str) -> Host:
        return self.fleet.host(name)

    def run(self, *arguments: str, members: Sequence[str] = HOSTS, **variables: Any) -> Run:
        """Run the part of hosts.yml that is about object stores, with these hosts in the group, and variables above those of the inventory."""
        program = builds.binary("minio")
        own = {
            "spread": True,
            "binary": str(program),
            "binary_sha256": hashlib.sha256(program.read_bytes()).hexdigest(),
            "data_disks": ["/dev/vdb"],
            "root_access_key": "store-root",
            "root_secret_key": self.secrets["root"],
            "buckets": [{"name": "objects"}],
            "identities": [{"access_key": "app", "secret_key": self.secrets["app"], "buckets": ["objects"]}],
        }
        group = {"hosts": {name: {} for name in members}, "vars": {f"object_store_server_{name}": value for name, value in own.items()}}
        inventory = self.folder / "groups.yml"
        inventory.touch(0o600)
        inventory.write_text(yaml.safe_dump({"all": {"children": {"object_store": group}}}))
        return run_playbook(
            self.folder,
            ROOT / "playbooks/hosts.yml",
            *("-i", str(self.fleet.inventory), "-i", str(inventory), "--tags", "object_store", *arguments),
            variables={f"object_store_server_{name}": value for name, value in variables.items()},
            more={"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")},
        )

    def plans(self, run: Run, hosts: Sequence[str] = HOSTS) -> dict[str, list[Mapping[str, Any]]]:
        """What was, or would be, changed on each host, in all steps."""
        return {name: [change for step in STEPS for change in run.result(step, name)["plan"]] for name in hosts}

    def findings(self, run: Run, host: str) -> dict[str, Mapping[str, Any]]:
        return {finding["control"]: finding for step in STEPS for finding in run.result(step, host)["findings"]}

    def statuses(self, run: Run, hosts: Sequence[str] = HOSTS) -> set[str]:
        return {finding["status"] for name in hosts for finding in self.findings(run, name).values()}

    def said(self, run: Run, host: str) -> str:
        return " ".join(reason for finding in self.findings(run, host).values() for reason in finding["reasons"])

    def client(self, host: str) -> s3.Store:
        """The store as a client of one member sees it, whose certificate it verifies."""
        authority = self.folder / f"{host}.crt"
        if not authority.exists():
            authority.write_text(self.host(host).run(f"cat {OURS}/ca.crt"))
        return s3.Store(f"https://{self.host(host).address}:{PORT}", "app", self.secrets["app"], trust=s3.trust(str(authority)))

    def put(self, host: str, key: str, body: bytes) -> int:
        with tempfile.TemporaryFile() as file:
            file.write(body)
            return self.client(host).put("objects", key, file)

    def get(self, host: str, key: str) -> tuple[int, bytes]:
        body = io.BytesIO()
        status = self.client(host).get("objects", key, body)
        return status, body.getvalue()

    def parts(self, host: str) -> set[str]:
        """The keys of which a host's disk has a part."""
        found = self.host(host).run("cd /srv/objects/disk1/objects 2>/dev/null && find . -name xl.meta | sed 's,^./,,; s,/xl.meta$,,'; true")
        return set(found.split())

    def since(self, host: str) -> float:
        return float(self.host(host).run(f"systemctl show -p ExecMainStartTimestampMonotonic --value {UNIT}"))


NOTHING: dict[str, list[Mapping[str, Any]]] = {name: [] for name in HOSTS}


class Writer:
    """Writes one object after the other, through whichever member takes it, and remembers those that the store has acknowledged."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._prefix, self._end = pool, secrets.token_hex(4), threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.acknowledged: dict[str, bytes] = {}
        self.refused, self.longest = 0, 0.0

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_ended: object) -> None:
        self._end.set()
        self._thread.join()

    def _write(self) -> None:
        number = 0
        while not self._end.is_set():
            key, body = f"{self._prefix}/{number}", secrets.token_bytes(2048)
            begun = time.monotonic()
            if any(self._taken(host, key, body) for host in HOSTS):
                self.acknowledged[key] = body
            else:
                self.refused += 1
            self.longest = max(self.longest, time.monotonic() - begun)
            number += 1
            time.sleep(0.2)

    def _taken(self, host: str, key: str, body: bytes) -> bool:
        try:
            return self._pool.put(host, key, body) == 200
        except OSError:
            return False

    def await_more(self, count: int, seconds: float = 180) -> None:
        """Wait until so many further objects were acknowledged. Raises AssertionError when that takes too long."""
        wanted, deadline = len(self.acknowledged) + count, time.monotonic() + seconds
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.2)

    def told(self) -> str:
        return f"{len(self.acknowledged)} acknowledged, none lost; {self.refused} that no member took"

    def missing(self, host: str) -> list[str]:
        return [key for key, body in self.acknowledged.items() if self._pool.get(host, key) != (200, body)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Pool]:
    """Four bare hosts, each with an empty disk."""
    with labs.hosts(list(HOSTS), disks=1, report=report, purpose="pool") as fleet:
        made = Pool(fleet, tmp_path_factory.mktemp("pool"))
        for name in HOSTS:
            show_xfs(made.host(name))
        yield made


def test_an_audit_of_bare_hosts_tells_what_is_missing_and_touches_nothing(pool: Pool) -> None:
    before = {name: pool.host(name).run(LOOK) for name in HOSTS}
    run = pool.run(mode="audit").ok()
    found = {control.removeprefix("host-object-store-"): finding["status"] for control, finding in pool.findings(run, "p1").items()}
    assert {name: found[name] for name in ("server", "storage", "tls", "credentials", "buckets", "identities", "pool")} == {
        **dict.fromkeys(("server", "storage", "tls", "credentials", "buckets", "identities"), "would-fix"),
        "pool": "unknown",
    }
    assert {name: pool.host(name).run(LOOK) for name in HOSTS} == before


def test_what_check_mode_predicts_is_what_happens_and_it_happens_once(pool: Pool, measured: Measured) -> None:
    predicted = pool.run("--check", "--diff").ok()
    begun = time.monotonic()
    done = pool.run("--diff").ok()
    seconds = time.monotonic() - begun
    assert pool.plans(done) == pool.plans(predicted)
    begun = time.monotonic()
    again = pool.run().ok()
    measured(figures.told("a store over four hosts from nothing", seconds, "s"), figures.told("its second run", time.monotonic() - begun, "s"))
    assert pool.plans(again) == NOTHING
    assert "changed=1" not in again.output
    assert pool.statuses(again) == {"pass"}, again.output
    for run in (predicted, done, again):
        assert [name for name, secret in pool.secrets.items() if secret in run.output] == []


def test_each_member_gives_what_another_took(pool: Pool) -> None:
    body = secrets.token_bytes(1 << 20)
    assert pool.put("p1", "one", body) == 200
    assert {name: pool.get(name, "one") for name in HOSTS} == dict.fromkeys(HOSTS, (200, body))
    assert {name: "one" in pool.parts(name) for name in HOSTS} == dict.fromkeys(HOSTS, True)
    lines = {pool.host(name).run(f"tr '\\0' '\\n' < /proc/$(systemctl show -p MainPID --value {UNIT})/cmdline | grep ^https:") for name in HOSTS}
    assert lines == {"".join(f"https://{pool.host(name).address}:{PORT}/srv/objects/disk1\n" for name in HOSTS)}


def test_without_one_host_it_is_read_and_written_and_an_audit_names_the_host(pool: Pool, measured: Measured) -> None:
    left = [name for name in HOSTS if name != "p4"]
    with Writer(pool) as writer:
        writer.await_more(5)
        pool.host("p4").cut_power()
        writer.await_more(20)
    assert writer.missing("p2") == []
    measured(figures.told("longest write while a host of four dies", writer.longest, "s", writer.told()))
    audit = pool.run("--limit", ",".join(left), mode="audit").ok()
    for name in left:
        assert f"The member {pool.host('p4').address}:{PORT} is offline." in pool.said(audit, name), audit.output
    run = pool.run("--limit", ",".join(left)).ok()
    assert pool.plans(run, left) == {name: [] for name in left}
    pool.host("p4").start()
    pool.host("p4").await_ready()
    heal(pool, "p4", set(writer.acknowledged), measured, "what was written meanwhile, on a host that came back")
    assert pool.plans(pool.run().ok()) == NOTHING


def heal(pool: Pool, host: str, keys: set[str], measured: Measured, what: str) -> None:
    """Wait until a host's disk has a part of every one of these objects again; clients read them meanwhile."""
    begun = time.monotonic()
    while missing := keys - pool.parts(host):
        assert time.monotonic() < begun + 300, sorted(missing)[:5]
        for key in missing:
            pool.get("p1", key)
        time.sleep(1)
    measured(figures.told(f"healed: {what}", time.monotonic() - begun, "s", f"{len(keys)} objects"))


def test_a_host_that_lost_its_disk_gets_an_empty_one_and_is_healed(pool: Pool, measured: Measured) -> None:
    host, keys = pool.host("p3"), pool.parts("p1")
    host.run(f"systemctl stop {UNIT} && umount /srv/objects/disk1 && wipefs --all --quiet /dev/vdb")
    predicted = pool.run("--check").ok()
    done = pool.run().ok()
    assert pool.plans(done) == pool.plans(predicted)
    assert {change["object"].partition(" ")[0] for change in pool.plans(done)["p3"]} >= {"Disk", "Mount", "Unit"}
    assert {name: plan for name, plan in pool.plans(done).items() if name != "p3"} == {name: [] for name in HOSTS if name != "p3"}
    heal(pool, "p3", keys, measured, "all objects, on an empty disk")
    deadline = time.monotonic() + 180
    while pool.statuses(run := pool.run(mode="audit").ok()) != {"pass"}:
        assert time.monotonic() < deadline, run.output
        time.sleep(5)


def test_units_that_were_changed_are_restarted_one_after_the_other_and_no_write_is_lost(pool: Pool, measured: Measured) -> None:
    for name in HOSTS:
        pool.host(name).run(f"sed -i '/^ProtectSystem/d' /etc/systemd/system/{UNIT}; systemctl daemon-reload")
    before = {name: pool.since(name) for name in HOSTS}
    with Writer(pool) as writer:
        run = pool.run().ok()
    assert all(pool.since(name) > before[name] for name in HOSTS)
    for name in HOSTS:
        (change,) = run.result(STEPS[2], name)["plan"]
        assert (change["field"], change["before"]) == ("restarted", "runs with an older unit")
    assert (writer.refused, writer.missing("p4")) == (0, [])
    measured(figures.told("longest write while four hosts are restarted in turn", writer.longest, "s", writer.told()))
    assert pool.plans(pool.run().ok()) == NOTHING


def test_a_setting_that_members_compare_is_changed_on_all_at_once(pool: Pool) -> None:
    more = {"MINIO_API_REQUESTS_MAX": "200"}
    predicted, done = pool.run("--check", settings=more).ok(), pool.run(settings=more).ok()
    assert pool.plans(done) == pool.plans(predicted)
    for name in HOSTS:
        assert [change["field"] for change in done.result(STEPS[1], name)["plan"]] == ["MINIO_API_REQUESTS_MAX", "restarted"]
        assert done.result(STEPS[2], name)["plan"] == []
    assert pool.get("p4", "one")[0] == 200
    # On one alone it is mended in its turn.
    pool.host("p2").run(f'sed -i \'s/="200"/="100"/\' {OURS}/environment; systemctl restart {UNIT}')
    run = pool.run(settings=more).ok()
    assert {name: [change["field"] for change in plan] for name, plan in pool.plans(run).items()} == {
        **NOTHING,
        "p2": ["MINIO_API_REQUESTS_MAX", "restarted"],
    }


def test_a_pool_never_gets_another_size(pool: Pool) -> None:
    before = {name: pool.since(name) for name in HOSTS}
    for run in (pool.run("--limit", "p1,p2,p3", members=HOSTS[:3]), pool.run("--limit", "p1", spread=False)):
        assert (run.status, "belongs to a store of 4 drives" in run.output) == (2, True), run.output
    audit = pool.run("--limit", "p1,p2,p3", members=HOSTS[:3], mode="audit").ok()
    assert "belongs to a store of 4 drives" in pool.said(audit, "p1")
    assert {name: pool.since(name) for name in HOSTS} == before


def test_after_all_hosts_lost_their_power_at_once_it_is_there_again(pool: Pool) -> None:
    for name in HOSTS:
        pool.host(name).cut_power()
    for name in HOSTS:
        pool.host(name).start()
    for name in HOSTS:
        pool.host(name).await_ready()
    run = pool.run(settings={"MINIO_API_REQUESTS_MAX": "200"}).ok()
    assert pool.plans(run) == NOTHING
    assert pool.get("p2", "one")[0] == 200
