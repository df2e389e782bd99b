# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the ports of a host to those who need them, and to nobody else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_firewall
short_description: Open the ports of a host to those who need them, and to nobody else
version_added: 0.1.0
description:
  - Writes one table of nftables from rules that name groups and hosts of the inventory, and leaves every other table alone, so that container
    engines and the cluster's network keep theirs. Ports that a container engine publishes are guarded too.
  - The table is replaced in one step. What is in the kernel is compared rule by rule with what should be there, so a port that somebody opened by
    hand is seen, told in words, and closed.
  - It cannot lock its administrator out. The rules are first loaded for O(rollback_after) seconds only; they are kept when Ansible has reached the
    host over a new connection. Else the host takes them back by itself.
  - The rules are in force again after a reboot, and after C(nftables.service) was restarted or reloaded.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - systemd on the host; nftables 1.0 or newer, which is installed where it is missing (Debian, Ubuntu, Red Hat and their like)
  - root
options:
  rules:
    description: What gets in. All hosts may have the same list; each takes what is meant for it.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: By what the rule is known in the ruleset and in the report.
        type: str
        required: true
      protocol:
        description: V(vrrp) is what keepalived speaks; it has no ports.
        type: str
        choices: [tcp, udp, vrrp]
        default: tcp
      ports:
        description: Ports, or ranges such as V(8000-8010).
        type: list
        elements: str
        default: []
      from:
        description:
          - Who gets in, as groups or hosts of the inventory, addresses, networks, or V(anywhere).
          - The groups V(backup), V(cluster_nodes), V(etcd), V(load_balancer), V(object_store), V(postgres) and V(postgres_receiver)
            may be missing in the inventory. Any other name has to be there.
        type: list
        elements: str
        required: true
      to:
        description: Groups or hosts that the rule is meant for. All, if it is empty.
        type: list
        elements: str
        default: []
  other_ports:
    description:
      - What happens to ports that no rule names. V(open) suits nodes of a cluster, whose network and container engine open ports of their own; then
        only the ports that rules name are guarded.
    type: str
    choices: [closed, open]
    default: closed
  address_variable:
    description: The variable of each host that holds the address, or a list of addresses, under which its packets come.
    type: str
    default: ansible_host
  rollback_after:
    description: Seconds after which the host takes new rules back, unless they were confirmed over a new connection.
    type: int
    default: 60
  allow_lockout:
    description: Load the rules even if none lets in whoever is logged in now. They are taken back when nobody can confirm them.
    type: bool
    default: false
  on_refusal:
    description:
      - What to do when the rules would lock out whoever is logged in. V(report) changes nothing and returns it as a finding, which is what an
        audit wants.
    type: str
    choices: [fail, report]
    default: fail
  step:
    description:
      - Set by the action plugin of this module. In V(try) the rules are loaded for a while, in V(keep) they are made to stay, V(whole) is both at
        once.
    type: str
    choices: [try, keep, whole]
    default: whole
notes:
  - Connections that exist already go on, whoever made them; only new ones are judged. What the host itself sends is never kept back.
seealso:
  - module: paas.hardening.host_reach
"""

EXAMPLES = r"""
- name: See in words what would change
  paas.hardening.host_firewall:
    rules: "{{ rules }}"
  check_mode: true
  diff: true

- name: Let administrators and the nodes of the cluster in
  paas.hardening.host_firewall:
    rules:
      - {name: ssh, ports: [22], from: [192.0.2.0/28]}
      - {name: postgresql, ports: [5432], from: [cluster_nodes, postgres], to: [postgres]}

- name: Close the registry of the nodes to strangers, and leave the cluster's own ports alone
  paas.hardening.host_firewall:
    rules:
      - {name: registry, ports: [5555], from: [cluster_nodes]}
    other_ports: open
"""

RETURN = r"""
changed:
  description: Whether something was changed, or would be in check mode.
  returned: always
  type: bool
  sample: true
plan:
  description: Everything that was changed, or would be in check mode.
  returned: always, after a failure only what had been written
  type: list
  elements: dict
  contains:
    object:
      description: The object.
      type: str
      returned: always
      sample: Firewall inet paas_hardening
    field:
      description: The rule.
      type: str
      returned: always
      sample: rule postgresql
    before:
      description: What was there, in words, or null.
      type: raw
      returned: always
      sample: tcp 5432 from 10.0.0.7
    after:
      description: What is wanted, in words, or null when it goes.
      type: raw
      returned: always
      sample: tcp 5432 from 10.0.0.7, 10.0.0.8
    why:
      description: The reason.
      type: str
      returned: always
      sample: this is what the rule says now
waited:
  description: Seconds spent waiting.
  returned: success
  type: float
  sample: 0.0
openings:
  description: The rules that are meant for this host, with addresses for names.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "postgresql", "protocol": "tcp", "ports": ["5432"], "from": ["10.0.0.7", "10.0.0.8"], "to": []}]
other_ports:
  description: As the option.
  returned: success
  type: str
  sample: closed
left:
  description: How many changes a further step would make.
  returned: success
  type: int
  sample: 0
firewall:
  description: This host, its addresses and its rules, in the form that M(paas.hardening.host_reach) takes.
  returned: when the names of groups were known
  type: dict
  sample: {"host": "db1", "addresses": ["10.0.0.7"], "openings": [], "other_ports": "closed"}
findings:
  description: What was found, in the same form as that of the modules that look at a cluster.
  returned: success
  type: list
  elements: dict
  contains:
    control:
      description: Identifier of the recommendation.
      type: str
      returned: success
      sample: host-firewall
    title:
      description: What it says.
      type: str
      returned: success
      sample: A host's ports are open to those who need them only
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: high
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Deis v1, Production deployments", "section": "Security Considerations", "sentence": "..."}
    subject:
      description: What it is about.
      type: str
      returned: success
      sample: Firewall inet paas_hardening
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: pass
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: 2 rules, other ports closed, loaded at boot
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: as it should be, loaded at boot
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: as it should be, loaded at boot
    reasons:
      description: Why it has that status, where that is not plain.
      type: list
      elements: str
      returned: success
      sample: []
    hint:
      description: What to do.
      type: str
      returned: success
      sample: ""
    proof:
      description: What was seen from outside, with a verdict and its checks.
      type: dict
      returned: success
      sample: {"verdict": "pass", "checks": []}
    durability:
      description: Always empty; a host has no Helm release.
      type: list
      elements: dict
      returned: success
      sample: []
failure:
  description: What went wrong, in a form for programs.
  returned: failure
  type: dict
  contains:
    reason:
      description: The class of the failure.
      type: str
      returned: failure
      sample: Refused
    code:
      description: Always null.
      type: int
      returned: failure
      sample: null
    object:
      description: The option or object that it is about.
      type: str
      returned: failure
      sample: rules
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Name your address in the rule for SSH.
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_firewall import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
