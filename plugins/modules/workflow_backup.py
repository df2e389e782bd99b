# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a recovery point that is young enough, and proved by a restore."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workflow_backup
short_description: Keep a recovery point that is young enough, and proved by a restore
version_added: 0.1.0
description:
  - Ensures that the repository holds a recovery point that is not older than O(max_age) and was restored, started and compared with what was live.
    When there is one, nothing runs, and nothing is changed. Otherwise one is taken, proved, and only then published.
  - "Of etcd, a snapshot is taken from one healthy member. It is restored with a higher revision by C(etcdutl), started by C(etcd) behind a socket that
    nobody else can reach, and read back: every key with its value and its revisions has to be what the member held at that revision."
  - Of the platform's databases in the cluster, a dump and a checksum of every table are taken at one and the same moment. The dump is restored into a
    PostgreSQL server that this module starts, behind a socket in a folder of its own, and has to hold what was there at that moment. That server and its
    folder are gone afterwards.
  - "A PostgreSQL on a host of its own is kept by pgBackRest (O(postgres.engine=pgbackrest)): a backup, and a promised place in its log. Every segment up to
    there is looked for, a server of our own recovers to that place, and every index, every page, and the row that was written last are read there."
  - Of the platform's objects, those of its namespace and of its apps are written down without what belongs to one cluster and one moment, volumes and claims
    among them, in the order in which they can be made again. They are made in an empty API server and exported again, or, without one, judged by the live
    server in a dry run.
  - Of its buckets in the cluster every object is kept. What an earlier point holds unchanged is taken over from there, once its bytes were read and
    compared; all else is read, and has to have the MD5 that the store gives for it. Where the store gives none, it is read twice, and has to be the same both
    times. Older versions, tags, locks and policies are not kept.
  - Its Secrets, and files of this host, are encrypted by age for two recipients at least. They are never decrypted here, so the proof says what it could
    not read.
  - Folders of the host are kept by restic. Their files come from the point before, by links, when nothing in them has changed. All of it is restored, and
    compared with an inventory that was made before, by mode, owner, times, links, attributes, access lists, holes, and the SHA-256 of each file.
  - A point that lacks what its restore takes is not complete, and is refused unless O(custody=reported).
  - A point is published by one rename, signed, with the SHA-256 of every file. What is torn, changed, foreign or not proved is never listed, and is said.
  - Then the points that no rule of O(retention) keeps are removed; without a rule, all of them are kept. The last proved point never goes, nor one that
    another needs. Points of which nothing safe can be said, since a clock jumped or a link is missing, are kept, and said.
  - For etcd alone no credentials of Kubernetes are needed. Run it on a host that reaches the member, often a control plane node itself.
  - With O(state=scheduled) a timer of systemd does all of this on the host where the task runs, again and again, with the options of this very task. What the
    timer starts is one file with the code of this module; it needs Python and the programs below, and neither Ansible nor a controller that is awake. A run
    that was missed while the host was off is made up. Two runs never overlap. What became of the last one is read by
    M(paas.hardening.workflow_backup_info).
  - With O(schedule.image) it is a CronJob in the platform's namespace that does so instead, where there is no such host. It works on a claim that is there
    already, as a user without a name or any right but those of its service account. Before it is written, a Job of the very same pod has to find that a run
    could do its work there. The task itself takes the rights of C(docs/rbac-backup.yml), and those to create, patch and delete CronJobs, Jobs and Secrets in
    that namespace.
  - The repository is not encrypted but for the Secrets. Keep it on an encrypted disk, and do not rely on one copy of it.
