# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a recovery point into a scratch place, and compare it with what was promised."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workflow_restore_drill
short_description: Restore a recovery point into a scratch place, and compare it with what was promised
version_added: 0.1.0
description:
  - Takes the newest point of a repository, or the one that is named, as it lies there now. Reads every file of it and holds it against what was signed,
    restores each kind into a folder of its own, and compares that with what the point was seen to hold when it was made.
  - Knows no way to what is live, so that it can neither harm it nor be deceived by it. Run it where the copy of the repository is, not only where the
    points are made.
  - What it starts are servers of its own behind sockets that nobody else can reach. They and their folders are gone afterwards, and the repository stays as
    it is; check mode does the same.
  - Fails when anything is not as promised, and when a point that may be the newest is damaged. An older one does not stand in for it, unless it is named.
extends_documentation_fragment:
  - paas.hardening.attributes
  - paas.hardening.repository
attributes:
  diff_mode:
    description: There is nothing to show, since nothing is changed.
    support: N/A
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - for each kind in the point the programs that M(paas.hardening.workflow_backup) names for it
options:
  point:
    description: Identifier of the point. Without it, the newest.
    type: str
  max_age:
    description:
      - The age at which a point is too old, such as V(26h) or V(8d). Without it any age will do. A point from the future is none, either.
      - It is what tells a copy that came to a standstill, or that somebody set back, from one that goes on.
    type: str
  kinds:
    description: What of it is restored. With an empty list, everything that it has.
    type: list
    elements: str
    choices: [buckets, etcd, objects, postgres, secrets, volumes]
    default: []
  scratch_folder:
    description: Where scratch servers have their folders. A database takes its own size there for a while, etcd twice that of its snapshot.
    type: path
    default: /var/tmp
  timeout:
    description: Seconds that all of it may take.
    type: int
    default: 3600
  etcd_programs:
    description: Folder with etcd, etcdctl and etcdutl. Without it they are looked for in E(PATH).
    type: path
  client_folder:
    description: Folder with psql, pg_dump and pg_restore. Without it they are looked for in E(PATH) and where distributions put them.
    type: path
  server_folder:
    description: Folder with initdb and postgres, likewise. No server has to run.
    type: path
  server_account:
    description: Account of the system that a scratch server runs as when the module runs as root. V(postgres), or V(nobody) when there is none.
    type: str
  apiserver_folder:
    description:
      - Folder with kube-apiserver and etcd. With it the objects are made in an API server of the module's own, on loopback, with an etcd of its own and without
        controllers, which is ended and thrown away afterwards. Take both from the releases that the cluster runs.
    type: path
  empty_server:
    description:
      - Kubeconfig of an empty API server with an etcd of its own, without controllers and nodes, in which the objects are made. Throw it away afterwards.
      - Without either the objects are read and counted, and the result says that they were not made.
    type: path
  age:
    description: Path of age. Without it, it is looked for in E(PATH).
    type: path
  identity_file:
    description:
      - File with a private key of one of the recipients, by which the Secrets are decrypted in memory and compared. Give it only where it belongs.
      - Without it their content is not looked at, and the result says so.
    type: path
  restic:
    description: Path of restic. Without it, it is looked for in E(PATH).
    type: path
  metrics_file:
    description:
      - A file (*.prom) in the folder of node_exporter's textfile collector. It is written anew by each drill, also by one that fails, and in check mode, too.
        C(docs/backup-alerts.yml) has rules of Prometheus for it.
    type: path
  pgbackrest:
    description: Path of pgBackRest. Without it, it is looked for in E(PATH).
    type: path
  pgbackrest_config:
    description: Its configuration, readable by root and the server's account alone, by which the repository is reached from here.
    type: path
    default: /etc/pgbackrest.conf
seealso:
  - module: paas.hardening.workflow_backup
  - module: paas.hardening.workflow_backup_info
"""

EXAMPLES = r"""
- name: Restore the newest point, once a week, where its copy is
  paas.hardening.workflow_restore_drill:
    repository: /srv/copies/paas
    signing_key_file: /etc/paas/backup-signing-key
    max_age: 26h
  register: drill

- name: Say how long a restore takes, and what was not tried
  ansible.builtin.debug:
    msg: "{{ drill.rto_seconds }} {{ drill.untried }}"

- name: Try the key on paper, once a quarter, on a machine that is wiped afterwards
  paas.hardening.workflow_restore_drill:
    repository: /media/copy/paas
    signing_key_file: /run/user/0/backup-signing-key
    kinds: [secrets]
    identity_file: /run/user/0/paper-key
"""

RETURN = r"""
changed:
  description: Always false.
  returned: always
  type: bool
  sample: false
waited:
  description: Always 0.
  returned: success
  type: float
  sample: 0.0
plan:
  description: Always empty.
  returned: always
  type: list
  elements: dict
  sample: []
point:
  description: The point, as RV(paas.hardening.workflow_backup#module:point).
  returned: success
  type: dict
  sample: {"identifier": "00000012-b0240411", "sequence": 12, "instant": "2026-11-21T22:24:25Z", "size": 123731968}
proof:
  description: What the restore showed.
  returned: success
  type: dict
  contains:
    verdict:
      description: Always pass. Anything else is a failure.
      type: str
      returned: success
      sample: pass
    checks:
      description: Each observation, with what was asked, expected and observed, and its verdict.
      type: list
      elements: dict
      returned: success
      sample: [{"what": "rows of controller", "expected": "20512", "observed": "20512", "verdict": "pass"}]
rpo_seconds:
  description: The age of the point.
  returned: success
  type: int
  sample: 3600
rto_seconds:
  description: For each kind the seconds from the files to what can be used.
  returned: success
  type: dict
  sample: {"postgres": 4.1}
untried:
  description: What of the point was not restored, and what that would take.
  returned: success
  type: list
  elements: str
  sample: ["the Secrets were not decrypted: that takes the identity_file of one of their recipients"]
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
      description: Always null. It stands for the status of an HTTP answer in other modules.
      type: int
      returned: failure
      sample: null
    object:
      description: The object or option that it is about.
      type: str
      returned: failure
      sample: 00000012-b0240411
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: "Do not rely on it: take a new one, and find out why."
"""

from ansible_collections.paas.hardening.plugins.module_utils._backup.drill import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
