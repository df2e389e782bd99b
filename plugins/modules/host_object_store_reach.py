# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try from here what S3 servers show to those who do not say who they are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_object_store_reach
short_description: Try from here what S3 servers show to those who do not say who they are
version_added: 0.1.0
description:
  - Connects to each store by TLS, verifies its certificate in full, asks how it is, and tries without credentials to see its buckets; then without TLS.
    So it is seen, without knowing a secret, that the store proves who it is, is well, and shows nothing to strangers.
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
  stores:
    description: The stores, as M(paas.hardening.host_object_store) returns each as RV(paas.hardening.host_object_store#module:store).
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
        default: 9000
      endpoint:
        description: Its URL; not looked at.
        type: str
        default: ''
      region:
        description: Its region.
        type: str
        default: us-east-1
      backend:
        description: The kind of server.
        type: str
        choices: [minio, versity]
        default: minio
      authority:
        description: The authority's certificate, in PEM.
        type: str
        required: true
      buckets:
        description: Its buckets.
        type: list
        elements: str
        default: []
      plain_endpoint:
        description: The URL of its door without TLS; not looked at.
        type: str
        default: ''
      ready:
        description: Whether everything that is declared was there; not looked at.
        type: bool
        default: true
  reachable:
    description: Whether this host has to reach the stores. When not, it is as well that it does not.
    type: bool
    default: true
  timeout:
    description: Seconds that a store may take for an answer.
    type: float
    default: 3.0
seealso:
  - module: paas.hardening.host_object_store
"""

EXAMPLES = r"""
- name: Look from every host at the stores
  paas.hardening.host_object_store_reach:
    me: "{{ inventory_hostname }}"
    stores: "{{ groups.object_store | map('extract', hostvars, ['result', 'store']) | list }}"
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
      sample: host-object-store-reach
    title:
      description: What it says.
      type: str
      returned: success
      sample: "Seen from another host, the object store proves who it is, and shows nothing without credentials"
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: high
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "OpenG2P, Production Deployment", "section": "Standalone object store", "sentence": "..."}
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

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_object_store_reach import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
