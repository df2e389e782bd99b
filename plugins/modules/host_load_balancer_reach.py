# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Come from here to the listeners of load balancers, as their clients do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_load_balancer_reach
short_description: Come from here to the listeners of load balancers, as their clients do
version_added: 0.1.0
description:
  - Connects to each listener of the others at their own addresses, and at the virtual addresses, and waits until a backend has answered. Where nginx ends TLS,
    it offers TLS 1.1, which has to be refused, and looks whether browsers are told to come by TLS only.
  - Each virtual address has to be on exactly one host.
  - It changes nothing. What is not as it should be fails the task, in check mode it is a finding.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
options:
  me:
    description: The name of this host; it does not come to itself. Any other name, as that of the control node, comes to all.
    type: str
    required: true
  balancers:
    description: The balancers, as M(paas.hardening.host_load_balancer) returns each as RV(paas.hardening.host_load_balancer#module:balancer).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name of the host.
        type: str
        required: true
      address:
        description: Its own address.
        type: str
        required: true
      virtual_addresses:
        description: The virtual addresses.
        type: list
        elements: str
        default: []
      holds:
        description: Those of them that the host had when it was looked at.
        type: list
        elements: str
        default: []
      peers:
        description: The own addresses of the other hosts that may have them.
        type: list
        elements: str
        default: []
      listeners:
        description: The listeners.
        type: list
        elements: dict
        required: true
        suboptions:
          name:
            description: Its name.
            type: str
            required: true
          port:
            description: Its port.
            type: int
            required: true
          mode:
            description: Whether connections are passed on, or requests read.
            type: str
            choices: [tcp, http]
            required: true
          answers:
            description: What its backends answer with.
            type: str
            choices: [any, banner, http, tls]
            required: true
          encrypted:
            description: Whether nginx ends TLS there.
            type: bool
            default: false
          redirect:
            description: Whether it sends everybody to HTTPS.
            type: bool
            default: false
          server_name:
            description: A name to ask for.
            type: str
            default: ''
          hsts:
            description: Whether browsers have to be told to come by TLS only.
            type: bool
            default: false
          patience:
            description: Seconds that nginx waits for one backend.
            type: int
            default: 3
  timeout:
    description: Seconds that an answer may take beside these.
    type: float
    default: 3.0
notes:
  - Whether a certificate is good is judged by M(paas.hardening.host_load_balancer), where it lies.
seealso:
  - module: paas.hardening.host_load_balancer
"""

EXAMPLES = r"""
- name: Look from every host at the others
  paas.hardening.host_load_balancer_reach:
    me: "{{ inventory_hostname }}"
    balancers: "{{ groups.load_balancer | map('extract', hostvars, ['result', 'balancer']) | list }}"
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
      sample: host-balancer-reach
    title:
      description: What it says.
      type: str
      returned: success
      sample: Seen from another host, each listener answers, and the virtual address is on one host
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: high
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Deis Workflow, Configuring Load Balancers", "section": "Idle connection timeouts", "sentence": "..."}
    subject:
      description: What it is about.
      type: str
      returned: success
      sample: from lb1
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: pass
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: 7 observations are as they should be
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: 7 observations are as they should be
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: 7 observations are as they should be
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
      sample: db2
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Does a firewall stand between?
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_load_balancer_reach import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
