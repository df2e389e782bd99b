"""The firewall on real hosts: what is predicted happens, happens once, holds from outside, after a reboot and against every hand; nobody locks himself out.

The tests tell one story, in this order.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time

import pytest

from lab import processes
from tests.hosts.conftest import FIREWALL, LISTENERS, REACH, Site, listen
from tests.perf import figures
from tests.proof import Measured
from tests.quality.checkout import ROOT

TABLE = "inet paas_hardening"
FOREIGN = """table inet somebody_else {
    chain input {
        type filter hook input priority 0; policy accept;
        tcp dport 1 counter drop comment "ours"
    }
}
"""
PUBLISHED = """table ip published {
    chain pre {
        type nat hook prerouting priority -100
        tcp dport 5556 redirect to :9999
    }
}
"""
# On each host: who reaches what. None: a firewall that is silent.
REACHED = {
    ("node", "db", 5432): "open",
    ("stranger", "db", 5432): "silent",
    ("controller", "db", 5432): "silent",
    ("node", "db", 9999): "silent",
    ("node", "db", 22): "silent",
    ("controller", "db", 22): "open",
    ("stranger", "node", 5555): "silent",
    ("db", "node", 5555): "silent",
    ("controller", "node", 5555): "silent",
    ("stranger", "node", 9999): "open",
    ("stranger", "node", 22): "silent",
    ("controller", "stranger", 22): "open",
    ("db", "stranger", 9999): "silent",
}


def expect_reached(site: Site) -> None:
    seen = {key: site.knock(*key) for key in REACHED}
    assert seen == REACHED


def test_without_a_firewall_everybody_reaches_everything(site: Site) -> None:
    assert {site.knock("stranger", "db", port) for port in LISTENERS} == {"open"}
    for host in site.hosts.values():
        host.run("nft -f -", stdin=FOREIGN)


def test_an_audit_tells_and_touches_nothing(site: Site) -> None:
    before = {
        name: host.run("nft list ruleset; ls -A /etc/systemd/system /etc/nftables* /etc/paas-hardening 2>&1 || true") for name, host in site.hosts.items()
    }
    run = site.run(firewall_mode="audit").ok()
    for name in site.hosts:
        firewall, reach = run.result(FIREWALL, name)["findings"][0], run.result(REACH, name)["findings"][0]
        assert (firewall["status"], reach["status"]) == ("would-fix", "fail" if name != "node" else reach["status"])
        assert "no table" in firewall["observed"]
    assert "[WOULD FIX] A host's ports are open to those who need them only" in run.output
    after = {name: host.run("nft list ruleset; ls -A /etc/systemd/system /etc/nftables* /etc/paas-hardening 2>&1 || true") for name, host in site.hosts.items()}
    assert after == before


def test_what_check_mode_predicts_is_what_happens_and_it_happens_once(site: Site, measured: Measured) -> None:
    predicted = site.run("--check", "--diff").ok()
    assert "+rule postgresql: tcp 5432 from" in predicted.output
    done = site.run("--diff").ok()
    assert site.plans(done) == site.plans(predicted)
    assert all(site.plans(done).values())
    begun = time.monotonic()
    again = site.run().ok()
    seconds = time.monotonic() - begun
    assert site.plans(again) == {name: [] for name in site.hosts}
    assert "changed=0" in again.output
    assert "changed=1" not in again.output
    measured(figures.told(f"firewall: second run on {len(site.hosts)} hosts", seconds, "s"))


def test_from_outside_ports_are_open_and_shut_as_the_rules_say(site: Site) -> None:
    expect_reached(site)


def test_nmap_sees_the_same(site: Site) -> None:
    """A tool that we did not write judges; that it can be installed shows that the way out is open."""
    stranger = site.hosts["stranger"]
    stranger.run("command -v nmap >/dev/null || { apt-get -qq update && apt-get -qq install --no-install-recommends nmap; } >/dev/null 2>&1", seconds=180)
    ports = sorted({port for _source, _target, port in REACHED} | {80, 111, 2379, 9000})

    def states(target: str) -> dict[int, str]:
        listing = stranger.run(f"nmap -n -Pn -sS --max-retries 1 -p {','.join(map(str, ports))} -oG - {site.hosts[target].address}")
        found = re.findall(r"(\d+)/(open|closed|filtered)/tcp", listing)
        return {int(port): state for port, state in found}

    assert states("db") == dict.fromkeys(ports, "filtered")
    assert states("node") == {port: {22: "filtered", 5555: "filtered", 5432: "open", 9999: "open"}.get(port, "closed") for port in ports}


def test_other_tables_are_left_alone(site: Site) -> None:
    for host in site.hosts.values():
        assert 'comment "ours"' in host.run("nft list table inet somebody_else")


def test_after_a_reboot_all_is_as_before_and_nothing_is_to_be_done(site: Site) -> None:
    for host in site.hosts.values():
        host.reboot()
    listen(site)
    expect_reached(site)
    again = site.run().ok()
    assert site.plans(again) == {name: [] for name in site.hosts}


@pytest.mark.parametrize("verb", ["restart", "reload"])
def test_who_empties_all_tables_by_nftables_service_does_not_open_the_host(site: Site, verb: str) -> None:
    site.hosts["db"].run("systemctl start nftables")
    site.hosts["db"].run(f"systemctl {verb} nftables")
    assert site.knock("stranger", "db", 5432) == "silent"
    assert site.knock("node", "db", 5432) == "open"


# What somebody does on the host by hand, and the field by which the audit tells it.
FAULTS = {
    "a port opened by hand": (f"nft insert rule {TABLE} guard tcp dport 9999 accept", "made by hand: tcp dport 9999 accept"),
    "a rule for the world": (f"nft insert rule {TABLE} guard tcp dport 5432 accept comment '\"rule postgresql\"'", "rule postgresql"),
    "all rules gone": (f"nft flush table {TABLE}", "rule postgresql"),
    "the table gone": (f"nft delete table {TABLE}", "rule postgresql"),
    "everything gone": ("nft flush ruleset", "rule ssh"),
    "the table asleep": (f"nft 'add table {TABLE} {{ flags dormant; }}'", "chain guard"),
    "a set beside it": (f"nft 'add set {TABLE} mine {{ type ipv4_addr; }}'", "chain guard"),
    "the file changed": ("echo '# mine' >> /etc/paas-hardening/firewall.nft", "content"),
    "the file emptied": (": > /etc/paas-hardening/firewall.nft", "content"),
    "the file gone": ("rm /etc/paas-hardening/firewall.nft", "content"),
    "the file open to all": ("chmod 666 /etc/paas-hardening/firewall.nft", "mode"),
    "the unit changed": ("sed -i s/PartOf/Wants/ /etc/systemd/system/paas-hardening-firewall.service; systemctl daemon-reload", "content"),
    "the unit gone": ("rm /etc/systemd/system/paas-hardening-firewall.service; systemctl daemon-reload", "content"),
    "the unit disabled": ("systemctl --quiet disable paas-hardening-firewall", "enabled"),
    "the unit stopped": ("systemctl stop paas-hardening-firewall", "active"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_every_fault_is_named_by_the_audit_and_mended(site: Site, fault: str) -> None:
    command, field = FAULTS[fault]
    host = site.hosts["db"]
    host.run(command)
    audit = site.run("--limit", "db", firewall_mode="audit").ok()
    assert field in [change["field"] for change in audit.result(FIREWALL, "db")["plan"]], audit.output
    assert audit.result(FIREWALL, "db")["findings"][0]["status"] == "would-fix"
    done = site.run("--limit", "db").ok()
    assert site.plans(done, ["db"]) == site.plans(audit, ["db"])
    assert done.result(FIREWALL, "db")["findings"][0]["status"] == "fixed"
    assert site.knock("stranger", "db", 9999) == "silent"
    assert site.knock("node", "db", 5432) == "open"


def test_after_all_faults_nothing_is_left_to_do(site: Site) -> None:
    assert site.plans(site.run("--limit", "db").ok(), ["db"]) == {"db": []}


def test_a_port_that_a_container_engine_publishes_cannot_slip_past(site: Site) -> None:
    """Docker and CNI rewrite the destination before the packet comes to where firewalls usually stand."""
    site.hosts["node"].run("nft -f -", stdin=PUBLISHED)
    assert site.knock("stranger", "node", 5556) == "open"
    site.run(firewall_more_rules=[{"name": "published", "ports": [5556], "to": ["cluster_nodes"], "from": ["db"]}]).ok()
    assert (site.knock("stranger", "node", 5556), site.knock("db", "node", 5556)) == ("silent", "open")
    site.hosts["node"].run("nft delete table ip published")
    site.run().ok()


def test_who_would_lock_himself_out_is_refused_and_nothing_changes(site: Site) -> None:
    before = site.hosts["db"].run("nft list ruleset")
    run = site.run("--limit", "db", firewall_administrators=["192.0.2.1"])
    assert run.status == 2
    assert f"You come from {site.controller} to port 22, and no rule lets that in" in run.output
    assert site.hosts["db"].run("nft list ruleset") == before
    audit = site.run("--limit", "db", firewall_administrators=["192.0.2.1"], firewall_mode="audit").ok()
    assert audit.result(FIREWALL, "db")["findings"][0]["status"] == "fail"


def test_rules_that_lock_out_the_controller_go_by_themselves(site: Site, measured: Measured) -> None:
    host = site.hosts["db"]
    before = host.run(f"nft list table {TABLE}; cat /etc/paas-hardening/firewall.nft")
    begun = time.monotonic()
    run = site.run("--limit", "db", firewall_administrators=["192.0.2.1"], firewall_allow_lockout=True, firewall_rollback_after=12)
    measured(figures.told("firewall: locked out, back and told after", time.monotonic() - begun, "s"))
    assert run.status == 2
    assert "It has taken them back by itself, and is reached again" in run.result(FIREWALL, "db")["msg"]
    assert host.run(f"nft list table {TABLE}; cat /etc/paas-hardening/firewall.nft") == before
    assert host.run("systemctl list-units --all --plain --no-legend 'paas-hardening-firewall-rollback*'") == ""
    assert site.plans(site.run("--limit", "db").ok(), ["db"]) == {"db": []}


# The first of the two steps alone, as if Ansible had been killed after it: the verb, with nothing of Ansible.
TRY = """
import json, sys
sys.path.insert(0, "/tmp/collection")
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_firewall import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
print(json.dumps(run(VERB.begin, json.load(sys.stdin), check=False, diff=False)))
"""


def test_a_controller_that_dies_in_the_middle_leaves_the_old_rules(site: Site) -> None:
    host = site.hosts["db"]
    before = host.run(f"nft list table {TABLE}")
    folder = "/tmp/collection/ansible_collections/paas/hardening/plugins"
    archive = subprocess.run(["tar", "-C", ROOT / "plugins", "--exclude=__pycache__", "-c", "module_utils"], capture_output=True, check=True).stdout
    subprocess.run(host.ssh(f"mkdir -p {folder}; tar -C {folder} -x"), input=archive, check=True)
    rules = [{"name": "ssh", "protocol": "tcp", "ports": ["22"], "from": [site.controller], "to": []}]
    params = {"rules": rules, "other_ports": "closed", "rollback_after": 15, "allow_lockout": False, "on_refusal": "fail", "step": "try"}
    result = json.loads(host.run(f"python3 -c {shlex.quote(TRY)}", stdin=json.dumps(params)))
    assert (result["changed"], site.knock("node", "db", 5432)) == (True, "silent"), result
    assert processes.wait_until(lambda: site.knock("node", "db", 5432) == "open", 30)
    assert host.run(f"nft list table {TABLE}") == before
    host.run("rm -r /tmp/collection")
    assert site.plans(site.run("--limit", "db").ok(), ["db"]) == {"db": []}


def test_an_unknown_name_stops_before_any_host_is_touched(site: Site) -> None:
    before = site.hosts["db"].run("nft list ruleset")
    run = site.run(firewall_more_rules=[{"name": "oops", "ports": [1], "from": ["postgers"]}])
    assert run.status == 2
    assert "Did you mean postgres?" in run.output
    assert site.hosts["db"].run("nft list ruleset") == before


def test_a_host_without_nft_gets_it_as_predicted(site: Site) -> None:
    host = site.hosts["stranger"]
    host.run("systemctl disable --now paas-hardening-firewall 2>&1; rm -r /etc/paas-hardening /etc/systemd/system/paas-hardening-firewall.service")
    host.run("nft flush ruleset; apt-get -qq remove nftables >/dev/null 2>&1; test ! -e /usr/sbin/nft", seconds=60)
    predicted = site.run("--check", "--limit", "stranger").ok()
    assert predicted.result(FIREWALL, "stranger")["findings"][0]["observed"] == "nft is not installed"
    assert host.run("ls /usr/sbin/nft || true") == ""
    done = site.run("--limit", "stranger").ok()
    planned = site.plans(done, ["stranger"])["stranger"]
    assert planned == site.plans(predicted, ["stranger"])["stranger"]
    assert planned[0]["object"] == "Packages nftables"
    assert site.plans(site.run("--limit", "stranger").ok(), ["stranger"]) == {"stranger": []}
    assert (site.knock("controller", "stranger", 22), site.knock("db", "stranger", 9999)) == ("open", "silent")
