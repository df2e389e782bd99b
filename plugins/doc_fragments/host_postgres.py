# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the packages of a PostgreSQL server come from, and whom it follows or feeds."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  primary:
    description: The server that this one is a standby of. Without it, this one is a primary.
    type: dict
    suboptions:
      name:
        description: The name in its certificate.
        type: str
        required: true
      address:
        description: Its address.
        type: str
        required: true
      authority:
        description: The authority's certificate, in PEM, as RV(server.authority) of the primary tells it.
        type: str
        required: true
      past:
        description:
          - The timelines of the primary, as RV(past) of it tells them. Without them a former primary is judged by how it was stopped alone.
        type: dict
        suboptions:
          identifier:
            description: What initdb gave to the cluster and all its copies.
            type: str
            required: true
          timeline:
            description: The timeline that it writes.
            type: int
            required: true
          switches:
            description: The timelines that it left, and where.
            type: list
            elements: dict
            default: []
            suboptions:
              timeline:
                description: The timeline.
                type: int
                required: true
              end:
                description: The position where it was left.
                type: str
                required: true
          oldest:
            description: Where the log begins that it still has.
            type: str
            default: ''
  peers:
    description:
      - The other hosts of a replication. On a primary they are its standbys, which get a slot each; on a standby they are those that it would let in after a
        switchover.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name in the inventory.
        type: str
        required: true
      address:
        description: The address that it comes from.
        type: str
        required: true
      rewinds:
        description:
          - Whether it is a former primary that is rewound now. It may read the files of the primary meanwhile, by the four functions that pg_rewind uses, and
            loses that right at the next run without this.
        type: bool
        default: false
  replication_role:
    description: The role of the standbys.
    type: str
    default: replicator
  replication_password:
    description: Its password.
    type: str
    default: ''
  receivers:
    description:
      - Hosts that only receive the log, by C(pg_receivewal). Each gets a slot, and may log in for that from its address, as O(receiver_role).
        M(paas.hardening.host_postgres_receiver) makes one.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name in the inventory.
        type: str
        required: true
      address:
        description: The address that it comes from.
        type: str
        required: true
  receiver_role:
    description: The role of the receivers. It may replicate, and nothing else, and is not that of the standbys.
    type: str
    default: receiver
  receiver_password:
    description: Its password. Needed when there are receivers.
    type: str
    default: ''
  rejoin:
    description:
      - Whether a former primary that has nothing of its own, as after a switchover, may become a standby. One that has commits which the primary lacks is
        refused, and told what they are.
    type: bool
    default: false
  rejoin_by:
    description:
      - How a former primary gives up for good what it wrote after the primary was promoted, and becomes its standby. With V(nothing) it does not.
      - V(rewind) uses pg_rewind, and keeps a copy of the log that is given up beside the data. It needs checksums or C(wal_log_hints), and the log since then.
        A rewind that broke in the middle is recognised ever after, and such data is never started.
      - V(copy) moves the whole data aside and copies the primary anew.
      - Without effect on a host that is no former primary. One that still runs has to be stopped first.
    type: str
    choices: [nothing, rewind, copy]
    default: nothing
  synchronous:
    description:
      - Whether a commit counts only when one of the peers or receivers has it, too. Then nothing is lost with the primary, but while none of them is there,
        all writes wait. Nothing takes that back by itself.
    type: bool
    default: false
"""

    PACKAGES = r"""
options:
  version:
    description:
      - The major version. Without it that of the cluster that exists, else that of the distribution. Another one than that of the cluster is refused.
    type: int
  source:
    description:
      - Where the packages come from. With V(pgdg) they come from the repository of the PostgreSQL project, which has majors that the distribution does not
        have. Then O(version) has to be given.
      - Nothing but the server of that major, its extensions and what these need of the project's is ever taken from there. A server that is installed already
        is not replaced, but told.
    type: str
    choices: [distribution, pgdg]
    default: distribution
  repository:
    description: The repository, where it is not that of the project itself, such as a mirror of one's own.
    type: dict
    suboptions:
      url:
        description: Where it is.
        type: str
        default: https://apt.postgresql.org/pub/repos/apt
      suite:
        description: The suite, which its Release file has to have as its codename. Without it that of the release, such as C(bookworm-pgdg).
        type: str
        default: ''
      key:
        description: The public key that signs it, in armor.
        type: str
        default: ''
      key_file:
        description: Path on the host of that key, when it is not given itself. The default comes with a package of the distribution, which is installed for it.
        type: str
        default: /usr/share/postgresql-common/pgdg/apt.postgresql.org.asc
      fingerprint:
        description: The fingerprint of the key. With another key, or a second one beside it, nothing is done.
        type: str
        default: B97B0AFCAA1A47F044F244A07FCC7D46ACCC4CF8
"""
