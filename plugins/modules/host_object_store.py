# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have an S3 server on a host of its own: a known program, shut in, with buckets and identities."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_object_store
short_description: Have an S3 server on a host of its own
version_added: 0.1.0
description:
  - Runs the program that you name by its SHA-256 as a service of systemd, under an account of its own, that can reach nothing but its data. It never gets a
    program by itself. What runs is judged by the process itself (its program, command line and environment), so a unit, a variable or a program that was
    changed by hand is seen, and mended.
  - The server is reached by TLS only. It gets a certificate of an authority that is made on the host, or your own. Private parts never leave the host.
  - Buckets keep versions, and may lock objects. Each identity may read, or read and write, in its buckets, and nothing else. A bucket's policy lets in
    nobody else; what others deny there stays.
  - It is restarted only when the process is not the wanted one, and becomes what it was when it is not well afterwards.
  - Objects are never touched. An empty disk is formatted, no other; identities, keys and buckets that are not declared are named and left to you.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - Debian or Ubuntu with systemd on the host; Red Hat and its like by their documentation only, where nobody has run it yet
  - root
options:
  backend:
    description: The kind of server, MinIO or the Versity S3 Gateway (one disk, no lifecycle rules, no choice of the ciphers of TLS 1.2).
    type: str
    choices: [minio, versity]
    default: minio
  binary:
    description:
      - The file of the program where Ansible runs; it is brought to the host when that does not have it. Not looked at when the host has it.
    type: path
    default: ''
  binary_sha256:
    description: Its SHA-256. A program that has another one is refused, and replaced where it runs.
    type: str
    required: true
  remote_src:
    description: Whether O(binary) is on the host already.
    type: bool
    default: false
  address:
    description: The address of this host that clients connect to. The server listens there, MinIO on localhost, too.
    type: str
    required: true
  listen_port:
    description: The port.
    type: int
    default: 9000
  plain_port:
    description:
      - Port of a door without TLS on the same address, for clients that speak none, such as the components of Hephy. stunnel, a package of the distribution,
        takes what comes there to the server, and verifies its certificate.
      - Without it there is none; with it that is a finding. Who may come there is for the firewall to say.
    type: int
    default: 0
  names:
    description:
      - The names, or further addresses, under which clients know this server; they are in its certificate, and the first is the host's own.
        Without any, the host's name.
    type: list
    elements: str
    default: []
  region:
    description: The region that requests are signed for.
    type: str
    default: us-east-1
  root_access_key:
    description: The access key of root. Known defaults are refused.
    type: str
    required: true
  root_secret_key:
    description: Its secret, of 16 characters or more. Known defaults are refused.
    type: str
    default: ''
  root_secret_key_file:
    description: Path on the host of a file that holds it, instead.
    type: path
    default: ''
  settings:
    description: Further variables of the server's environment. They are shown in a diff; those that have an option here are refused.
    type: dict
    default: {}
  tls_certificate:
    description: Path on the host of a certificate of your own, in PEM, with everything between it and the authority.
    type: str
    default: ''
  tls_key:
    description: Path on the host of its private part. It is given to the server's account alone.
    type: str
    default: ''
  tls_authority:
    description: Path on the host of the authority's certificate, with which clients verify the server.
    type: str
    default: ''
  renew_before:
    description: Days before its end at which the certificate is made anew, or reported when it is your own.
    type: int
    default: 30
  data_disks:
    description:
      - The disks that objects lie on, as paths, C(LABEL=) or C(UUID=), always in the same order. Empty ones become XFS with the labels V(objects-1) and so on;
        others are mounted when they have these labels, and refused otherwise.
      - Without any the objects lie on the file system of the system, which is for trials.
    type: list
    elements: str
    default: []
  buckets:
    description: Buckets that there have to be. None is ever deleted.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      versioning:
        description: Whether it keeps what is overwritten or deleted.
        type: bool
        default: true
      object_lock:
        description: Whether objects may be locked. Only a new bucket can get that.
        type: bool
        default: false
      retention_days:
        description: Days for which each new object is locked by itself; 0 is none. Needs O(buckets[].object_lock).
        type: int
        default: 0
      retention_mode:
        description: Who may delete a locked object all the same, those with a right of their own or nobody.
        type: str
        choices: [governance, compliance]
        default: governance
  identities:
    description: Who may use the store, one a component.
    type: list
    elements: dict
    default: []
    suboptions:
      access_key:
        description: The access key.
        type: str
        required: true
      secret_key:
        description: Its secret, of 16 characters or more.
        type: str
        required: true
      buckets:
        description: The buckets that it works in, each one of O(buckets).
        type: list
        elements: str
        required: true
      rights:
        description: Whether it may only read there, or write and delete, too.
        type: str
        choices: [read, write]
        default: write
  capacity_warning:
    description: The percentage of use from which on a disk is reported as full.
    type: int
    default: 70
  restart:
    description: Whether the server may be restarted when that is needed. With V(never) it is reported as waiting.
    type: str
    choices: [allowed, never]
    default: allowed
  step:
    description:
      - A host alone does everything in one step, V(all). Of a pool over several hosts each does V(ground), what it needs by itself, V(member), which begins the
        server and waits for nobody, and V(pool), which waits, restarts what has to be, and has what clients find. All hosts finish one step before the next.
    type: str
    choices: [all, ground, member, pool]
    default: all
  members:
    description:
      - All members of a pool (MinIO), this one among them, in the same order everywhere. Each has the same disks, O(listen_port) and root credential. How many
        there are is written on the disks and never changes.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      address:
        description: The address.
        type: str
        required: true
      authority:
        description: Its authority in PEM, from RV(member); empty while that is not known, or when the host cannot be reached now.
        type: str
        default: ''
  together:
    description: Whether members with other programs, settings or drives are restarted at once, in the step V(member), since they would not take each other.
    type: bool
    default: false
  lead:
    description: Whether this is the member that looks after buckets and identities.
    type: bool
    default: true
  on_refusal:
    description: What to do when a precondition does not hold. V(report) changes nothing and returns it as a finding, which is what an audit wants.
    type: str
    choices: [fail, report]
    default: fail
