"""The nine machines of docs/inventory-hosts.yml, built from bare hosts by one run of hosts.yml, with what a user has to fill in filled in.

The tests tell one story, in this order.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from lab import builds
from tests import labs
from tests.contract.playbook import Run, run_playbook
from tests.hosts import outside
from tests.hosts.conftest import show_xfs
from tests.perf import figures
from tests.proof import Measured
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet

NODE = "node1"
NAMES = ("db1", "db2", "s3-1", "s3-2", "lb1", "lb2", "etcd1", "etcd2", "etcd3")
RELEASES = {"s3-2": "trixie", "lb2": "trixie", "etcd3": "trixie"}
GROUPS = "postgres:postgres_receiver:object_store:load_balancer:etcd:backup"
STREAMS = "SELECT application_name, state, sync_state FROM pg_stat_replication ORDER BY 1;"
# Routers as the platforms have them: all of their ports expect the PROXY protocol.
ROUTERS = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events {}
http {
    server { listen 80 proxy_protocol; return 200 "router\\n"; }
    server { listen 443 ssl proxy_protocol; ssl_certificate /srv/router.crt; ssl_certificate_key /srv/router.key; return 200 "router\\n"; }
}
stream { server { listen 2222 proxy_protocol; proxy_pass 127.0.0.1:22; } }
"""
ROUTER = """
cat > /srv/nginx.conf
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq --no-install-recommends install nginx libnginx-mod-stream openssl >/dev/null 2>&1
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=router -keyout /srv/router.key -out /srv/router.crt 2>/dev/null
cp /srv/nginx.conf /etc/nginx/nginx.conf
systemctl restart nginx
"""
# What may be found open from anywhere, beside what the rules open to some.
OPEN = {**{key: {22} for key in NAMES}, "lb1": {22, 80, 443, 2222}, "lb2": {22, 80, 443, 2222}}


@dataclass
class Nine:
    """The hosts, and the inventory that is made of the documentation's."""

    fleet: Fleet
    folder: Path
    vault: dict[str, str] = field(default_factory=lambda: defaultdict(lambda: secrets.token_hex(16)))

    @property
    def virtual(self) -> str:
        return f"{self.fleet.host('lb1').address.rpartition('.')[0]}.240"

    def inventory(self) -> Path:
        text = (ROOT / "docs/inventory-hosts.yml").read_text()
        document = yaml.safe_load(text)
        whole, here = document["all"], self.fleet.host("db1").addresses.host
        whole["vars"].update(ansible_user="root", firewall_administrators=[here])
        whole["vars"].update({name: self.vault[name] for name in re.findall(r"vault_\w+", text)})
        for program in ("minio", "etcd"):
            path = builds.binary(program)
            whole["vars"][f"{program}_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
            group = whole["children"]["object_store" if program == "minio" else "etcd"]
            group["vars"]["object_store_server_binary" if program == "minio" else "etcd_server_binary"] = str(path)
        groups = whole["children"]
        groups["postgres"]["vars"]["postgres_server_settings"] = {"shared_buffers": "64MB"}
        groups["postgres"]["vars"]["postgres_server_access"] = [{"database": "app", "role": "app", "network": f"{self.fleet.host(NODE).address}/32"}]
        groups["load_balancer"]["vars"]["load_balancer_virtual_addresses"] = [f"{self.virtual}/24"]
        groups["cluster_nodes"]["hosts"] = {NODE: {}}
        for group in groups.values():
            for name, own in group["hosts"].items():
                group["hosts"][name] = {**(own or {}), "ansible_host": self.fleet.host(name).address}
        path = self.folder / "inventory.yml"
        path.touch(0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    def run(self, *arguments: str) -> Run:
        return run_playbook(
            self.folder,
            ROOT / "playbooks/hosts.yml",
            *("-i", str(self.fleet.inventory), "-i", str(self.inventory()), *arguments),
            # The node stands for a cluster, which is not built here.
            variables={"hosts_pattern": GROUPS},
            more={"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")},
        )

    def sql(self, host: str, text: str) -> str:
        return self.fleet.host(host).run("cd / && setpriv --reuid=postgres --regid=postgres --init-groups psql -X -A -t", stdin=text).strip()


def changed(run: Run) -> set[str]:
    return set(re.findall(r"changed=(\d+)", run.output))


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Nine]:
    builds.ensure(["minio", "etcd", "etcdctl", "etcdutl"], report)
    wanted = [f"{name}:{RELEASES[name]}" if name in RELEASES else name for name in (*NAMES, NODE)]
    with labs.hosts(wanted, disks=2, report=report, purpose="nine", size="1G") as fleet:
        for name in ("s3-1", "s3-2"):
            show_xfs(fleet.host(name))
        fleet.host(NODE).run(f"set -e; {ROUTER}", stdin=ROUTERS, seconds=600)
        yield Nine(fleet, tmp_path_factory.mktemp("nine"))