extends_documentation_fragment:
  - paas.hardening.attributes
  - paas.hardening.repository
  - paas.hardening.retention
  - paas.hardening.backup_kinds
  - paas.hardening.backup_schedule
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - for etcd the programs etcd, etcdctl and etcdutl, 3.5.10 or newer, of the release that the cluster runs
  - for postgres PostgreSQL's programs psql, pg_dump, pg_restore, initdb and postgres, 10 or newer, and no older release than the database
  - for postgres by its engine pgbackrest the program pgbackrest, 2.55 or newer, psql, and the server programs of the very same major version
  - for buckets the program rclone, 1.75 or newer
  - for secrets the program age, 1.0 or newer
  - for volumes the program restic, 0.18 or newer
  - for all but etcd, volumes and the engine pgbackrest the Python packages kubernetes and PyYAML
  - "for O(schedule.image) Kubernetes 1.25 or newer, and in the image python3 3.9 or newer, the Python packages PyYAML, urllib3 and websocket-client (kubernetes
    brings them), and the programs of the kinds: rclone for buckets, age for secrets, PostgreSQL's for postgres"
options:
  state:
    description:
      - V(present) means that there is such a point.
      - V(scheduled) means that a timer, or with O(schedule.image) a CronJob, keeps it so. No point is made now, and none is looked at. Run it again after an
        upgrade of this collection, which brings a newer program. Only root can make a timer.
      - V(absent) means that there is no timer of this name; with O(schedule.image), whichever it is, no CronJob of this name, nor its Secret. Points, keys and
        the claim stay. A run that is at work is not ended, but refused to be taken away.
    type: str
    choices: [present, scheduled, absent]
    default: present
  kinds:
    description:
      - What a point has to hold. One point holds all of them.
      - V(postgres) and V(buckets) are about what is in the cluster, and are refused for a platform that uses another server.
      - V(objects) leaves out what somebody makes again by itself (pods, jobs, replica sets), and Secrets.
    type: list
    elements: str
    choices: [buckets, etcd, objects, postgres, secrets, volumes]
    required: true
  max_age:
    description: How old the newest point may be, as V(30m), V(24h), V(7d) or V(4w).
    type: str
    default: 24h
  proof:
    description: V(restored) means that a point counts only after it was restored, started and compared.
    type: str
    choices: [restored]
    default: restored
  custody:
    description:
      - With V(required) a point counts only when it holds what its restore takes beside the data. That is for V(buckets), V(postgres) and V(objects) the
        Secrets of the platform and its apps, and for an V(etcd) in which Secrets are encrypted the file with the keys; V(secrets) among O(kinds) provides
        for both.
      - V(reported) is for those who keep them elsewhere. What the point lacks is then said each time.
    type: str
    choices: [required, reported]
    default: required
  lock_timeout:
    description: Seconds to wait for another run that works on the repository. When that one has made a point, nothing is left to do.
    type: int
    default: 600
seealso:
  - module: paas.hardening.workflow_backup_info
"""

EXAMPLES = r"""
- name: See whether there is a proved point, and what would be done
  paas.hardening.workflow_backup:
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    kinds: [etcd]
    etcd:
      ca_file: /etc/kubernetes/pki/etcd/ca.crt
      client_cert: /etc/kubernetes/pki/etcd/server.crt
      client_key: /etc/kubernetes/pki/etcd/server.key
  check_mode: true
  diff: true

- name: Have a proved point of a kubeadm cluster that is not older than six hours
  paas.hardening.workflow_backup:
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    kinds: [etcd]
    max_age: 6h
    etcd:
      programs: /opt/etcd
      ca_file: /etc/kubernetes/pki/etcd/ca.crt
      client_cert: /etc/kubernetes/pki/etcd/server.crt
      client_key: /etc/kubernetes/pki/etcd/server.key
    retention:
      within: 48h
      daily: 14
      weekly: 8
      monthly: 12
  register: backup

- name: Let the host itself make one, each night, whether somebody thinks of it or not
  paas.hardening.workflow_backup:
    state: scheduled
    schedule:
      name: etcd
      on_calendar: "*-*-* 02:30:00"
      on_failure: tell-somebody.service
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    kinds: [etcd]
    max_age: 20h
    etcd:
      programs: /opt/etcd
      ca_file: /etc/kubernetes/pki/etcd/ca.crt
      client_cert: /etc/kubernetes/pki/etcd/server.crt
      client_key: /etc/kubernetes/pki/etcd/server.key

