# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a production PostgreSQL server on a host of its own."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_postgres
short_description: Have a production PostgreSQL server on a host of its own
version_added: 0.1.0
description:
  - Makes one cluster of one major version, with checksums, on a file system of its own, and keeps it as it is described. What is there is judged by the
    server itself (pg_settings, pg_file_settings, pg_authid), so a line in another file, an C(ALTER SYSTEM), a role that became superuser and a value
    that waits for a restart are seen, told in words, and mended.
  - The server is reached by TLS only, and asks for passwords by SCRAM. It gets a certificate of an authority that is made on the host, or your own.
    Private parts never leave the host.
  - Passwords are turned into SCRAM verifiers here. The server and its logs never see them, no command line holds them.
  - It is restarted only when a setting needs that, and comes back with its old settings when it does not start with the new ones.
  - Data is never deleted. An empty disk is formatted, no other; second clusters, foreign roles and foreign slots are named and left to you. What a former
    primary gives up, only when that is asked for, is kept aside.
  - A standby is a copy of its primary, verified against the primary's list of files, that follows through a slot.
extends_documentation_fragment:
  - paas.hardening.host_attributes
  - paas.hardening.host_postgres
  - paas.hardening.host_postgres.packages
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - Debian or Ubuntu with systemd on the host
  - root
options:
  data_disk:
    description:
      - The disk that the data lies on, as a path, C(LABEL=) or C(UUID=). It is formatted when it is empty, and mounted when its label is V(postgresql).
      - Without it the data lies on the file system of the system.
    type: str
    default: ''
  data_filesystem:
    description: The file system that an empty disk gets.
    type: str
    choices: [xfs, ext4]
    default: xfs
  addresses:
    description: The addresses of this host that clients connect to. The server listens there and on localhost.
    type: list
    elements: str
    required: true
  names:
    description:
      - The names, or further addresses, under which clients know this server; they are in its certificate, and the first is the host's own.
        Without any, the host's name.
    type: list
    elements: str
    default: []
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
  access:
    description: Who may log in from where. What is not named is refused.
    type: list
    elements: dict
    default: []
    suboptions:
      database:
        description: One database.
        type: str
        required: true
      role:
        description: One role.
        type: str
        required: true
      network:
        description: One address or network, or V(local) for the account of the same name on the host itself.
        type: str
        required: true
  roles:
    description: Roles that may log in and nothing else.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      password:
        description: The password, of 12 characters or more. Without it the role's password is left as it is.
        type: str
      connection_limit:
        description: How many connections it may have at once; -1 is no limit.
        type: int
        default: -1
      member_of:
        description: Roles that it is a member of. All other memberships are taken away.
        type: list
        elements: str
        default: []
  databases:
    description: Databases, each for its owner.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      owner:
        description: One of the roles.
        type: str
        required: true
      encoding:
        description: The encoding of a new one.
        type: str
        default: UTF8
      locale:
        description: The collation and character type of a new one.
        type: str
        default: C.UTF-8
      connect:
        description: Further roles that may enter it.
        type: list
        elements: str
        default: []
      extensions:
        description: Extensions that it has to have.
        type: list
        elements: str
        default: []
  connections:
    description: How many connections the server takes.
    type: int
    default: 200
  settings:
    description:
      - Settings of your own, beside and above those that are derived from memory, cores and disk. Those that have an option here, and those without which a
        power cut destroys data, are refused.
    type: dict
    default: {}
  archive_stanza:
    description:
      - The stanza of pgBackRest to which the server archives its log, each minute at the latest. The first time that needs a restart.
      - What makes the stanza is the role C(postgres_archive). Until then the server keeps its log, and tries again.
    type: str
    default: ''
  restart:
    description: Whether the server may be restarted when a setting needs that. With V(never) the setting is reported as waiting.
    type: str
    choices: [allowed, never]
    default: allowed
  step:
    description:
      - With V(ahead) only those settings of a standby are raised that its primary will have more of (V(connections) above all), since a standby that has less
        stops to follow. On any other host nothing is done.
    type: str
    choices: [whole, ahead]
    default: whole
  on_refusal:
    description: What to do when a precondition does not hold. V(report) changes nothing and returns it as a finding, which is what an audit wants.
    type: str
    choices: [fail, report]
    default: fail
