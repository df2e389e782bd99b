# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a Workflow platform's images in a registry outside of the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workflow_registry
short_description: Keep a Workflow platform's images in a registry outside of the cluster
version_added: 0.1.0
description:
  - Makes a running Deis, Hephy or Drycc Workflow push images to, and its apps pull them from, a registry that does not live and die with the
    cluster, and keeps it so.
  - The account is tried before anything is written, and an upload is begun and given up to see that it may push. Then the settings are switched,
    and the builder and the controller restarted, one after the other. When that fails, it is taken back.
  - The Secret with which an app's pods pull is made where it is missing, and renewed where it is stale. The platform itself writes it with each
    release only, so that a changed password locks new pods out until then.
  - Apps whose releases run images of the bundled registry are named, and stop the run unless O(images) says what is to become of them. The
    bundled registry is never removed.
  - Tells what the next C(helm upgrade) does to each setting. The password is never written into RV(overlay), but the chart writes what its values
    say as soon as they name the location, so it has to stand in a values file of your own.
  - The registry is asked from where the module runs, out of the controller's pod, and for each image that apps run, by digest.
extends_documentation_fragment:
  - paas.hardening.attributes
  - paas.hardening.cluster
  - paas.hardening.enforcement
author:
  - the paas.hardening contributors (@paas-hardening)
options:
  location:
    description:
      - What the platform calls the place. V(off-cluster) is any registry with an account and a password.
      - V(ecr) and V(gcr) exist on Deis and Hephy, whose chart brings the token refresher that they need. They are refused until it runs. Drycc's
        code knows neither.
    type: str
    choices: [off-cluster, ecr, gcr]
    default: off-cluster
  state:
    description:
      - V(external) keeps images outside, V(reverted) goes back to the bundled registry and to what the chart states.
      - For V(reverted) the registry and its account are read from the platform's own settings.
    type: str
    choices: [external, reverted]
    default: external
  server:
    description:
      - Host of the registry, with its port where that is not the usual one, as names of images begin with it. V(docker.io) is Docker Hub.
      - The nodes, the pods and the host where the module runs have to reach it under this name.
    type: str
  organization:
    description:
      - Organization, project or path under which the account pushes. Images are called O(server)/O(organization)/APP.
      - Has to be given, since the platforms' manuals and the builder of Drycc demand it.
    type: str
  account:
    description: The account that pushes and pulls.
    type: str
  account_password:
    description: Its password or token.
    type: str
  account_password_file:
    description: File that holds it and nothing else.
    type: path
  access_key:
    description: Access key (O(location=ecr)). Without any key the machines themselves need the right.
    type: str
  access_key_file:
    description: File that holds the access key.
    type: path
  secret_key:
    description: Secret key (O(location=ecr)).
    type: str
  secret_key_file:
    description: File that holds the secret key.
    type: path
  region:
    description: Region (O(location=ecr)).
    type: str
  service_account:
    description: Key of the service account, as JSON text or, as in the chart's values, in base64 (O(location=gcr)).
    type: str
  service_account_file:
    description: File that holds it.
    type: path
  credentials_secret:
    description:
      - Name of a Secret in the platform's namespace with the credentials that are given neither as options nor as files.
      - Its keys are called like the options, or as the platform calls them (C(username), C(password)).
    type: str
  images:
    description:
      - What becomes of images that apps run and that are not where the platform will keep them.
      - V(refuse) stops the run and names the apps.
      - V(copy) copies them by digest, and leads the running apps after, one by one, with the pull Secret that they need. The controller does not
        know of it; each app still has to be built anew before anything else of it is changed.
      - V(keep) leaves them. The bundled registry then has to go on running until each of the apps was built anew.
    type: str
    choices: [refuse, copy, keep]
    default: refuse
  scheme:
    description: How the registry is asked. For V(http) every node's container runtime has to be told to trust it.
    type: str
    choices: [https, http]
    default: https
  ca_file:
    description: Certificates by which the registry is verified where the module runs. Nodes and pods have their own.
    type: path
seealso:
  - module: paas.hardening.workflow_object_storage
  - module: paas.hardening.workflow_info
"""

EXAMPLES = r"""
- name: See what would change, and which apps still run images of the bundled registry
  paas.hardening.workflow_registry:
    server: registry.example.com
    organization: paas
    account: robot
    account_password_file: /etc/paas/registry-password
    images: keep
  check_mode: true
  diff: true

- name: Keep images outside, those of running apps included
  paas.hardening.workflow_registry:
    server: registry.example.com
    organization: paas
    account: robot
    account_password: "{{ vault_registry_password }}"
    images: copy

- name: See to Amazon's registry, after an upgrade with its values
  paas.hardening.workflow_registry:
    location: ecr
    region: eu-central-1
    credentials_secret: registry-keys

- name: Go back to the bundled registry, and bring the images back
  paas.hardening.workflow_registry:
    state: reverted
    images: copy
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
      sample: Deployment deis/deis-builder
    field:
      description: The field; list entries stand by name, V((object\)) is the whole object.
      type: str
      returned: always
      sample: spec.template.spec.containers[deis-builder].env[DEIS_REGISTRY_LOCATION].value
    before:
      description: The value that was there, or null.
      type: raw
      returned: always
      sample: on-cluster
    after:
      description: The value that is wanted, or null when the field or object goes.
      type: raw
      returned: always
      sample: off-cluster
    why:
      description: The reason.
      type: str
      returned: always
      sample: images are kept outside of the cluster
    stage:
      description: The stage of the move in which it is done, of work that takes several.
      type: str
      returned: for a move
      sample: switch
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
      sample: registry
    title:
      description: What it says.
      type: str
      returned: success
      sample: Images are kept outside of the cluster
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: high
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Deis Workflow, Production Deployments", "section": "Running Workflow without Minio", "sentence": "..."}
    subject:
      description: The object that it is about.
      type: str
      returned: success
      sample: image registry of Hephy Workflow
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: fixed
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: images are kept in registry.example.com
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: images are kept in the bundled registry, or not where they should be
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: images are kept in registry.example.com
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
      sample: [{"what": "https://registry.example.com/v2/ with the account, from here", "expected": "200", "observed": "200", "verdict": "pass"}]
durability:
  description: For each setting, what the next C(helm upgrade) with the same values does to it.
  returned: success, empty without O(durability)
  type: list
  elements: dict
  sample:
    - object: Deployment deis/deis-builder
      field: spec.template.spec.containers[deis-builder].env[DEIS_REGISTRY_LOCATION].value
      outcome: reverted
      lasts: false
      reason: The chart states this field, and Helm's three-way merge puts the chart's value back.
      values_path: global.registry_location
      helm: {"release": "hephy", "namespace": "deis", "chart": "workflow-2.23.0", "revision": 1}
overlay:
  description: Helm values that make the settings last, as far as the chart has keys for them. Pass them as the last C(--values) of every upgrade.
  returned: success
  type: dict
  sample: {"global": {"registry_location": "off-cluster"}}
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
      sample: Deployment deis/deis-builder
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Grant patch on deployments in namespace deis.
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.enforcement import verb_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry import CONTROL
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(verb_of(CONTROL))


if __name__ == "__main__":
    main()