- name: Let the cluster itself make one, each night, where nothing but the cluster exists
  paas.hardening.workflow_backup:
    state: scheduled
    schedule:
      on_calendar: "30 2 * * *"
      image: registry.example.com/paas-backup:1
      volume_claim: recovery-points
    repository: /backup/points  # in the claim, as the folder "points"
    signing_key_file: /etc/paas/backup-signing-key
    kinds: [buckets, postgres, secrets]
    max_age: 20h
    cluster:
      kubeconfig: /etc/paas/kubeconfig
    secrets:
      recipients:
        - "{{ recipient_of_operations }}"  # age1...
        - "{{ recipient_on_paper }}"

- name: Have a point of the whole platform, from where its API server can be reached
  paas.hardening.workflow_backup:
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    kinds: [buckets, objects, postgres, secrets]
    max_age: 24h
    cluster:
      kubeconfig: /etc/paas/kubeconfig
    secrets:
      recipients:
        - "{{ recipient_of_operations }}"  # age1...
        - "{{ recipient_on_paper }}"
  register: backup

- name: Have a point of the PostgreSQL on this host, and the log behind it
  paas.hardening.workflow_backup:
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    kinds: [postgres]
    custody: reported
    postgres: {engine: pgbackrest, rows: {app: {public.users: 1000}}}

- name: The same for RKE2, with all members compared, before an upgrade
  paas.hardening.workflow_backup:
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    kinds: [etcd]
    max_age: 10m
    etcd:
      endpoints: ["https://127.0.0.1:2379", "https://10.0.0.12:2379", "https://10.0.0.13:2379"]
      ca_file: /var/lib/rancher/rke2/server/tls/etcd/server-ca.crt
      client_cert: /var/lib/rancher/rke2/server/tls/etcd/client.crt
      client_key: /var/lib/rancher/rke2/server/tls/etcd/client.key
"""

RETURN = r"""
changed:
  description: Whether a point was taken or removed, or would be in check mode.
  returned: always
  type: bool
  sample: true
waited:
  description: Always 0. A point is there at once when it is published.
  returned: success
  type: float
  sample: 0.0
plan:
  description: What was done, or would be in check mode.
  returned: always, after a failure only what had been done
  type: list
  elements: dict
  contains:
    object:
      description: The repository and the point, V((new\)) for one that is to be taken; with O(state=scheduled), a file or the timer, the Secret or the CronJob.
      type: str
      returned: always
      sample: RecoveryPoint /var/backups/paas/(new)
    field:
      description: What is taken, or V(state) of a point that goes or of something that an interrupted run left behind.
      type: str
      returned: always
      sample: kinds.etcd.state
    before:
      description: The moment of the newest proved point, or what was there.
      type: raw
      returned: always
      sample: "2026-11-21T22:24:25Z"
    after:
      description: What is wanted, or null when it goes.
      type: raw
      returned: always
      sample: restored and compared
    why:
      description: The reason.
      type: str
      returned: always
      sample: the newest proved point is older than 24 h
point:
  description: The newest proved point that holds all kinds. Empty when there is none.
  returned: success, with O(state=present)
  type: dict
  contains:
    identifier:
      description: Its name in the repository.
      type: str
      returned: when there is one
      sample: 00000012-b0240411
    sequence:
      description: Its number. Points are ordered by it, since clocks jump.
      type: int
      returned: when there is one
      sample: 12
    instant:
      description: Everything that was acknowledged before this moment is in it.
      type: str
      returned: when there is one
      sample: "2026-11-21T22:24:25Z"
    seconds:
      description: How long it took, proof included.
      type: float
      returned: when there is one
      sample: 3.2
    size:
      description: Bytes of all of its files.
      type: int
      returned: when there is one
      sample: 123731968
    kinds:
      description: For each kind what a restore has to know. Its C(needs) are what a restore takes beside the point.
      type: dict
      returned: when there is one
      sample: {"etcd": {"cluster": "7231596a9919f902", "revision": 81234, "keys": 5120, "needs": []}}
    tools:
      description: The versions of the programs.
      type: dict
      returned: when there is one
      sample: {"etcd": "3.6.16", "etcdctl": "3.6.16", "etcdutl": "3.6.16"}
    proofs:
      description: For each kind the verdict, the checks, the seconds until the restored service answered, and those of each step.
      type: dict
      returned: when there is one
      sample: {"etcd": {"verdict": "pass", "checks": [], "restored_in": 1.4, "steps": {"save": 0.8}}}
    parents:
      description: The points without which it cannot be restored.
      type: list
      elements: str
      returned: when there is one
      sample: []