seealso:
  - module: paas.hardening.host_postgres_reach
  - module: paas.hardening.host_firewall
"""

EXAMPLES = r"""
- name: See in words what would change
  paas.hardening.host_postgres:
    addresses: [192.0.2.11]
  check_mode: true
  diff: true

- name: Have a server with one database, for the nodes of a cluster
  paas.hardening.host_postgres:
    data_disk: /dev/vdb
    addresses: [192.0.2.11]
    names: [db1.example.com]
    access:
      - {database: app, role: app, network: 192.0.2.64/28}
    roles:
      - {name: app, password: "{{ app_database_password }}"}
    databases:
      - {name: app, owner: app}

- name: Have a standby of it
  paas.hardening.host_postgres:
    addresses: [192.0.2.12]
    names: [db2.example.com]
    primary: "{{ hostvars.db1.result.server | dict2items | selectattr('key', 'in', ['name', 'address', 'authority']) | items2dict }}"
    peers: [{name: db1, address: 192.0.2.11}]
    replication_password: "{{ replication_password }}"

- name: See what a former primary would lose by following the one that was promoted
  paas.hardening.host_postgres:
    addresses: [192.0.2.11]
    names: [db1.example.com]
    primary: {name: db2, address: 192.0.2.12, authority: "{{ promoted.server.authority }}", past: "{{ promoted.past }}"}
    replication_password: "{{ replication_password }}"
    rejoin_by: rewind
  check_mode: true
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
      sample: Role app
    field:
      description: The field.
      type: str
      returned: always
      sample: rights
    before:
      description: What was there, in words, or null.
      type: raw
      returned: always
      sample: SUPERUSER
    after:
      description: What is wanted, in words, or null when it goes.
      type: raw
      returned: always
      sample: nothing
    why:
      description: The reason.
      type: str
      returned: always
      sample: no more and no less
waited:
  description: Seconds spent waiting.
  returned: success
  type: float
  sample: 0.0
server:
  description: What clients have to know of the server, in the form that M(paas.hardening.host_postgres_reach) takes.
  returned: success, not in the step ahead
  type: dict
  contains:
    name:
      description: The name in its certificate.
      type: str
      returned: success
      sample: db1.example.com
    address:
      description: Its first address.
      type: str
      returned: success
      sample: 192.0.2.11
    port:
      description: Its port.
      type: int
      returned: success
      sample: 5432
    authority:
      description: The certificate with which clients verify it, in PEM; empty before it was made.
      type: str
      returned: success
      sample: "-----BEGIN CERTIFICATE-----..."
    access:
      description: Who may log in from where.
      type: list
      elements: dict
      returned: success
      sample: [{"database": "app", "role": "app", "network": "192.0.2.64/28"}]
    standby:
      description: Whether it is a standby.
      type: bool
      returned: success
      sample: false
    version:
      description: The server's version; empty when it does not answer.
      type: str
      returned: success
      sample: "15.13"
past:
  description: The timelines of a primary, in the form that O(primary.past) takes.
  returned: success, of a primary that answers
  type: dict
  contains:
    identifier:
      description: What initdb gave to the cluster and all its copies.
      type: str
      returned: success
      sample: "7412345678901234567"
    timeline:
      description: The timeline that it writes.
      type: int
      returned: success
      sample: 2
    switches:
      description: The timelines that it left, and where.
      type: list
      elements: dict
      returned: success
      sample: [{"timeline": 1, "end": "0/3000148"}]
    oldest:
      description: Where the log begins that it still has.
      type: str
      returned: success
      sample: 0/2000000
former:
  description: Whether there is the data of a former primary, with no server running on it.
  returned: success, in the step ahead
  type: bool
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
      sample: host-postgres-roles
    title:
      description: What it says.
      type: str
      returned: success
      sample: Roles have no right that they do not need
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
      sample: PostgreSQL on db1
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
      sample: Refused
    code:
      description: Always null.
      type: int
      returned: failure
      sample: null
    object:
      description: The option or object that it is about.
      type: str
      returned: failure
      sample: access.network
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Name the networks that clients are in.
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
