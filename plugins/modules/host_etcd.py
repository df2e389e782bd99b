# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a member of etcd on a host of its own, one of a cluster whose quorum is never lost by a change."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_etcd
short_description: Have a member of etcd on a host of its own
version_added: 0.1.0
description:
  - Has a member of etcd as a service of systemd, under an account of its own, that can reach nothing but its data. Its program is one that you name by its
    SHA-256, or that of the distribution. What runs is judged by the process itself.
  - Clients and peers are taken by TLS only, and with a certificate only. Each host makes an authority and a certificate of its own, or has yours; private
    parts never leave the host. Members trust the authorities of all members.
  - A cluster begins with one member. Each further one joins as a learner, and votes when it has caught up. A member is restarted only when the others are a
    quorum without it, and becomes what it was when it is not well afterwards.
  - A member that is lost is removed only when you name it, and never when the others would not be a quorum. Data is never deleted, that of a membership
    which is over is moved aside.
  - It works in three steps, which are for the playbook to put in order, C(ground) on all hosts, C(member) on one host after the other, those first that are
    members already, and C(cluster) on one host. The role does so.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - Debian or Ubuntu with systemd on the host; Red Hat and its like by their documentation only, where nobody has run it yet
  - root
  - etcd 3.4 or newer
options:
  step:
    description:
      - What the run is about. V(ground) is what disturbs nobody, the program, the disk, the certificates. V(member) is the unit, the process, and the
        membership. V(cluster) is what concerns all, log-ins, users, alarms, and whether the members are those of the inventory.
    type: str
    choices: [ground, member, cluster]
    required: true
  name:
    description: The member's name.
    type: str
    required: true
  address:
    description: The address of this host that clients and peers connect to. It listens there alone, and for its metrics on loopback.
    type: str
    required: true
  client_port:
    description: The port for clients, of all members.
    type: int
    default: 2379
  peer_port:
    description: The port for peers, of all members.
    type: int
    default: 2380
  binary:
    description: The file of the program where Ansible runs; it is brought to the host when that does not have it.
    type: path
    default: ''
  binary_sha256:
    description: Its SHA-256. A program that has another one is refused, and replaced where it runs. Without it, the distribution's package is used.
    type: str
    default: ''
  remote_src:
    description: Whether O(binary) is on the host already.
    type: bool
    default: false
  names:
    description: The names, or further addresses, under which clients know this member; they are in its certificate. Without any, its name.
    type: list
    elements: str
    default: []
  tls_certificate:
    description: Path on the host of a certificate of your own, in PEM, for servers and clients. With O(authentication) it must not have a common name.
    type: str
    default: ''
  tls_key:
    description: Path on the host of its private part. It is given to the member's account alone.
    type: str
    default: ''
  tls_authority:
    description: Path on the host of the authority's certificate.
    type: str
    default: ''
  renew_before:
    description: Days before its end at which a certificate is made anew, or reported when it is your own.
    type: int
    default: 30
  client_authority:
    description: Path on the host of one more authority whose certificates clients may have.
    type: str
    default: ''
  clients:
    description:
      - Common names of clients that get a certificate by this host's authority, in C(/etc/paas-hardening/etcd/clients), for root alone. Bring them to where
        they are used.
    type: list
    elements: str
    default: []
  data_disk:
    description:
      - The disk that the data lies on, as path, C(LABEL=) or C(UUID=). An empty one is formatted with the label V(etcd); another one is mounted when it
        has this label, and refused otherwise. Without one the data lies on the file system of the system.
    type: str
    default: ''
  data_filesystem:
    description: What an empty disk becomes.
    type: str
    choices: [ext4, xfs]
    default: ext4
  quota_backend_bytes:
    description: How many bytes the database may have before writes are refused.
    type: int
    default: 2147483648
  auto_compaction_retention:
    description: For how long history is kept, like V(1h); V(0) keeps all.
    type: str
    default: 1h
  heartbeat_interval:
    description: Milliseconds between signs of life of the leader.
    type: int
    default: 100
  election_timeout:
    description: Milliseconds without one after which another is elected; at least five times O(heartbeat_interval).
    type: int
    default: 1000
  defragment:
    description: When room that is not used is given back, as systemd writes times, by one member after the other, the leader last. Empty is never.
    type: str
    default: Sun 03:30
  disk_latency:
    description: Milliseconds within which 99 of 100 writes to the log have to be on the disk, or that is reported.
    type: int
    default: 10
  capacity_warning:
    description: The percentage of use from which on the disk, or the quota, is reported as full.
    type: int
    default: 70
  authentication:
    description: Whether users log in, by a password or by the common name of a certificate. It is never taken back here.
    type: bool
    default: false
  root_password:
    description: The password of root, of 16 characters or more. Needed with O(authentication), and kept on the host for the upkeep, for root alone.
    type: str
    default: ''
  root_password_file:
    description: Path on the host of a file that holds it, instead.
    type: path
    default: ''
  users:
    description: Who may log in by the common name of a certificate.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The common name.
        type: str
        required: true
      prefix:
        description: What all keys begin with that it has a right on.
        type: str
        required: true
      rights:
        description: Whether it may only read them, or write them, too.
        type: str
        choices: [read, write]
        default: write
  peers:
    description: The other hosts of the cluster.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The member's name.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
      authority:
        description: The certificate of its authority in PEM, as the step V(ground) returned it there; empty when it has none yet, or is not known.
        type: str
        default: ''
      present:
        description: Whether the host is in this play. Of one that is not nothing is known, so what is trusted of it already stays.
        type: bool
        default: true
      data:
        description: Whether it has data of a member.
        type: bool
        default: false
  lead:
    description: Whether it is for this host to begin the cluster when there is none, and to remove members that are lost.
    type: bool
    default: false
  lost:
    description: Names of members that are lost for good. Who of them is well stays all the same.
    type: list
    elements: str
    default: []
  restart:
    description: Whether the member may be restarted when that is needed. With V(never) it is reported as waiting.
    type: str
    choices: [allowed, never]
    default: allowed
  on_refusal:
    description: What to do when a precondition does not hold. V(report) changes nothing and returns it as a finding, which is what an audit wants.
    type: str
    choices: [fail, report]
    default: fail
