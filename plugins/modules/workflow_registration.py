# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Close or open the registration of accounts on a Workflow platform."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workflow_registration
short_description: Close or open the registration of accounts on a Workflow platform
version_added: 0.1.0
description:
  - Sets who may register an account on a running Deis, Hephy or Drycc Workflow, in the way that the platform's code really obeys.
  - On Deis and Hephy that is E(REGISTRATION_MODE) of the controller; on Drycc it is E(REGISTRATION_ENABLED) of the passport, since its
    documented E(REGISTRATION_MODE) has no effect.
  - Waits for the rollout, then proves the effect by the answer of the registration page or request, without creating an account.
  - Tells what the next C(helm upgrade) will do to the setting, and which other doors stay open beside it.
extends_documentation_fragment:
  - paas.hardening.attributes
  - paas.hardening.cluster
  - paas.hardening.enforcement
author:
  - the paas.hardening contributors (@paas-hardening)
options:
  mode:
    description:
      - V(admin_only) leaves account creation to administrators, V(disabled) refuses it to everybody, V(enabled) opens it to everybody.
      - Drycc knows no difference between V(admin_only) and V(disabled).
    type: str
    choices: [admin_only, disabled, enabled]
    default: admin_only
  require_administrator:
    description:
      - Refuse to close registration while no active administrator exists, or while that cannot be read.
      - On Deis and Hephy the first account that registers while there is no administrator becomes one, whatever the mode.
    type: bool
    default: true
seealso:
  - module: paas.hardening.workflow_router_scale
  - module: paas.hardening.workflow_info
"""

EXAMPLES = r"""
- name: See what would change, and whether registration is open now
  paas.hardening.workflow_registration:
    mode: admin_only
  check_mode: true
  diff: true

- name: Close registration
  paas.hardening.workflow_registration:
    mode: admin_only

- name: Close registration of one of several platforms in the cluster
  paas.hardening.workflow_registration:
    kubeconfig: ~/.kube/production
    platform: drycc-head
    namespace: drycc

- name: Roll back
  paas.hardening.workflow_registration:
    mode: enabled
"""

RETURN = r"""
changed:
  description: Whether something was changed, or would be in check mode.
  returned: always
  type: bool
  sample: true
waited:
  description: Seconds spent waiting for rollouts.
  returned: success
  type: float
  sample: 4.2
platform:
  description: The platform, the namespace it runs in, and the evidence.
  returned: success
  type: dict
  contains:
    name:
      description: Its name, as the option O(platform) takes it.
      type: str
      returned: success
      sample: hephy
    title:
      description: Its name for people.
      type: str
      returned: success
      sample: Hephy Workflow
    namespace:
      description: The namespace.
      type: str
      returned: success
      sample: deis
    evidence:
      description: Why it was taken for that.
      type: list
      elements: str
      returned: success
      sample: ["Deployment deis-controller with label heritage=deis"]
plan:
  description: Every field that was changed, or would be in check mode. Secrets are hidden.
  returned: always, after a failure only what had been written
  type: list
  elements: dict
  contains:
    object:
      description: The object.
      type: str
      returned: always
      sample: Deployment deis/deis-router
    field:
      description: The field; list entries stand by name, V((object\)) is the whole object.
      type: str
      returned: always
      sample: spec.replicas
    before:
      description: The value that was there, or null.
      type: raw
      returned: always
      sample: 1
    after:
      description: The value that is wanted, or null when the field or object goes.
      type: raw
      returned: always
      sample: 2
    why:
      description: The reason.
      type: str
      returned: always
      sample: 2 routers, so that one may fail
findings:
  description: What the recommendation found, itself first, then what else was seen beside it.
  returned: success
  type: list
  elements: dict
  contains:
    control:
      description: Identifier of the recommendation or of what was seen beside it.
      type: str
      returned: success
      sample: router-scale
    title:
      description: What it says.
      type: str
      returned: success
      sample: More than one router answers
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: high
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Deis Workflow, Production Deployments", "section": "Scale Routers", "sentence": "..."}
    subject:
      description: The object that it is about.
      type: str
      returned: success
      sample: Deployment deis/deis-router
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: fixed
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: 2 routers, spread soft, disruption budget
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: 1 routers, 1 ready on 1 nodes, 0 disruption budgets
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: 2 routers, 2 ready on 2 nodes, 1 disruption budgets
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
      description: As RV(proof).
      type: dict
      returned: success
      sample: {"verdict": "pass", "checks": []}
    durability:
      description: As RV(durability).
      type: list
      elements: dict
      returned: success
      sample: []
proof:
  description: What was seen from outside.
  returned: success
  type: dict
  contains:
    verdict:
      description: One of pass, fail, unknown.
      type: str
      returned: success
      sample: pass
    checks:
      description: Each observation, with what was asked, expected and observed, and its verdict.
      type: list
      elements: dict
      returned: success
      sample: [{"what": "GET :9090/healthz on pod deis-router-6d4f", "expected": "200", "observed": "200", "verdict": "pass"}]
durability:
  description: For each setting, what the next C(helm upgrade) with the same values does to it.
  returned: success, empty without O(durability)
  type: list
  elements: dict
  sample:
    - object: Deployment deis/deis-router
      field: spec.replicas
      outcome: reverted
      lasts: false
      reason: the chart states 1 and has no values key for it
      values_path: null
      helm: {"release": "hephy", "namespace": "deis", "chart": "workflow-2.23.0", "revision": 1}
overlay:
  description: Helm values that make the settings last, as far as the chart has keys for them. Pass them as the last C(--values) of every upgrade.
  returned: success
  type: dict
  sample: {"controller": {"registration_mode": "admin_only"}}
failure:
  description: What went wrong, in a form for programs.
  returned: failure
  type: dict
  contains:
    reason:
      description: The class of the failure.
      type: str
      returned: failure
      sample: Forbidden
    code:
      description: The HTTP status, where there was one.
      type: int
      returned: failure
      sample: 403
    object:
      description: The object or option that it is about.
      type: str
      returned: failure
      sample: Deployment deis/deis-router
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Grant patch on deployments in namespace deis.
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.enforcement import verb_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registration import CONTROL
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(verb_of(CONTROL))


if __name__ == "__main__":
    main()
