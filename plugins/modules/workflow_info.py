# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which Workflow platform runs, in which versions, and how it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workflow_info
short_description: Tell which Workflow platform runs, in which versions, and how it is
version_added: 0.1.0
description:
  - Finds out which of Deis, Hephy and Drycc Workflow runs in the cluster, and says because of what.
  - Returns its Helm releases, its components with version and health, and the nodes. Values and Secrets are not returned.
extends_documentation_fragment:
  - paas.hardening.attributes
  - paas.hardening.cluster
attributes:
  diff_mode:
    description: There is nothing to show, since nothing is changed.
    support: N/A
author:
  - the paas.hardening contributors (@paas-hardening)
seealso:
  - module: paas.hardening.workflow_registration
  - module: paas.hardening.workflow_router_scale
"""

EXAMPLES = r"""
- name: Find out what runs
  paas.hardening.workflow_info:
  register: workflow

- name: Stop when something is not healthy
  ansible.builtin.assert:
    that: workflow.components | rejectattr('health', 'eq', 'ready') | length == 0
"""

RETURN = r"""
platform:
  description: The platform, the namespace it runs in, and the evidence.
  returned: success
  type: dict
  sample: {"name": "hephy", "title": "Hephy Workflow", "namespace": "deis", "evidence": ["Deployment deis-controller with label heritage=deis"]}
releases:
  description: The Helm releases in the namespace of the platform, newest deployed revision each.
  returned: success
  type: list
  elements: dict
  sample:
    - name: hephy
      namespace: deis
      chart: workflow-2.23.0
      app_version: v2.23.0
      revision: 1
      status: deployed
      method: csa
      locked: false
components:
  description: The workloads of the platform. Health is ready, progressing or failed, with the reason.
  returned: success
  type: list
  elements: dict
  sample:
    - component: router
      kind: Deployment
      name: deis-router
      version: v2.19.0
      images: ["hephy/router:v2.19.0"]
      replicas: 1
      ready: 1
      health: ready
      reason: ""
kubernetes:
  description: Version of the API server, nodes, and their zones.
  returned: success
  type: dict
  sample: {"version": "v1.36.3", "nodes": 2, "nodes_ready": 2, "zones": ["zone-a", "zone-b"]}
plan:
  description: Always empty, since nothing is changed.
  returned: success
  type: list
  elements: dict
  sample: []
waited:
  description: Always 0, since nothing is waited for.
  returned: success
  type: float
  sample: 0.0
failure:
  description: What went wrong, in a form for programs.
  returned: failure
  type: dict
  sample: {"reason": "NotFound", "code": null, "object": "", "hint": "Check kubeconfig, context and namespace."}
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.inventory import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
