# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have what every host beside a cluster needs: time, security updates, limits, a journal, no swap."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_baseline
short_description: Have what every host beside a cluster needs
version_added: 0.1.0
description:
  - Keeps the clock, lets security updates come by themselves, and services open files enough, keeps a journal that outlives a reboot and does not fill a disk,
    and takes swap away where that is asked for. No more than that; it is no guide for a whole system.
  - Settings stand in files of our own that are read last. What counts is asked of the programs that read them, so a later file is seen, and named.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - Debian or Ubuntu with systemd on the host; Red Hat and its like by their documentation only, where nobody has run it yet
  - root
options:
  time_sync:
    description:
      - Whether the clock is kept. Where chrony or another program does that already, it is left alone, and only looked at; else systemd-timesyncd does it.
        In a container nothing is done.
    type: str
    choices: [enabled, unmanaged]
    default: enabled
  time_servers:
    description: The servers that systemd-timesyncd asks. Without any, those of the distribution.
    type: list
    elements: str
    default: []
  security_updates:
    description: Whether security updates are installed by themselves (unattended-upgrades), never, or as it is. The host is never rebooted for them.
    type: str
    choices: [enabled, disabled, unmanaged]
    default: enabled
  open_files:
    description: How many files a service or a log-in may open without asking for more.
    type: int
    default: 65536
  journal_size:
    description: How much room the journal takes at most.
    type: str
    default: 1G
  swap:
    description: Whether swap is turned off, now and at boot, or as it is.
    type: str
    choices: [disabled, unmanaged]
    default: unmanaged
"""

EXAMPLES = r"""
- name: See in words what would change
  paas.hardening.host_baseline:
    security_updates: enabled
  check_mode: true
  diff: true

- name: Have it, with servers of time of one's own
  paas.hardening.host_baseline:
    time_servers: [ntp1.example.com, ntp2.example.com]
    swap: disabled
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
      sample: Unit apt-daily.timer
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
      sample: host-baseline-updates
    title:
      description: What it says.
      type: str
      returned: success
      sample: Security updates come by themselves, or are refused on purpose
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: high
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "OpenG2P, Production Deployment", "section": "Machines beside the cluster", "sentence": "..."}
    subject:
      description: What it is about.
      type: str
      returned: success
      sample: db1
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
      description: Nothing is tried from outside.
      type: dict
      returned: success
      sample: {"verdict": "unknown", "checks": []}
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

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_baseline import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
