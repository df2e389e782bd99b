# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shut the buckets that a platform uses outside of its cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bucket_settings
short_description: Shut the buckets that a platform uses outside of its cluster
version_added: 0.1.0
description:
  - Takes the buckets of an S3 store and blocks public access, refuses what comes without TLS, keeps versions, and lets old versions and torn uploads
    go after a while.
  - Only what an option asks for is read and written. What others put into a policy or a lifecycle stays, except statements that let everybody in.
  - Then it looks from outside, without credentials and without TLS, whether the bucket is shut.
  - No rule ever removes the current version of an object by its age. The platforms delete old database backups themselves
    (E(BACKUPS_TO_RETAIN)); a rule by age would remove the last one when backups have stopped.
  - Returns for each component the policy of an identity that may use its own bucket and nothing else. Deis and Hephy have one identity for all of
    their components; give it the policies of all buckets.
extends_documentation_fragment:
  - paas.hardening.attributes
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - botocore (pip install botocore)
options:
  buckets:
    description: The bucket of each component, by role, as for M(paas.hardening.workflow_object_storage). The roles are names of your own choice here.
    type: dict
    required: true
  endpoint:
    description: URL of an S3 store of one's own, without a path. Without it O(region) of AWS.
    type: str
  region:
    description: Region of the store.
    type: str
    default: us-east-1
  access_key:
    description:
      - Access key of an identity that may manage the buckets. Without any key the usual places are looked at (environment, role of the machine).
    type: str
  access_key_file:
    description: File that holds the access key and nothing else.
    type: path
  secret_key:
    description: Secret key of that identity.
    type: str
  secret_key_file:
    description: File that holds the secret key and nothing else.
    type: path
  ca_file:
    description: Certificates by which the store is verified.
    type: path
  public_access_blocked:
    description:
      - Whether nobody without credentials gets in. On stores that know no such block (MinIO, Versity gateway), statements of the bucket's policy that
        allow something to everybody, on no condition, are taken out.
      - V(false) takes the block away again. Without the option it is left alone.
    type: bool
  tls_only:
    description:
      - Whether the bucket's policy refuses what comes without TLS. Refused for an O(endpoint) with C(http), whose users would be shut out.
      - V(false) takes the statement away again. Without the option it is left alone.
    type: bool
  versioning:
    description:
      - Whether the bucket keeps what is overwritten or deleted. V(false) suspends that; versions that there are stay.
      - Without the option it is left alone.
    type: bool
  noncurrent_days:
    description: After how many days a version that was replaced or deleted goes. V(0) keeps them; without the option they are left alone.
    type: int
  abort_multipart_days:
    description: After how many days the parts of an upload that was never finished go. V(0) keeps them; without the option they are left alone.
    type: int
  probe:
    description: Whether to look from outside, without credentials and without TLS, whether the bucket is shut. When it is not, the task fails.
    type: bool
    default: true
seealso:
  - module: paas.hardening.workflow_object_storage
"""

EXAMPLES = r"""
- name: See how the buckets stand
  paas.hardening.bucket_settings:
    endpoint: https://s3.example.com
    access_key_file: /etc/paas/access-key
    secret_key_file: /etc/paas/secret-key
    buckets: {builder: paas-builder, registry: paas-registry, database: paas-database}
    public_access_blocked: true
    tls_only: true
  check_mode: true
  diff: true

- name: Shut them, and keep what is overwritten for a month
  paas.hardening.bucket_settings:
    endpoint: https://s3.example.com
    access_key_file: /etc/paas/access-key
    secret_key_file: /etc/paas/secret-key
    buckets: {builder: paas-builder, registry: paas-registry, database: paas-database}
    public_access_blocked: true
    tls_only: true
    versioning: true
    noncurrent_days: 30
    abort_multipart_days: 7
  register: buckets

- name: Show what the identity of the registry needs
  ansible.builtin.debug:
    var: buckets.identity_policies.registry

- name: Roll back
  paas.hardening.bucket_settings:
    endpoint: https://s3.example.com
    access_key_file: /etc/paas/access-key
    secret_key_file: /etc/paas/secret-key
    buckets: {builder: paas-builder, registry: paas-registry, database: paas-database}
    public_access_blocked: false
    tls_only: false
    versioning: false
    noncurrent_days: 0
    abort_multipart_days: 0
"""

RETURN = r"""
changed:
  description: Whether something was changed, or would be in check mode.
  returned: always
  type: bool
  sample: true
waited:
  description: Always 0. The settings of buckets take effect at once.
  returned: success
  type: float
  sample: 0.0
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
      sample: BucketVersioning paas-registry
    field:
      description: The field, as the API of S3 calls it.
      type: str
      returned: always
      sample: Status
    before:
      description: The value that was there, or null.
      type: raw
      returned: always
      sample: null
    after:
      description: The value that is wanted, or null when the field or object goes.
      type: raw
      returned: always
      sample: Enabled
    why:
      description: The reason.
      type: str
      returned: always
      sample: what is overwritten or deleted by mistake can be had back
findings:
  description: What was found, for each bucket.
  returned: success
  type: list
  elements: dict
  contains:
    control:
      description: Identifier of the recommendation.
      type: str
      returned: success
      sample: bucket-settings
    title:
      description: What it says.
      type: str
      returned: success
      sample: Buckets outside of the cluster are shut and keep what is overwritten
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: high
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Amazon S3 User Guide", "section": "Preventative security best practices", "sentence": "..."}
    subject:
      description: The object that it is about.
      type: str
      returned: success
      sample: bucket paas-registry at https://s3.example.com
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: fixed
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: versioning as asked
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: versioning not as asked
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: versioning as asked
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
      description: Always empty. No Helm chart has a say in buckets.
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
      sample: [{"what": "listing of paas-registry without credentials", "expected": "refused", "observed": "HTTP 403", "verdict": "pass"}]
identity_policies:
  description: For each role the policy of an identity that may use its bucket and nothing else.
  returned: success
  type: dict
  sample:
    registry:
      Version: "2012-10-17"
      Statement:
        - Sid: Bucket
          Effect: Allow
          Action: [s3:GetBucketLocation, s3:ListBucket, s3:ListBucketMultipartUploads]
          Resource: [arn:aws:s3:::paas-registry]
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
      sample: paas-registry
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Grant it to the identity, or take another.
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.bucket_settings import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