def test_a_prediction_touches_nothing(nine: Nine) -> None:
    look = "ls -A /etc/postgresql /etc/nginx /etc/keepalived /etc/nftables.d /etc/paas-hardening /etc/systemd/system /srv 2>&1; true"
    before = {name: nine.fleet.host(name).run(look) for name in NAMES}
    nine.run("--check").ok()
    assert {name: nine.fleet.host(name).run(look) for name in NAMES} == before


def test_one_run_builds_all_of_them(nine: Nine, measured: Measured) -> None:
    begun = time.monotonic()
    run = nine.run().ok()
    measured(figures.told("nine bare hosts built by one run", time.monotonic() - begun, "s", "docs/inventory-hosts.yml"))
    assert nine.vault
    assert [name for name, secret in nine.vault.items() if secret in run.output] == []
    # A commit counts when the standby or the receiver in the other room has it; a slot has no hyphen in its name.
    assert nine.sql("db1", STREAMS).splitlines() == ["db2|streaming|quorum", "s3_2|streaming|quorum"]
    leader = nine.fleet.host("etcd1").run("systemctl is-active etcd-member").strip()
    assert leader == "active"


def test_the_second_run_changes_nothing(nine: Nine, measured: Measured) -> None:
    begun = time.monotonic()
    run = nine.run().ok()
    measured(figures.told("second run of hosts.yml on nine hosts", time.monotonic() - begun, "s"))
    assert changed(run) == {"0"}, run.output


def test_nobody_finds_another_port_open(nine: Nine) -> None:
    """Looked at from where administrators are, who may reach no more than SSH and what is for everybody."""
    for name in NAMES:
        found = set(outside.open_ports(nine.fleet.host(name).address))
        assert 22 in found
        assert found <= OPEN[name], (name, found)


def test_while_one_of_the_two_is_away_writes_go_on_and_nothing_is_lost(nine: Nine) -> None:
    nine.sql("db1", "CREATE TABLE notes (n int);")
    for away in ("db2", "s3-2"):
        nine.fleet.host(away).cut_power()
        assert nine.sql("db1", "SET statement_timeout = '20s'; INSERT INTO notes VALUES (1); SELECT count(*) FROM notes;").splitlines()[-1].isdigit()
        nine.fleet.host(away).start()
        nine.fleet.host(away).await_ready()
        deadline = time.monotonic() + 90
        while nine.sql("db1", STREAMS).count("streaming") != 2:
            assert time.monotonic() < deadline, nine.sql("db1", STREAMS)
            time.sleep(1)


def test_after_all_lost_their_power_nothing_is_to_be_done(nine: Nine) -> None:
    for name in NAMES:
        nine.fleet.host(name).cut_power()
    for name in NAMES:
        nine.fleet.host(name).start()
    for name in NAMES:
        nine.fleet.host(name).await_ready()
    run = nine.run().ok()
    assert changed(run) == {"0"}, run.output
