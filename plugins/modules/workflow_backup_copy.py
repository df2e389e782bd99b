# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a copy of the recovery points in another place, and bring it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workflow_backup_copy
short_description: Keep a copy of the recovery points in another place, and bring it back
version_added: 0.1.0
description:
  - "With O(state=copied) every proved point of a repository that O(retention) keeps is in a bucket of an S3 store, whole. What is new of it is put there
    and read back from there, and its SHA-256 compared; only then its signed manifest is put, which makes it one that counts. Content that several points
    share goes once. No answer, ETag or exit status is believed."
  - Nothing there is ever replaced. Where the bucket has object lock, everything is put with a lock, and what a new point shares with older ones is locked as
    long as that point; a lock is never shortened. How long is reckoned by the clock of the store.
  - A copy goes only when no rule of O(retention) keeps it and its lock has run out, by its versions. Without a rule all of them stay. What the store refuses
    to delete is said.
  - A run that is killed leaves nothing half under a name that counts, and the next one goes on where it ended.
  - "With O(state=fetched) the repository is made again, on a host that may have nothing but the keys: each file is held against what was signed, and a point
    counts here when all of them are right. It is then a repository like any other, for M(paas.hardening.workflow_restore). A wrong key, a changed byte, a
    missing object, and an older manifest in the place of the newest are named, and nothing is published."
  - Where a bucket keeps versions, what somebody hid or wrote over is taken from the version that is right, and said.
  - "A point holds snapshots of etcd, dumps and buckets in the clear; only its Secrets are encrypted. O(recipients) encrypts all content of the copy by age
    before it leaves the host. The manifests stay readable: they have names, sizes, digests and versions of programs, and nothing of the content."
  - A repository of pgBackRest lies outside of the points, and is not in the copy. Give pgBackRest a second repository in another place; the result says so.
  - To copy after each point, run it in a play after M(paas.hardening.workflow_backup), or by a timer of its own on the control node; C(docs/offsite.md) has
    both, the rights that the keys need, and what belongs on paper.
extends_documentation_fragment:
  - paas.hardening.attributes
  - paas.hardening.repository
  - paas.hardening.retention
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - botocore (pip install botocore)
  - for O(recipients) and for what was encrypted by them the program age, 1.0 or newer
options:
  state:
    description: Whether the points are to be in the bucket, or here.
    type: str
    choices: [copied, fetched]
    default: copied
  bucket:
    description: The bucket. It has to be there. Object lock is often to be had at its making only.
    type: str
    required: true
  prefix:
    description: What the names of all objects begin with. Each repository needs one of its own.
    type: str
    default: recovery-points
  endpoint:
    description: URL of an S3 store of one's own, without a path. Without it O(region) of AWS.
    type: str
  region:
    description: Region of the store.
    type: str
    default: us-east-1
  keys_file:
    description:
      - File with an access key in its first line and the secret key in the second; readable by its owner only. Without it the usual places are looked at
        (environment, role of the machine).
    type: path
  ca_file:
    description: Certificates by which the store is verified.
    type: path
  object_lock:
    description:
      - With V(required) a bucket without object lock is refused; V(available) locks where the bucket can; V(never) sets no lock of its own.
      - What the bucket locks by itself is never made shorter or weaker.
    type: str
    choices: [required, available, never]
    default: required
  lock_mode:
    description: V(compliance) means that nobody can take the lock away, not even the owner of the account; V(governance), who has a right of its own for that.
    type: str
    choices: [compliance, governance]
    default: compliance
  lock_days:
    description: How many days what is copied now stays locked, to the end of the last one (UTC).
    type: int
    default: 30
  recipients:
    description:
      - Public keys of age, two at least, for whom everything is encrypted that goes there from now on. Keep the private ones elsewhere, one of them on paper.
      - The owner of one of them alone can use the copy. What an earlier run copied in the clear stays there so.
    type: list
    elements: str
    default: []
  age:
    description: Path of age. Without it, it is looked for in E(PATH).
    type: path
  identity_file:
    description: File with a private key of one of the recipients, for O(state=fetched) of what was encrypted.
    type: path
  scratch_folder:
    description: Where one encrypted file at a time lies until it is sent.
    type: path
    default: /var/tmp
  verify:
    description:
      - V(sample) reads some of what was copied earlier whole, beside all that is new; V(all) reads everything, as once a month. Names, sizes and all
        manifests are looked at in any case.
    type: str
    choices: [sample, all]
    default: sample
  sample:
    description: How many objects V(sample) reads.
    type: int
    default: 4
  seed:
    description: Which ones. The same number takes the same ones; without it they are others each time, and the result tells the number.
    type: int
  max_age:
    description:
      - How old the newest copied point may be, as V(26h). With O(state=copied) an older one is a problem that is said, and a limit for Prometheus (without
        it V(2d)); with O(state=fetched) it is refused, since somebody may have taken newer ones away.
    type: str
  points:
    description: With O(state=fetched), whether the newest point comes back, or all of them. What a point stands on comes with it.
    type: str
    choices: [newest, all]
    default: newest
  point:
    description: With O(state=fetched), the identifier of the one point that comes back.
    type: str
  known_point:
    description: With O(state=fetched), the identifier of a point that is known to have been copied. A bucket whose newest one is older is refused.
    type: str
  metrics_file:
    description:
      - A file (*.prom) in the folder of node_exporter's textfile collector. It is written anew by each run with O(state=copied), also by one that fails, and
        in check mode, too. C(docs/backup-alerts.yml) has rules of Prometheus for it.
    type: path
  lock_timeout:
    description: With O(state=fetched), seconds to wait for another run that works on the repository.
    type: int
    default: 600
