"""One inventory, one run of harden.yml: an object store is built from a bare host, and the buckets of a running platform move to it.

The inventory is the one with nine hosts that the documentation shows, of which only the platform's store is there. The tests tell one story, in this order.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.contract.installed import GROUP, Installed
from tests.contract.playbook import Run, run_playbook
from tests.hosts import outside
from tests.moves.conftest import USER
from tests.perf.figures import at_most, told
from tests.proof import Measured
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.image.lab.s3 import Store
    from lab.seed import Sown

STORE, DOOR = "s3-1", 9001
MOVE, BUILD = "Move object storage out of the cluster", "Have the store"
pytestmark = pytest.mark.usefixtures("taken_away")


@dataclass
class Whole:
    """The platform, the host in its network, one that has no business there, and the inventory."""

    platform: Installed
    fleet: Fleet
    folder: Path
    secrets: Mapping[str, str] = field(default_factory=lambda: {name: secrets.token_hex(20) for name in ("store_root", "workflow_store")})

    @property
    def address(self) -> str:
        return self.fleet.host(STORE).address

    def inventory(self) -> Path:
        """What a user makes of docs/inventory-hosts.yml who has only a store."""
        from lab import builds

        whole, cluster = yaml.safe_load((ROOT / "docs/inventory-hosts.yml").read_text())["all"], self.platform.cluster
        program, here = builds.binary("minio"), self.fleet.host(STORE).addresses.host
        whole["vars"].update(ansible_user="root", firewall_administrators=[here], minio_sha256=hashlib.sha256(program.read_bytes()).hexdigest())
        # Objects are moved by the machine that Ansible runs on: it has to get at the store, too. So have pods, which keep their own addresses in the lab.
        sources = [here, cluster.layout.addresses.pods]
        whole["vars"]["firewall_more_rules"] = [{"name": "move", "from": sources, "ports": [DOOR], "to": [STORE]}]
        whole["vars"].update({f"vault_{name}_secret": secret for name, secret in self.secrets.items()})
        group = whole["children"]["object_store"]
        group["vars"]["object_store_server_binary"] = str(program)
        group["hosts"] = {STORE: {**group["hosts"][STORE], "ansible_host": self.address}}
        nodes = {f"node{number}": {"ansible_host": cluster.node_ip(number)} for number in (1, 2)}
        whole["children"] = {"object_store": group, "cluster_nodes": {"hosts": nodes}}
        path = self.folder / "inventory.yml"
        path.touch(0o600)
        path.write_text(yaml.safe_dump({"all": whole}))
        return path

    def run(self, *arguments: str, **variables: Any) -> Run:
        kubeconfig = self.platform.cluster.issue_client(USER, groups=[GROUP])
        return run_playbook(
            self.folder,
            ROOT / "playbooks/harden.yml",
            *("-i", str(self.fleet.inventory), "-i", str(self.inventory()), *arguments),
            variables={
                "harden_kubeconfig": str(kubeconfig),
                "harden_move": ["object_storage"],
                "object_storage_work_folder": str(self.folder / "work"),
                # The nodes of the lab have no SSH; what is here is about the machine beside them.
                "hosts_pattern": "object_store",
                **variables,
            },
            more={"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")},
        )

    def client(self) -> Store:
        from lab.image.lab import s3

        return s3.Store(f"http://{self.address}:{DOOR}", "workflow", self.secrets["workflow_store"])


@pytest.fixture(scope="module")
def whole(hephy: Installed, sown: Sown, tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Whole]:
    from lab.hosts.fleet import Fleet

    assert sown.ledgers
    fleet, folder = Fleet(hephy.cluster.name), tmp_path_factory.mktemp("whole")
    try:
        fleet.up((STORE, "visitor"), disks=2, size="1G", report=report)
        yield Whole(hephy, fleet, folder)
    finally:
        fleet.down()


def test_check_mode_on_a_bare_host_tells_what_it_can_and_touches_nothing(whole: Whole) -> None:
    look = "ls -A /etc/nftables.d /etc/paas-hardening /etc/systemd/system /srv 2>&1; true"
    before, settings = whole.fleet.host(STORE).run(look), whole.platform.documents()
    run = whole.run("--check").ok()
    assert run.result(BUILD, STORE)["plan"]
    assert f"{STORE} has no object store yet" in str(run.result("Say that the store has to be there first")["msg"])
    assert MOVE not in [record["task"].rpartition(" : ")[2] for record in run.records]
    assert (whole.fleet.host(STORE).run(look), whole.platform.documents()) == (before, settings)


def test_one_run_builds_the_store_and_moves_the_buckets_there(whole: Whole, sown: Sown, measured: Measured) -> None:
    begun = time.monotonic()
    run = whole.run().ok()
    seconds = time.monotonic() - begun
    assert run.result(MOVE)["proof"]["verdict"] == "pass"
    assert [name for name, secret in whole.secrets.items() if secret in run.output] == []
    count = sum(len(ledger.objects) for ledger in sown.ledgers)
    wrong = sum(len(ledger.wrong(whole.client())) for ledger in sown.ledgers)
    measured(
        told("bare host built into a store, and a platform's buckets moved to it", seconds, "s"),
        at_most("objects that differ in the inventory's store, by SHA-256", wrong, f"of {count}", 0),
    )
    from lab.seed import live

    keys = live.secret(whole.platform.place, "objectstorage-keyfile")
    assert (keys["accesskey"], keys["secretkey"] == whole.secrets["workflow_store"]) == ("workflow", True)


def test_the_second_run_changes_nothing_and_names_the_door(whole: Whole) -> None:
    run = whole.run().ok()
    assert (run.result(BUILD, STORE)["plan"], run.result(MOVE)["plan"]) == ([], [])
    assert set(re.findall(r"changed=(\d+)", run.output)) == {"0"}, run.output
    (door,) = (finding for finding in run.result(BUILD, STORE)["findings"] if finding["control"] == "host-object-store-plain")
    assert (door["status"], f"Port {DOOR}" in door["observed"]) == ("fail", True)


def test_images_are_pulled_while_the_bundled_store_is_off(whole: Whole, sown: Sown) -> None:
    cluster, namespace = whole.platform.cluster, whole.platform.namespace
    cluster.kubectl("scale", "deployment/deis-minio", "-n", namespace, "--replicas=0")
    try:
        cluster.kubectl("wait", "-n", namespace, "--for=delete", "pod", "-l", "app=deis-minio", "--timeout=120s")
        assert sown.pull() > 0
    finally:
        cluster.kubectl("scale", "deployment/deis-minio", "-n", namespace, "--replicas=1")


def test_the_door_is_for_the_nodes_alone(whole: Whole) -> None:
    assert set(outside.open_ports(whole.address)) <= {22, DOOR}
    knock = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{whole.address}/{DOOR}' 2>/dev/null; echo $?"
    assert whole.fleet.host("visitor").run(knock).strip() == "124"


def test_a_store_that_this_run_has_not_seen_or_that_lacks_a_bucket_is_no_target(whole: Whole) -> None:
    run = whole.run("--tags", "object_storage")
    assert (run.status, f"has not looked at {STORE}" in run.output) == (2, True), run.output
    run = whole.run(object_store_server_buckets=[{"name": "git"}])
    assert (run.status, f"{STORE} has no bucket dbwal, registry" in run.output) == (2, True), run.output
