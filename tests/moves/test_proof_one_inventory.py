"""One inventory, one run of harden.yml: databases and load balancers are built from bare hosts, and a running platform moves to them.

The inventory is the one with four hosts that the documentation shows; what a user has to fill in is filled in. The tests tell one story, in this order.
"""

from __future__ import annotations

import http.client
import re
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.contract.installed import GROUP, Installed
from tests.contract.playbook import Run, run_playbook
from tests.hosts import outside
from tests.hosts.balancer_site import give_certificate
from tests.moves.conftest import USER
from tests.perf.figures import at_most, told
from tests.proof import Measured
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.seed import Sown

HOSTS = ("db1", "db2", "lb1", "lb2:trixie")
NAMES = tuple(entry.partition(":")[0] for entry in HOSTS)
MOVE = "Move the database out of the cluster"
MODULES = {"db1": "Have the primary", "db2": "Have the standbys", "lb1": "Have the load balancer", "lb2": "Have the load balancer"}
# Seconds on two cores: a second run of all roles on four hosts.
SECOND_RUN = 45.0
pytestmark = pytest.mark.usefixtures("taken_away")


@dataclass
class Whole:
    """The platform, the hosts in its network, and the inventory of both."""

    platform: Installed
    fleet: Fleet
    folder: Path
    passwords: Mapping[str, str] = field(default_factory=lambda: {name: secrets.token_hex(16) for name in ("app_database", "replication")})

    @property
    def domain(self) -> str:
        return str(self.platform.place.domain)

    @property
    def virtual(self) -> str:
        return f"{self.fleet.host('lb1').address.rpartition('.')[0]}.240"

    def inventory(self) -> Path:
        """What a user makes of docs/inventory-four-hosts.yml."""
        document = yaml.safe_load((ROOT / "docs/inventory-four-hosts.yml").read_text())
        whole, cluster = document["all"], self.platform.cluster
        here = self.fleet.host("db1").addresses.host
        nodes = [cluster.node_ip(number) for number in (1, 2)]
        whole["vars"].update(ansible_user="root", firewall_administrators=[here])
        # Rows are moved by the machine that Ansible runs on: it has to get at the database, too. So have pods, which keep their own addresses in the lab.
        sources = [here, cluster.layout.addresses.pods]
        whole["vars"]["firewall_more_rules"] = [{"name": "move", "from": sources, "ports": [5432], "to": ["postgres"]}]
        groups = whole["children"]
        groups["cluster_nodes"]["hosts"] = {f"node{number}": {"ansible_host": address} for number, address in enumerate(nodes, 1)}
        groups["postgres"]["vars"]["postgres_server_access"] = [
            {"database": "app", "role": "app", "network": network}
            for network in (*(f"{node}/32" for node in nodes), f"{here}/32", cluster.layout.addresses.pods)
        ]
        groups["postgres"]["vars"]["postgres_server_settings"] = {"shared_buffers": "64MB"}
        groups["load_balancer"]["vars"]["load_balancer_virtual_addresses"] = [f"{self.virtual}/24"]
        (portal,) = (one for one in groups["load_balancer"]["vars"]["load_balancer_listeners"] if one["name"] == "portal")
        words = ("get", "service", "deis-router", "-n", self.platform.namespace, "-o", "jsonpath={.spec.ports[?(@.port==80)].nodePort}")
        portal.update(server_names=[f"*.{self.domain}"], backends=[f"{node}:{cluster.kubectl(*words)}" for node in nodes])
        for group in ("postgres", "load_balancer"):
            for name in groups[group]["hosts"]:
                groups[group]["hosts"][name] = {"ansible_host": self.fleet.host(name).address}
        whole["vars"].update({f"vault_{name}_password": password for name, password in self.passwords.items()})
        path = self.folder / "inventory.yml"
        path.touch(0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    @property
    def certificate(self) -> tuple[str, str]:
        """Where the documentation's inventory has the certificate and the key of the load balancers."""
        listeners = yaml.safe_load((ROOT / "docs/inventory-four-hosts.yml").read_text())["all"]["children"]["load_balancer"]["vars"]["load_balancer_listeners"]
        (portal,) = (one for one in listeners if one["name"] == "portal")
        return portal["tls_certificate"], portal["tls_key"]

    def run(self, *arguments: str, playbook: str = "harden", **variables: Any) -> Run:
        kubeconfig = self.platform.cluster.issue_client(USER, groups=[GROUP])
        return run_playbook(
            self.folder,
            ROOT / f"playbooks/{playbook}.yml",
            *("-i", str(self.fleet.inventory), "-i", str(self.inventory()), *arguments),
            variables={
                "harden_kubeconfig": str(kubeconfig),
                "harden_move": ["database"],
                "database_name": "app",
                "database_work_folder": str(self.folder / "work"),
                # The nodes of the lab have no SSH; what is here is about the machines beside them.
                "hosts_pattern": "postgres:load_balancer",
                **variables,
            },
            more={"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")},
        )

    def plans(self, run: Run, hosts: Sequence[str] = NAMES) -> dict[str, list[Mapping[str, Any]]]:
        return {name: list(run.result(MODULES[name], name)["plan"]) for name in hosts}

    def asked(self) -> int:
        """The status of the platform's readiness, as a client of the load balancers sees it, their certificate verified."""
        name = f"deis.{self.domain}"
        context = ssl.create_default_context(cafile=str(self.folder / "portal-ca.crt"))
        with socket.create_connection((self.virtual, 443), timeout=5) as plain, context.wrap_socket(plain, server_hostname=name) as tunnel:
            connection = http.client.HTTPConnection(name)
            connection.sock = tunnel
            connection.request("GET", "/readiness")
            return connection.getresponse().status


