# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take one step of a switchover of PostgreSQL."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_postgres_switch
short_description: Take one step of a switchover of PostgreSQL
version_added: 0.1.0
description:
  - Stops a primary in good order, for a standby that follows it closely, or lets a standby become the primary when it has everything that the former
    primary wrote. The playbook C(paas.hardening.postgres_switchover) puts the steps together.
  - A standby that lacks something is not promoted, and the former primary can be started again.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - Debian or Ubuntu with systemd on the host
  - root
options:
  state:
    description:
      - V(stopped) stops the primary and tells where its log ends. V(promoted) waits until the standby has come there, and promotes it. V(started) starts the
        former primary again, when nothing was promoted.
    type: str
    choices: [stopped, promoted, started]
    required: true
  version:
    description: The major version. Without it that of the cluster that exists.
    type: int
  other:
    description: The host of the inventory on the other side, the standby for V(stopped), the former primary for V(promoted).
    type: str
    required: true
  location:
    description: Where the log of the former primary ends, as the step V(stopped) returned it.
    type: str
    default: ''
  timeout:
    description: Seconds that the standby may take to come there.
    type: int
    default: 60
seealso:
  - module: paas.hardening.host_postgres
"""

EXAMPLES = r"""
- name: Stop the primary
  paas.hardening.host_postgres_switch:
    state: stopped
    other: db2
  register: stopped
  delegate_to: db1

- name: Promote the standby
  paas.hardening.host_postgres_switch:
    state: promoted
    other: db1
    location: "{{ stopped.location }}"
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
      sample: Cluster 15/main
    field:
      description: The field.
      type: str
      returned: always
      sample: primary
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
      sample: it has everything of db1
waited:
  description: Seconds spent waiting.
  returned: success
  type: float
  sample: 0.0
location:
  description: Where the log ended at the last checkpoint.
  returned: success
  type: str
  sample: 0/5000028
recovery:
  description: Whether the server is a standby; null when it does not run.
  returned: success
  type: bool
  sample: false
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
      sample: location
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Start the former primary again.
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_switch import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
