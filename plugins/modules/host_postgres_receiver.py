# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receive the log of a PostgreSQL server on another host, as it is written."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_postgres_receiver
short_description: Receive the log of a PostgreSQL server on another host, as it is written
version_added: 0.1.0
description:
  - Runs C(pg_receivewal --synchronous) as a service that comes back by itself, with an account of its own, into a folder that nobody else can read. It logs in
    by TLS as C(verify-full) does it, as a role that may replicate and nothing else, and through a slot, so that nothing is missing when it was away.
  - What it has received is kept for some days. It is what a restore needs beyond the archive, up to the last record (option C(received) of the kind
    C(postgres) of M(paas.hardening.workflow_restore)).
  - Whether commits wait for it is said by the server, O(paas.hardening.host_postgres#module:synchronous), and seen by
    M(paas.hardening.host_postgres_receiver_reach).
  - No log is ever deleted but by its age. A folder that has other files is refused.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - Debian or Ubuntu with systemd on the host, and a source of packages that has the client programs of the server's major version, or newer ones
  - root
options:
  me:
    description: The name of this host in the inventory. The slot on the server has it, and the connection.
    type: str
    required: true
  server:
    description: The server whose log it is.
    type: dict
    required: true
    suboptions:
      name:
        description: The name in its certificate.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 5432
      authority:
        description: The authority's certificate, in PEM, as RV(paas.hardening.host_postgres#module:server.authority) tells it.
        type: str
        required: true
      version:
        description: Its major version.
        type: int
        required: true
  role:
    description: The role that it logs in as, O(paas.hardening.host_postgres#module:receiver_role).
    type: str
    default: receiver
  password:
    description: Its password. It stands in a file that only the receiver can read.
    type: str
    required: true
  folder:
    description: The folder that the log is written to. It is the receiver's alone.
    type: path
    default: /var/lib/paas-receiver
  own_file_system:
    description: Whether the folder has to be on another file system than the root of the host. Without that it is a finding.
    type: bool
    default: false
  keep_days:
    description:
      - For how many days what was received is kept. Longer than from one proved recovery point to the next, and than it takes to notice that there is none.
    type: int
    default: 14
  free_percent:
    description: How much of the file system has to be free, in percent. With less it is a finding.
    type: int
    default: 20
  on_refusal:
    description: What to do when a precondition does not hold. V(report) changes nothing and returns it as a finding, which is what an audit wants.
    type: str
    choices: [fail, report]
    default: fail
seealso:
  - module: paas.hardening.host_postgres
  - module: paas.hardening.host_postgres_receiver_reach
  - module: paas.hardening.workflow_restore
"""

EXAMPLES = r"""
- name: See in words what would change
  paas.hardening.host_postgres_receiver:
    me: backup1
    server: {name: db1, address: 192.0.2.11, authority: "{{ authority }}", version: 17}
    password: "{{ receiver_password }}"
  check_mode: true
  diff: true

- name: Receive the log on a disk of its own, and keep it for a month
  paas.hardening.host_postgres_receiver:
    me: backup1
    server: {name: db1, address: 192.0.2.11, authority: "{{ authority }}", version: 17}
    password: "{{ receiver_password }}"
    folder: /srv/received
    own_file_system: true
    keep_days: 31
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
      sample: Unit paas-hardening-receiver.service
    field:
      description: The field.
      type: str
      returned: always
      sample: running
    before:
      description: What was there, in words, or null.
      type: raw
      returned: always
      sample: false
    after:
      description: What is wanted, in words, or null when it goes.
      type: raw
      returned: always
      sample: true
    why:
      description: The reason.
      type: str
      returned: always
      sample: it does not run
waited:
  description: Seconds spent waiting.
  returned: success
  type: float
  sample: 0.0
receiver:
  description: What is received, and where it is.
  returned: success
  type: dict
  contains:
    name:
      description: The name of the slot on the server, and of the connection.
      type: str
      returned: success
      sample: backup1
    folder:
      description: The folder, as the option C(received) of the kind C(postgres) of M(paas.hardening.workflow_restore) takes it.
      type: str
      returned: success
      sample: /var/lib/paas-receiver
    segment:
      description: The segment that is being written; empty when there is none.
      type: str
      returned: success
      sample: 00000001000000000000002A.partial
    free_percent:
      description: How much of its file system is free.
      type: int
      returned: success
      sample: 71
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
      sample: host-postgres-receiver
    title:
      description: What it says.
      type: str
      returned: success
      sample: The log is received as it is written, by a service that can do nothing else
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: high
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "OpenG2P, Production Deployment", "section": "Standalone PostgreSQL", "sentence": "..."}
    subject:
      description: What it is about.
      type: str
      returned: success
      sample: the log of db1 at backup1
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
      description: What was seen, with a verdict and its checks.
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
      sample: journal_size
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Give a number with K, M, G or T, like 1G.
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_receiver import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
