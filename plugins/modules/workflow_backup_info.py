# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a repository of recovery points holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workflow_backup_info
short_description: Read what a repository of recovery points holds
version_added: 0.1.0
description:
  - Lists the proved points of a repository, and says what is damaged, what contradicts itself, and where points are missing.
  - Only reads, needs none of the programs that make points, and does not wait for a run that makes one.
extends_documentation_fragment:
  - paas.hardening.attributes
  - paas.hardening.repository
attributes:
  diff_mode:
    description: There is nothing to show, since nothing is changed.
    support: N/A
author:
  - the paas.hardening contributors (@paas-hardening)
options:
  verify:
    description: Which points are read whole and held against the SHA-256 that was signed. Sizes and signatures are looked at in any case.
    type: str
    choices: [none, newest, all]
    default: newest
  interval:
    description: How often a point is to be made, as V(6h). Where there was none for a quarter longer than that, it is a problem.
    type: str
  schedule:
    description:
      - Name of a schedule of this host, as O(paas.hardening.workflow_backup#module:schedule.name). It is a problem when its timer is gone or off, when its last
        run failed or never came to its end, and when none has succeeded for a quarter longer than O(interval), or than the time between two runs of its timer.
      - A schedule that is a CronJob cannot be seen from here. Ask M(paas.hardening.workflow_backup) with the same options in check mode.
    type: str
seealso:
  - module: paas.hardening.workflow_backup
"""

EXAMPLES = r"""
- name: Read the catalogue
  paas.hardening.workflow_backup_info:
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    interval: 24h
    schedule: platform
  register: backups

- name: Fail when anything is wrong with it
  ansible.builtin.assert:
    that: not backups.problems
    fail_msg: "{{ backups.problems | map(attribute='what') | join('; ') }}"

- name: Read every byte, once a week
  paas.hardening.workflow_backup_info:
    repository: /var/backups/paas
    signing_key_file: /etc/paas/backup-signing-key
    verify: all
"""

RETURN = r"""
changed:
  description: Always false.
  returned: always
  type: bool
  sample: false
waited:
  description: Always 0, since nothing is waited for.
  returned: success
  type: float
  sample: 0.0
plan:
  description: Always empty.
  returned: always
  type: list
  elements: dict
  sample: []
repository:
  description: The folder, the identity that all of its points carry, and the bytes of all proved points.
  returned: success
  type: dict
  sample: {"folder": "/var/backups/paas", "identity": "94c3804dca68fd97b3a12290d95e21a8", "size": 123731968}
newest:
  description: The newest proved point, as RV(paas.hardening.workflow_backup#module:point). Empty when there is none.
  returned: success
  type: dict
  sample: {"identifier": "00000012-b0240411", "sequence": 12, "instant": "2026-11-21T22:24:25Z", "size": 123731968}
points:
  description: All proved points, the oldest first.
  returned: success
  type: list
  elements: dict
  sample: [{"identifier": "00000012-b0240411", "sequence": 12, "instant": "2026-11-21T22:24:25Z", "size": 123731968}]
rpo_seconds:
  description: The age of the newest proved point. V(-1) when there is none.
  returned: success
  type: int
  sample: 3600
leftovers:
  description: What interrupted runs left behind. The next run that takes a point removes it.
  returned: success
  type: list
  elements: str
  sample: []
schedule:
  description: The schedule that was asked for. Empty when none was. Times are in UTC, and empty for never.
  returned: success
  type: dict
  contains:
    timer:
      description: Its timer.
      type: str
      returned: when one was asked for
      sample: paas-hardening-backup-platform.timer
    service:
      description: Its service, whose log C(journalctl -u) shows.
      type: str
      returned: when one was asked for
      sample: paas-hardening-backup-platform.service
    enabled:
      description: Whether the timer is on after a reboot.
      type: bool
      returned: when one was asked for
      sample: true
    active:
      description: Whether it is on now.
      type: bool
      returned: when one was asked for
      sample: true
    running:
      description: Whether a run is at work.
      type: bool
      returned: when one was asked for
      sample: false
    next:
      description: When the next run is due.
      type: str
      returned: when one was asked for
      sample: "2026-11-23T02:30:00Z"
    began:
      description: When the last run began.
      type: str
      returned: when one was asked for
      sample: "2026-11-22T02:33:41Z"
    ended:
      description: When it ended.
      type: str
      returned: when one was asked for
      sample: "2026-11-22T02:33:45Z"
    succeeded:
      description: When one last ended well.
      type: str
      returned: when one was asked for
      sample: "2026-11-22T02:33:45Z"
    outcome:
      description: One of running, succeeded, failed; empty when there was no run yet.
      type: str
      returned: when one was asked for
      sample: succeeded
    point:
      description: The newest point when one last ended well.
      type: str
      returned: when one was asked for
      sample: 00000012-b0240411
    message:
      description: Why the last run failed.
      type: str
      returned: when one was asked for
      sample: ""
problems:
  description: What is wrong, with the point or the unit that it is about.
  returned: success
  type: list
  elements: dict
  sample: [{"subject": "00000011-0a1b2c3d", "what": "2.0 d without a point, until 2026-11-21T22:24:25Z"}]
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
      sample: /var/backups/paas
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Give the file of that key, too.
"""

from ansible_collections.paas.hardening.plugins.module_utils._backup.reading import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