seealso:
  - module: paas.hardening.workflow_backup
  - module: paas.hardening.workflow_restore
"""

EXAMPLES = r"""
- name: See what is not in the other place yet
  paas.hardening.workflow_backup_copy: &copy
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    endpoint: https://s3.elsewhere.example
    bucket: paas-recovery-points
    keys_file: /etc/paas/copy-keys
    lock_days: 35
    recipients: "{{ age_recipients }}"
    max_age: 26h
    metrics_file: /var/lib/prometheus/node-exporter/paas-copy.prom
  check_mode: true
  diff: true

- name: Copy it there, read it back, and lock it
  paas.hardening.workflow_backup_copy: *copy

- name: Read every byte that is there, once a month
  paas.hardening.workflow_backup_copy:
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    endpoint: https://s3.elsewhere.example
    bucket: paas-recovery-points
    keys_file: /etc/paas/copy-keys
    verify: all

- name: Have the repository again on an empty host, with the keys from paper
  paas.hardening.workflow_backup_copy:
    state: fetched
    repository: /var/backups/paas
    signing_key_file: /run/user/0/backup-signing-key
    endpoint: https://s3.elsewhere.example
    bucket: paas-recovery-points
    keys_file: /run/user/0/copy-keys
    identity_file: /run/user/0/paper-key
    known_point: 00000012-b0240411
"""

RETURN = r"""
changed:
  description: Whether anything was copied, brought here, locked or deleted; in check mode, whether it would be.
  returned: always
  type: bool
  sample: true
waited:
  description: Always 0.
  returned: success
  type: float
  sample: 0.0
plan:
  description: What changes, with what was before, what comes after, and why.
  returned: always
  type: list
  elements: dict
  sample:
    - object: Copy paas-recovery-points/recovery-points/00000012-b0240411
      field: state
      before: null
      after: copied and read back
      why: 3 files of 123731968 bytes are not there
