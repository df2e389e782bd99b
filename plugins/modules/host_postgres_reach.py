# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try from here to log in at PostgreSQL servers, without a password."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_postgres_reach
short_description: Try from here to log in at PostgreSQL servers, without a password
version_added: 0.1.0
description:
  - Connects to each server as a client with C(sslmode=verify-full) does, up to the point where it would have to send a password. So it is seen, without
    knowing one, that the server proves who it is, asks by SCRAM those roles that it should let in from here, and refuses everybody else, and everybody
    who comes without TLS.
  - It changes nothing. A log-in that does not end as it should fails the task, in check mode it is a finding.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
options:
  me:
    description: The name of this host, for the report.
    type: str
    required: true
  servers:
    description: The servers, as M(paas.hardening.host_postgres) returns each as RV(paas.hardening.host_postgres#module:server).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name that its certificate has to have.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 5432
      authority:
        description: The authority's certificate, in PEM.
        type: str
        required: true
      access:
        description: Who may log in from where.
        type: list
        elements: dict
        default: []
        suboptions:
          database:
            description: One database.
            type: str
            required: true
          role:
            description: One role.
            type: str
            required: true
          network:
            description: One address or network, or V(local).
            type: str
            required: true
      standby:
        description: Whether it is a standby. It lets in the same.
        type: bool
        default: false
      version:
        description: Its version; not looked at.
        type: str
        default: ''
  timeout:
    description: Seconds that a server may take for an answer.
    type: float
    default: 3.0
notes:
  - From a host that no entry names it is as well that the server cannot be reached at all, as behind a firewall.
seealso:
  - module: paas.hardening.host_postgres
"""

EXAMPLES = r"""
- name: Look from every host at the servers
  paas.hardening.host_postgres_reach:
    me: "{{ inventory_hostname }}"
    servers: "{{ groups.postgres | map('extract', hostvars, ['result', 'server']) | list }}"
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
      sample: host-postgres-reach
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

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_reach import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
