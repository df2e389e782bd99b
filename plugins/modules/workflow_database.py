# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move a Workflow platform's database out of the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workflow_database
short_description: Move a Workflow platform's database out of the cluster
version_added: 0.1.0
description:
  - Takes a running Workflow platform off the PostgreSQL inside its cluster, whose rows live in pods, and keeps it off. On Drycc each component
    has a database of its own; all of them move, or none.
  - The move is one plan, which check mode shows whole. The target is looked at and prepared, what uses the database stands still, each database
    is dumped and restored, and both sides are B(compared row by row), with sequences, extensions, owners, large objects and definitions. Only
    then the settings are switched, and the platform goes on.
  - A server that has fewer connections left than the platform may open is refused before anything is touched.
  - When anything fails while the platform stands still, everything since is taken back, and it goes on with the old database. When the run
    is killed, or cannot reach the cluster any more, a guard in the cluster does that a minute later (O(guard)), or the next run before it begins.
  - On Deis and Hephy the Secret C(database-creds) gets the keys of a database outside, which no C(helm upgrade) ever adds to it; without them an
    upgrade to C(off-cluster) would stop the controller and delete the old database in the same moment.
  - On the newest Drycc the Job C(drycc-controller-job-upgrade), which is over, is deleted at the end. It names the old database and cannot be
    changed, so the first upgrade that states the new one would stop at it; that upgrade makes it anew.
  - Drycc's chart writes the URL of Grafana, with its password, into the pod template; it has no Secret for it, and neither has this module.
  - The old database is kept, and closed to writers.
extends_documentation_fragment:
  - paas.hardening.attributes
  - paas.hardening.cluster
  - paas.hardening.enforcement
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - psql, pg_dump and pg_restore, at least as new as both servers
options:
  server:
    description: Host name or address of the PostgreSQL server, as the pods and the host where the module runs reach it.
    type: str
    required: true
  port:
    description: Its port.
    type: int
    default: 5432
  name:
    description: The database there. Without it it is called as in the cluster. On Drycc give O(names).
    type: str
  names:
    description:
      - The databases there by component, V(controller), V(passport), V(grafana) and V(quickwit), where they are not called like the component.
      - For Drycc only.
    type: dict
  replica_server:
    description:
      - Host name or address of a server that Drycc's components may read from, with the port of O(server). Without it they read where they write.
      - It has to follow O(server) by itself; it is not looked at.
    type: str
  role:
    description:
      - The role that the platform logs in as. Without it it is called as in the cluster, and has the same password.
      - On Deis and Hephy, with another one the old database can no longer be started anew, since its pod takes the role out of the same Secret.
    type: str
  role_password:
    description: Password of that role.
    type: str
  role_password_file:
    description: File that holds the password and nothing else.
    type: path
  sslmode:
    description:
      - How TLS is used, as libpq means it. The platform's own driver gets it too, but as V(require) where this one verifies, since its pods have
        no certificate to verify with.
      - On Drycc V(allow) is refused, since Grafana's driver does not know it, and V(prefer) is no TLS for Grafana. A server that insists on TLS
        needs V(require) there.
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_file:
    description: Certificates by which the server is verified where the module runs.
    type: path
  ca_certificates:
    description: Those certificates themselves, in PEM, as M(paas.hardening.host_postgres) returns them. Kept in O(work_folder).
    type: str
  admin_role:
    description:
      - A role that may make roles and databases. With it both are made where they are missing. Without it they have to exist, and the database
        has to be empty.
    type: str
  admin_password:
    description: Password of that role.
    type: str
  admin_password_file:
    description: File that holds it.
    type: path
  admin_database:
    description: The database that it enters.
    type: str
    default: postgres
  connections:
    description:
      - How many connections the platform opens at most. Without it that is reckoned from the pods, the workers (C(GUNICORN_WORKERS)) and the cores
        of the nodes, old and new pods of a rollout side by side. Give it where a pooler stands before the server.
      - The server has to have as many beside those that it reserves and those that others use at the time of the move.
    type: int
  old_database:
    description: V(read_only) closes the bundled database to writers after the move, V(keep) leaves it as it is.
    type: str
    choices: [read_only, keep]
    default: read_only
  freeze_timeout:
    description: Seconds for which the platform may stand still. A move that takes longer goes back to the old database.
    type: int
    default: 3600
  guard:
    description:
      - Whether a guard watches from within the cluster while the platform stands still. It is a Job in the platform's namespace, with an image of
        the platform and rights to the very objects that are changed; it goes when the platform goes on.
      - Before anything stands still it tries from its pod whether the new server can be connected to, and the move is refused when it cannot.
      - Without it the platform stands still from when a run is killed until the next run takes back what it left.
    type: bool
    default: true
  client_folder:
    description: Folder with psql, pg_dump and pg_restore. Without it they are looked for in E(PATH) and where distributions put them.
    type: path
  work_folder:
    description: Where the dump is kept. It holds everything that the database holds; only the owner may read it.
    type: path
    default: ~/.cache/paas.hardening/database