@pytest.fixture(scope="module")
def whole(hephy: Installed, sown: Sown, tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Whole]:
    from lab.hosts.fleet import Fleet

    assert sown.filled_rows > 0
    fleet, folder = Fleet(hephy.cluster.name), tmp_path_factory.mktemp("whole")
    try:
        fleet.up(HOSTS, disks=1, size="1G", report=report)
        made = Whole(hephy, fleet, folder)
        give_certificate([fleet.host(name) for name in ("lb1", "lb2")], folder, f"*.{made.domain}", 365, *made.certificate)
        yield made
    finally:
        fleet.down()


def test_check_mode_on_bare_hosts_tells_what_it_can_and_touches_nothing(whole: Whole) -> None:
    look = "ls -A /etc/postgresql /etc/nginx /etc/keepalived /etc/nftables.d /etc/paas-hardening /etc/systemd/system 2>&1; true"
    before = {name: whole.fleet.host(name).run(look) for name in NAMES}
    run = whole.run("--check").ok()
    assert all(whole.plans(run).values())
    assert "db1 has no PostgreSQL yet" in str(run.result("Say that the server has to be there first")["msg"])
    assert MOVE not in [record["task"].rpartition(" : ")[2] for record in run.records]
    assert {name: whole.fleet.host(name).run(look) for name in NAMES} == before


def test_one_run_builds_the_hosts_and_moves_the_platform_to_them(whole: Whole, measured: Measured) -> None:
    begun = time.monotonic()
    run = whole.run().ok()
    seconds = time.monotonic() - begun
    result = run.result(MOVE)
    assert result["proof"]["verdict"] == "pass"
    assert all(password not in run.output for password in whole.passwords.values())
    from lab.seed import live

    where = live.database(whole.platform.place)
    assert (where["host"], where["database"], where["user"]) == (whole.fleet.host("db1").address, "app", "app")
    assert whole.asked() == 200
    measured(told("four bare hosts built, and a platform moved to them", seconds, "s", "firewall, PostgreSQL pair, load balancers, baseline, database moved"))


def test_the_second_run_changes_nothing(whole: Whole, measured: Measured) -> None:
    run = whole.run().ok()
    assert whole.plans(run) == {name: [] for name in NAMES}
    assert run.result(MOVE)["plan"] == []
    assert set(re.findall(r"changed=(\d+)", run.output)) == {"0"}, run.output
    begun = time.monotonic()
    again = whole.run(playbook="hosts").ok()
    seconds = time.monotonic() - begun
    assert set(re.findall(r"changed=(\d+)", again.output)) == {"0"}, again.output
    measured(at_most("second run of hosts.yml on four hosts", seconds, "s", SECOND_RUN))


def test_nobody_finds_another_port_open(whole: Whole) -> None:
    # The rule for the move lets this machine in to the whole group.
    expected = {"db1": {22, 5432}, "db2": {22, 5432}, "lb1": {22, 80, 443, 2222}, "lb2": {22, 80, 443, 2222}}
    for name in NAMES:
        found = set(outside.open_ports(whole.fleet.host(name).address))
        assert found <= expected[name], (name, found)
        assert 22 in found
    # From where nobody has business with it, the database cannot be seen.
    knock = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{whole.fleet.host('db1').address}/5432' 2>/dev/null; echo $?"
    assert whole.fleet.host("lb1").run(knock).strip() == "124"


def test_strangers_find_no_fault_with_the_tls(whole: Whole, report: Callable[[str], None]) -> None:
    authority = whole.folder / "authority.crt"
    authority.write_text(whole.fleet.host("db1").run("cat /etc/paas-hardening/postgres/ca.crt"))
    database = f"{whole.fleet.host('db1').address}:5432"
    assert outside.tls_troubles(database, "db1", authority, report, "postgres") == []
    for address in (whole.virtual, *(whole.fleet.host(name).address for name in ("lb1", "lb2"))):
        assert outside.tls_troubles(f"{address}:443", f"deis.{whole.domain}", whole.folder / "portal-ca.crt", report) == []


def test_a_server_that_this_run_has_not_seen_is_no_target(whole: Whole) -> None:
    run = whole.run("--tags", "database")
    assert run.status != 0
    assert "has not looked at db1" in run.output


def test_after_the_hosts_lost_their_power_nothing_is_to_be_done(whole: Whole) -> None:
    for name in NAMES:
        whole.fleet.host(name).cut_power()
    for name in NAMES:
        whole.fleet.host(name).start()
    for name in NAMES:
        whole.fleet.host(name).await_ready()
    whole.platform.place.cluster.kubectl("rollout", "status", "deployment/deis-controller", "-n", whole.platform.namespace, "--timeout=120s")
    deadline = time.monotonic() + 60
    while whole.asked() != 200:
        assert time.monotonic() < deadline
        time.sleep(1)
    run = whole.run().ok()
    assert set(re.findall(r"changed=(\d+)", run.output)) == {"0"}, run.output
