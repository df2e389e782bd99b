# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""See from the server who receives its log, and what commits wait for."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_postgres_receiver_reach
short_description: See from the server who receives its log, and what commits wait for
version_added: 0.1.0
description:
  - Asks the server of this host who receives its log, as which role, by TLS or not, whether their slots are in use, and whether commits wait for them.
  - Says in words what becomes of commits while nobody is there to receive them.
  - It changes nothing. What is not as it should be fails the task, in check mode it is a finding.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - root on the host of the server
options:
  me:
    description: The name of this host, for the report.
    type: str
    required: true
  receivers:
    description: The receivers, by their names in the inventory.
    type: list
    elements: str
    required: true
  role:
    description: The role that they come as.
    type: str
    default: receiver
  commits:
    description:
      - What has to become of commits while no receiver is there. With V(wait) each waits, so that none is ever acknowledged and lost. With V(proceed) they go
        on, and those that nobody has received yet are lost with the server.
    type: str
    choices: [proceed, wait]
    default: wait
  timeout:
    description: For how many seconds to wait until a receiver has caught up.
    type: float
    default: 15.0
seealso:
  - module: paas.hardening.host_postgres_receiver
"""

EXAMPLES = r"""
- name: Fail unless commits wait for the receiver
  paas.hardening.host_postgres_receiver_reach:
    me: db1
    receivers: [backup1]
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
      sample: host-postgres-receiver-reach
    title:
      description: What it says.
      type: str
      returned: success
      sample: "Seen from another host, PostgreSQL proves who it is, and lets in whom its inventory names"
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: high
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "OpenG2P, Production Deployment", "section": "Standalone PostgreSQL", "sentence": "..."}
    subject:
      description: What it is about.
      type: str
      returned: success
      sample: from db2
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: pass
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: 4 log-ins are as they should be
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: 4 log-ins are as they should be
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: 4 log-ins are as they should be
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

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_receiver_reach import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
