# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try from here what members of etcd answer to those who have no certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_etcd_reach
short_description: Try from here what members of etcd answer to those who have no certificate
version_added: 0.1.0
description:
  - Connects to the ports for clients and for peers of each member by TLS, verifies its certificate, and comes without one of its own; then without TLS. So it
    is seen, without knowing a secret, that the member proves who it is, and lets nobody in.
  - It changes nothing. An answer that is not as it should be fails the task, in check mode it is a finding.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
options:
  me:
    description: The name of this host, for the report.
    type: str
    required: true
  members:
    description: The members, as M(paas.hardening.host_etcd) returns each as RV(paas.hardening.host_etcd#module:member).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      address:
        description: Its address, which its certificate has to have.
        type: str
        required: true
      client_port:
        description: The port for clients.
        type: int
        default: 2379
      peer_port:
        description: The port for peers.
        type: int
        default: 2380
      endpoint:
        description: Its URL; not looked at.
        type: str
        default: ''
      authority:
        description: The authority's certificate, in PEM.
        type: str
        required: true
      data:
        description: Not looked at.
        type: bool
        default: true
      answers:
        description: Not looked at.
        type: bool
        default: true
      version:
        description: Not looked at.
        type: str
        default: ''
  reachable:
    description: Whether this host has to reach the members. When not, it is as well that it does not.
    type: bool
    default: true
  timeout:
    description: Seconds that a member may take for an answer.
    type: float
    default: 3.0
seealso:
  - module: paas.hardening.host_etcd
"""

EXAMPLES = r"""
- name: Look from every host at the members
  paas.hardening.host_etcd_reach:
    me: "{{ inventory_hostname }}"
    members: "{{ groups.etcd | map('extract', hostvars, ['result', 'member']) | list }}"
"""

RETURN = r"""
changed:
  description: Always false.
  returned: always
  type: bool
  sample: false
plan:
  description: Always empty.
  returned: always
  type: list
  elements: dict
  sample: []
waited:
  description: Always 0.
  returned: success
  type: float
  sample: 0.0
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
      sample: host-etcd-reach
    title:
      description: What it says.
      type: str
      returned: success
      sample: "Seen from another host, members of etcd prove who they are, and let in nobody without a certificate"
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: critical
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Deis v1, Isolating etcd", "section": "Isolating the planes", "sentence": "..."}
    subject:
      description: What it is about.
      type: str
      returned: success
      sample: from node1
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: pass
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: 6 answers are as they should be
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: 6 answers are as they should be
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: 6 answers are as they should be
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
      sample: NotProven
    code:
      description: Always null.
      type: int
      returned: failure
      sample: null
    object:
      description: The option or object that it is about.
      type: str
      returned: failure
      sample: node1
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Does a firewall stand between?
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_etcd_reach import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