copies:
  description: The points that are in the bucket, the oldest first.
  returned: success, with O(state=copied)
  type: list
  elements: dict
  contains:
    identifier:
      description: The point.
      type: str
      returned: success
      sample: 00000012-b0240411
    instant:
      description: The moment whose data it holds at least.
      type: str
      returned: success
      sample: "2026-11-21T22:24:25Z"
    size:
      description: Bytes of all of its files.
      type: int
      returned: success
      sample: 123731968
    kinds:
      description: What it holds.
      type: list
      elements: str
      returned: success
      sample: [etcd]
    whole:
      description: Whether all of its content is there.
      type: bool
      returned: success
      sample: true
    here:
      description: Whether the point is in the repository, too.
      type: bool
      returned: success
      sample: true
    lock_mode:
      description: How it is locked; empty when it is not.
      type: str
      returned: success
      sample: compliance
    locked_until:
      description: Until when. Empty when it is not locked.
      type: str
      returned: success
      sample: "2026-12-27T00:00:00Z"
newest:
  description: The newest whole copy, as in RV(copies). Empty when there is none.
  returned: success, with O(state=copied)
  type: dict
  sample: {"identifier": "00000012-b0240411", "instant": "2026-11-21T22:24:25Z", "locked_until": "2026-12-27T00:00:00Z"}
rpo_seconds:
  description: How much would be lost if only the copy were left. V(-1) when there is none.
  returned: success
  type: int
  sample: 3600
sent:
  description: Different contents that were put, and their bytes as they lie there.
  returned: success, with O(state=copied)
  type: dict
  sample: {"objects": 3, "bytes": 123731968}
reused:
  description: Different contents of the copied points that were there already; with O(state=fetched), files that were here already.
  returned: success
  type: dict
  sample: {"objects": 41, "bytes": 2684354560}
read_back:
  description: How many objects were read whole and compared.
  returned: success, with O(state=copied)
  type: int
  sample: 7
seed:
  description: By which number those of the sample were chosen.
  returned: success, with O(state=copied)
  type: int
  sample: 91234567
locked:
  description: Copies that no rule of O(retention) keeps, and that are locked still.
  returned: success, with O(state=copied)
  type: list
  elements: str
  sample: ["00000003-0a1b2c3d is kept until 2026-12-01T00:00:00Z: it is locked"]
protection:
  description: Whether the bucket keeps versions, and whether it has object lock.
  returned: success, with O(state=copied)
  type: dict
  sample: {"versions": true, "object_lock": true}
uncovered:
  description: What the newest copied point takes beside the copy.
  returned: success, with O(state=copied)
  type: list
  elements: str
  sample: []
point:
  description: The newest point that was brought here, as RV(paas.hardening.workflow_backup#module:point).
  returned: success, with O(state=fetched)
  type: dict
  sample: {"identifier": "00000012-b0240411", "sequence": 12, "instant": "2026-11-21T22:24:25Z", "size": 123731968}
brought:
  description: The identifiers of all points that are to be here, the oldest first.
  returned: success, with O(state=fetched)
  type: list
  elements: str
  sample: [00000012-b0240411]
fetched:
  description: Files that were read from the bucket, and their bytes.
  returned: success, with O(state=fetched)
  type: dict
  sample: {"objects": 44, "bytes": 2808086528}
problems:
  description: What somebody did to the bucket, what was not deleted, and a newest copy that is too old. Each is a warning, too.
  returned: success
  type: list
  elements: str
  sample: []
findings:
  description: What was found, as RV(paas.hardening.workflow_backup#module:findings).
  returned: success, with O(state=copied)
  type: list
  elements: dict
  sample: [{"control": "recovery-point-copy", "severity": "critical", "status": "pass"}]
proof:
  description: What was seen to be as it was stored.
  returned: success
  type: dict
  contains:
    verdict:
      description: One of pass, unknown. Anything else is a failure.
      type: str
      returned: success
      sample: pass
    checks:
      description: Each observation, with what was asked, expected and observed, and its verdict.
      type: list
      elements: dict
      returned: success
      sample: [{"what": "objects read back and compared", "expected": "as stored", "observed": "7 as stored", "verdict": "pass"}]
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
      description: The status of the store's answer, where there was one.
      type: int
      returned: failure
      sample: 403
    object:
      description: The object or option that it is about.
      type: str
      returned: failure
      sample: object_lock
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Find out who changed it.
"""

from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.verb import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
