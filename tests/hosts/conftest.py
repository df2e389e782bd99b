"""Three real hosts, as an inventory has them: a database, a node of the cluster, and a stranger; and hosts.yml run on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests import labs
from tests.contract.playbook import Run, run_playbook
from tests.hosts.etcd_site import Members
from tests.hosts.object_store_site import Stores
from tests.hosts.postgres_site import Servers
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.hosts.host import Host

GROUPS = {"postgres": ["db"], "cluster_nodes": ["node"], "visitors": ["stranger"]}
# Who listens where; what is open to whom is for the firewall to say.
LISTENERS = (5432, 5555, 9999)
FIREWALL, REACH = "Open ports to those who need them, and to nobody else", "Look from every host at the others"


@dataclass
class Site:
    """The hosts, and the playbook for them."""

    fleet: Fleet
    folder: Path

    @property
    def hosts(self) -> dict[str, Host]:
        return {name: self.fleet.host(name) for name in self.fleet.names()}

    @property
    def controller(self) -> str:
        """The address that Ansible comes from."""
        return self.hosts["db"].addresses.host

    def run(self, *arguments: str, inventory: Mapping[str, Any] | None = None, **variables: Any) -> Run:
        """Run the firewall's part of hosts.yml on all, with more groups or variables of hosts in the inventory, and with extra variables."""
        groups = self.folder / "groups.yml"
        told: dict[str, Any] = {"all": {"children": {group: {"hosts": {name: {} for name in names}} for group, names in GROUPS.items()}}}
        groups.write_text(yaml.safe_dump(dict(inventory or told)))
        return run_playbook(
            self.folder,
            ROOT / "playbooks/hosts.yml",
            *("-i", str(self.fleet.inventory), "-i", str(groups), "--tags", "firewall", *arguments),
            variables={"hosts_pattern": "all:!localhost", "firewall_administrators": [self.controller], **variables},
            more={"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")},
        )

    def knock(self, source: str, target: str, port: int) -> str:
        """Connect from one host to another with the shell's own means: open, refused or silent. The source may be this machine."""
        words = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{self.hosts[target].address}/{port}' 2>/dev/null; echo $?"
        if source == "controller":
            from lab import processes

            status = processes.run(["bash", "-c", words]).strip()
        else:
            status = self.hosts[source].run(words).strip()
        return {"0": "open", "1": "refused", "124": "silent"}[status]

    def plans(self, run: Run, hosts: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
        """What was, or would be, changed on each host."""
        return {name: list(run.result(FIREWALL, name).get("plan", [])) for name in hosts or self.hosts}


# Hosts go with the file that they are for: a machine watches few of them at once (lab/requirements.py).
@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Site]:
    """The hosts, up, with listeners and without a firewall."""
    with labs.hosts(["db", "node:trixie", "stranger"], report=report) as fleet:
        made = Site(fleet, tmp_path_factory.mktemp("site"))
        listen(made)
        yield made


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Servers]:
    """Three bare hosts for PostgreSQL, each with an empty disk; the third runs Debian 13."""
    with labs.hosts(["db1", "db2", "db3:trixie"], disks=1, report=report, purpose="pg") as fleet:
        yield Servers(fleet, tmp_path_factory.mktemp("pg"))


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Stores]:
    """Two bare hosts for object stores, of Debian 12 and 13, each with two empty disks."""
    with labs.hosts(["s3a", "s3b:trixie"], disks=2, report=report, purpose="s3") as fleet:
        made = Stores(fleet, tmp_path_factory.mktemp("s3"))
        for host in made.hosts.values():
            show_xfs(host)
        yield made


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Members]:
    """Bare hosts for etcd, each with an empty disk; the third and the fifth run Debian 13."""
    with labs.hosts(["e1", "e2", "e3:trixie", "e4", "e5:trixie"], disks=1, report=report, purpose="etcd") as fleet:
        yield Members(fleet, tmp_path_factory.mktemp("etcd"))


def show_xfs(host: Host) -> None:
    """Let a host see what its kernel says of XFS, now and after each boot, as machines do and containers do not.

    /sys itself is not writable in the end: networkd would wait for udev.
    """
    unit = """[Unit]
DefaultDependencies=no
Before=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=mkdir -p /run/sys
ExecStart=mount -t sysfs sysfs /run/sys
ExecStart=mount -o remount,rw /run/sys
ExecStart=mount -o remount,rw /sys
ExecStart=mkdir -p /sys/fs/xfs
ExecStart=mount --bind /run/sys/fs/xfs /sys/fs/xfs
ExecStart=mount -o remount,ro /sys
[Install]
WantedBy=sysinit.target
"""
    host.run("cat > /etc/systemd/system/show-xfs.service && systemctl --quiet enable --now show-xfs.service", stdin=unit)


def listen(site: Site) -> None:
    """Let every host listen; needed again after a reboot."""
    for host in site.hosts.values():
        for port in LISTENERS:
            host.run(f"systemctl is-active --quiet listen-{port} || systemd-run --quiet --unit=listen-{port} python3 -m http.server {port}")
