# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connect to the other hosts, and judge whether their ports are open and shut as their firewalls say."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_reach
short_description: Judge from one host whether the ports of the others are open and shut as their firewalls say
version_added: 0.1.0
description:
  - Connects to every TCP port that a rule of M(paas.hardening.host_firewall) names, on every other host, and compares what is reached with what the
    rules say. Nothing is sent.
  - A connection that is refused has reached the host, since the firewall of this collection never answers. What no answer comes from is shut.
  - Fails when something is not as the rules say. In check mode it only tells.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
options:
  me:
    description: The name of the host that it runs on.
    type: str
    required: true
  firewalls:
    description: What M(paas.hardening.host_firewall) returned as RV(paas.hardening.host_firewall#module:firewall) for each host.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description: Name of the host.
        type: str
        required: true
      addresses:
        description: Its addresses.
        type: list
        elements: str
        required: true
      openings:
        description: The rules that are meant for it, with addresses for names.
        type: list
        elements: dict
        required: true
        suboptions:
          name:
            description: As in M(paas.hardening.host_firewall).
            type: str
            required: true
          protocol:
            description: As in M(paas.hardening.host_firewall). Only V(tcp) can be tried from outside.
            type: str
            choices: [tcp, udp, vrrp]
            default: tcp
          ports:
            description: As in M(paas.hardening.host_firewall). Of a range the first port stands for all.
            type: list
            elements: str
            default: []
          from:
            description: Addresses, networks, or V(anywhere).
            type: list
            elements: str
            required: true
          to:
            description: Not looked at.
            type: list
            elements: str
            default: []
      other_ports:
        description: As in M(paas.hardening.host_firewall).
        type: str
        choices: [closed, open]
        required: true
  timeout:
    description: Seconds after which no answer counts as shut. It is tried a second time for twice as long when that is not what the rules say.
    type: float
    default: 1.5
seealso:
  - module: paas.hardening.host_firewall
"""

EXAMPLES = r"""
- name: Look from each host at all others
  paas.hardening.host_reach:
    me: "{{ inventory_hostname }}"
    firewalls: "{{ ansible_play_hosts | map('extract', hostvars, ['result_of_the_firewall', 'firewall']) | list }}"
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
      sample: host-reach
    title:
      description: What it says.
      type: str
      returned: success
      sample: "Seen from another host, ports are open and shut as the rules say"
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
      sample: 3 ports reached, 9 not
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: 3 ports reached, 9 not
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: 3 ports reached, 9 not
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

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_reach import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