seealso:
  - module: paas.hardening.workflow_object_storage
  - module: paas.hardening.workflow_info
"""

EXAMPLES = r"""
- name: See the whole move, and what is not ready for it
  paas.hardening.workflow_database:
    server: db.internal.example.com
    admin_role: postgres
    admin_password_file: /etc/paas/postgres-password
  check_mode: true
  diff: true

- name: Move the database, with a role and a database that are made there
  paas.hardening.workflow_database:
    server: db.internal.example.com
    sslmode: verify-full
    ca_file: /etc/ssl/certs/internal.pem
    admin_role: postgres
    admin_password_file: /etc/paas/postgres-password

- name: Move it into a database that exists
  paas.hardening.workflow_database:
    server: db.internal.example.com
    name: workflow
    role: workflow
    role_password: "{{ vault_database_password }}"

- name: Move the four databases of Drycc, behind TLS, with a second server to read from
  paas.hardening.workflow_database:
    platform: drycc-head
    server: db.internal.example.com
    replica_server: db-reader.internal.example.com
    sslmode: require
    admin_role: postgres
    admin_password_file: /etc/paas/postgres-password
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
      sample: Deployment deis/deis-controller
    field:
      description: The field; list entries stand by name, V((object\)) is the whole object.
      type: str
      returned: always
      sample: spec.template.spec.containers[deis-controller].env[DEIS_DATABASE_SERVICE_HOST].value
    before:
      description: The value that was there, or null.
      type: raw
      returned: always
      sample: null
    after:
      description: The value that is wanted, or null when the field or object goes.
      type: raw
      returned: always
      sample: db.example.com
    why:
      description: The reason.
      type: str
      returned: always
      sample: a service outside of the cluster
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
      sample: database
    title:
      description: What it says.
      type: str
      returned: success
      sample: The database is outside of the cluster
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
      sample: database of Hephy Workflow
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: fixed
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: the platform uses db.example.com:5432
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: the platform uses the bundled database
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: the platform uses db.example.com:5432
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
      sample: [{"what": "GET :8000/readiness on deis-controller", "expected": "200", "observed": "200", "verdict": "pass"}]
durability:
  description: For each setting, what the next C(helm upgrade) with the same values does to it.
  returned: success, empty without O(durability)
  type: list
  elements: dict
  sample:
    - object: Secret deis/database-creds
      field: data.host
      outcome: not_chart_owned
      lasts: true
      reason: No release has this object.
      values_path: null
      helm: {"release": "hephy", "namespace": "deis", "chart": "workflow-2.23.0", "revision": 1}
overlay:
  description: Helm values that make the settings last, as far as the chart has keys for them. Pass them as the last C(--values) of every upgrade.
  returned: success
  type: dict
  sample: {}
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

from ansible_collections.paas.hardening.plugins.module_utils._controls.database import CONTROL
from ansible_collections.paas.hardening.plugins.module_utils._controls.enforcement import verb_of
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(verb_of(CONTROL))


if __name__ == "__main__":
    main()