notes:
  - Several disks of MinIO are one erasure-coded set. The role object_store_server makes one over several hosts.
seealso:
  - module: paas.hardening.host_object_store_reach
  - module: paas.hardening.bucket_settings
"""

EXAMPLES = r"""
- name: See in words what would change
  paas.hardening.host_object_store:
    binary: files/minio
    binary_sha256: "{{ minio_sha256 }}"
    address: 192.0.2.21
    root_access_key: store-root
    root_secret_key: "{{ vault_store_root_secret }}"
  check_mode: true
  diff: true

- name: Have a store with a bucket of the registry, on two disks
  paas.hardening.host_object_store:
    binary: files/minio
    binary_sha256: "{{ minio_sha256 }}"
    address: 192.0.2.21
    names: [s3.example.com]
    data_disks: [/dev/vdb, /dev/vdc]
    root_access_key: store-root
    root_secret_key: "{{ vault_store_root_secret }}"
    buckets:
      - {name: registry}
      - {name: backups, object_lock: true, retention_days: 30}
    identities:
      - {access_key: registry, secret_key: "{{ vault_registry_secret }}", buckets: [registry]}
      - {access_key: backup, secret_key: "{{ vault_backup_secret }}", buckets: [backups]}
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
      sample: Bucket registry
    field:
      description: The field.
      type: str
      returned: always
      sample: versioning
    before:
      description: What was there, in words, or null.
      type: raw
      returned: always
      sample: Suspended
    after:
      description: What is wanted, in words, or null when it goes.
      type: raw
      returned: always
      sample: Enabled
    why:
      description: The reason.
      type: str
      returned: always
      sample: the inventory says so
waited:
  description: Seconds spent waiting.
  returned: success
  type: float
  sample: 0.0
store:
  description: What clients have to know of the store, in the form that M(paas.hardening.host_object_store_reach) takes.
  returned: success
  type: dict
  contains:
    name:
      description: The name in its certificate.
      type: str
      returned: success
      sample: s3.example.com
    address:
      description: Its address.
      type: str
      returned: success
      sample: 192.0.2.21
    port:
      description: Its port.
      type: int
      returned: success
      sample: 9000
    endpoint:
      description: Its URL.
      type: str
      returned: success
      sample: https://s3.example.com:9000
    region:
      description: The region that requests are signed for.
      type: str
      returned: success
      sample: us-east-1
    backend:
      description: The kind of server.
      type: str
      returned: success
      sample: minio
    authority:
      description: The certificate with which clients verify it, in PEM; empty before it was made.
      type: str
      returned: success
      sample: "-----BEGIN CERTIFICATE-----..."
    buckets:
      description: The declared buckets.
      type: list
      elements: str
      returned: success
      sample: [registry]
    plain_endpoint:
      description: URL of the door without TLS; empty without one.
      type: str
      returned: success
      sample: http://192.0.2.21:9001
    ready:
      description: Whether the server answers and has every bucket and identity that is declared, so that clients can begin.
      type: bool
      returned: success
      sample: true
member:
  description: What the other members of a pool have to know of this one.
  returned: success, in the steps of a pool
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: success
      sample: s3-1
    address:
      description: Its address.
      type: str
      returned: success
      sample: 192.0.2.21
    authority:
      description: As O(members[].authority).
      type: str
      returned: success
      sample: "-----BEGIN CERTIFICATE-----..."
    apart:
      description: Whether its process has another program, environment or list of drives than it is to have.
      type: bool
      returned: success
      sample: false
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
      sample: host-object-store-buckets
    title:
      description: What it says.
      type: str
      returned: success
      sample: Buckets keep what is overwritten, and let in nobody who is not named
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: critical
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "OpenG2P, Production Deployment", "section": "Standalone object store", "sentence": "..."}
    subject:
      description: What it is about.
      type: str
      returned: success
      sample: MinIO on s3.example.com
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
      sample: root_secret_key
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Give 16 to 128 letters, digits and signs.
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_object_store import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