seealso:
  - module: paas.hardening.host_etcd_reach
"""

EXAMPLES = r"""
- name: Have what a member needs on each host
  paas.hardening.host_etcd:
    step: ground
    name: "{{ inventory_hostname }}"
    address: "{{ ansible_host }}"
    binary: files/etcd
    binary_sha256: "{{ etcd_sha256 }}"
    data_disk: /dev/vdb
  register: ground

- name: See in words what would change of a single member
  paas.hardening.host_etcd:
    step: member
    name: "{{ inventory_hostname }}"
    address: "{{ ansible_host }}"
    binary_sha256: "{{ etcd_sha256 }}"
    data_disk: /dev/vdb
    lead: true
  check_mode: true
  diff: true
"""

RETURN = r"""
changed:
  description: Whether something was changed, or would be in check mode.
  returned: always
  type: bool
  sample: true
plan:
  description: Everything that was changed, or would be in check mode.
  returned: always, after a failure only what had been written
  type: list
  elements: dict
  contains:
    object:
      description: The object.
      type: str
      returned: always
      sample: Member e2
    field:
      description: The field.
      type: str
      returned: always
      sample: membership
    before:
      description: What was there, in words, or null.
      type: raw
      returned: always
      sample: null
    after:
      description: What is wanted, in words, or null when it goes.
      type: raw
      returned: always
      sample: joins, as a learner first
    why:
      description: The reason.
      type: str
      returned: always
      sample: it has no data of this cluster
waited:
  description: Seconds spent waiting.
  returned: success
  type: float
  sample: 0.0
member:
  description: What clients and the other members have to know, in the form that M(paas.hardening.host_etcd_reach) takes.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: success
      sample: e1
    address:
      description: Its address.
      type: str
      returned: success
      sample: 192.0.2.31
    client_port:
      description: The port for clients.
      type: int
      returned: success
      sample: 2379
    peer_port:
      description: The port for peers.
      type: int
      returned: success
      sample: 2380
    endpoint:
      description: Its URL for clients.
      type: str
      returned: success
      sample: https://192.0.2.31:2379
    authority:
      description: The certificate with which it is verified, in PEM; empty before it was made.
      type: str
      returned: success
      sample: "-----BEGIN CERTIFICATE-----..."
    data:
      description: Whether it has data.
      type: bool
      returned: success
      sample: true
    answers:
      description: Whether it runs and has a quorum.
      type: bool
      returned: success
      sample: true
    version:
      description: The version of its program; empty before that is there.
      type: str
      returned: success
      sample: 3.6.16
findings:
  description: What was found, in the same form as that of the modules that look at a cluster.
  returned: success
  type: list
  elements: dict
  contains:
    control:
      description: Identifier of the recommendation.
      type: str
      returned: success
      sample: host-etcd-member
    title:
      description: What it says.
      type: str
      returned: success
      sample: The member runs as the inventory says
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: critical
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Deis v1, Isolating etcd", "section": "Isolating the planes", "sentence": "..."}
    subject:
      description: What it is about.
      type: str
      returned: success
      sample: etcd on e1
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: pass
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: as the inventory says
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: as it should be
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: as it should be
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
      description: What was seen from outside, with a verdict and its checks.
      type: dict
      returned: success
      sample: {"verdict": "pass", "checks": []}
    durability:
      description: Always empty; a host has no Helm release.
      type: list
      elements: dict
      returned: success
      sample: []
failure:
  description: What went wrong, in a form for programs.
  returned: failure
  type: dict
  contains:
    reason:
      description: The class of the failure.
      type: str
      returned: failure
      sample: Invalid
    code:
      description: Always null.
      type: int
      returned: failure
      sample: null
    object:
      description: The option or object that it is about.
      type: str
      returned: failure
      sample: root_password
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Give 16 to 128 printable signs.
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_etcd import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