points:
  description: How many proved points there are.
  returned: success, with O(state=present)
  type: int
  sample: 14
rpo_seconds:
  description: How much a disaster now would cost, being the age of the newest proved point. V(-1) when there is none.
  returned: success, with O(state=present)
  type: int
  sample: 5
rto_seconds:
  description: How long the restore of the newest point took when it was proved. V(-1) when there is none.
  returned: success, with O(state=present)
  type: float
  sample: 1.4
retention:
  description: For each proved point whether it is kept, and why.
  returned: success, with O(state=present)
  type: list
  elements: dict
  sample: [{"identifier": "00000012-b0240411", "kept": true, "reasons": ["daily", "the last proved point of etcd"]}]
schedule:
  description:
    - The timer, as RV(paas.hardening.workflow_backup_info#module:schedule).
    - With O(schedule.image) the CronJob by its name (C(cronjob)) and C(namespace), when it runs (C(on_calendar)), whether it is there and not suspended
      (C(enabled)), whether a run is at work (C(running)), when one was last due (C(scheduled)) and last succeeded (C(succeeded)), in UTC, empty for never, how
      the newest one ended (C(outcome), one of running, succeeded, failed, or empty), and what it said when it failed (C(message)).
  returned: success, with O(state=scheduled) and O(state=absent)
  type: dict
  sample: {"timer": "paas-hardening-backup-platform.timer", "enabled": true, "active": true, "next": "2026-11-23T02:30:00Z"}
uncovered:
  description: What RV(point) does not hold, as sentences. What a restore takes beside the point is a warning.
  returned: success, with O(state=present)
  type: list
  elements: str
  sample: ["no etcd, volumes in this point", "buckets: older versions, tags, locks and policies"]
problems:
  description: What is damaged, contradictory, or cannot be decided; with O(state=scheduled), what is wrong with the runs so far. Each is a warning, too.
  returned: success
  type: list
  elements: str
  sample: []
findings:
  description: What was found.
  returned: success
  type: list
  elements: dict
  contains:
    control:
      description: Identifier of the recommendation.
      type: str
      returned: success
      sample: recovery-point
    title:
      description: What it says.
      type: str
      returned: success
      sample: There is a recovery point, young enough and proved by a restore
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: critical
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Kubernetes documentation", "section": "Backing up an etcd cluster", "sentence": "..."}
    subject:
      description: The repository.
      type: str
      returned: success
      sample: /var/backups/paas
    status:
      description: One of pass, fail, fixed, would-fix, unknown.
      type: str
      returned: success
      sample: fixed
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: a point with etcd, not older than 24 h, restored and compared
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: no proved point
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: the point 00000012-b0240411 of 2026-11-21T22:24:25Z
    reasons:
      description: What a restore takes beside the point.
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
      description: Always empty. No Helm chart has a say in backups.
      type: list
      elements: dict
      returned: success
      sample: []
proof:
  description: What the restore of the newest point showed.
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
      sample: [{"what": "keys in the restored etcd", "expected": "5120", "observed": "5120", "verdict": "pass"}]
failure:
  description: What went wrong, in a form for programs.
  returned: failure
  type: dict
  contains:
    reason:
      description: The class of the failure.
      type: str
      returned: failure
      sample: Refused
    code:
      description: Always null. It stands for the status of an HTTP answer in other modules.
      type: int
      returned: failure
      sample: null
    object:
      description: The object or option that it is about.
      type: str
      returned: failure
      sample: etcd
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Heal the cluster first; the points that there are stay as they are.
"""

from ansible_collections.paas.hardening.plugins.module_utils._backup.scheduling import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
