# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all verbs that enforce a recommendation have in common."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  wait_timeout:
    description: Seconds to wait for a rollout to be over. It fails earlier when the rollout cannot succeed.
    type: int
    default: 300
  probe:
    description:
      - Whether to look at the effect from outside, through a port-forward to the pods.
      - When the effect is not seen after the change, the task fails. Without the probe the result rests on the configuration alone.
    type: bool
    default: true
  on_refusal:
    description:
      - What to do when a precondition that makes the change safe does not hold (no administrator, too few nodes).
      - V(fail) stops with the reason, V(report) changes nothing and returns it as a finding, which is what an audit wants.
    type: str
    choices: [fail, report]
    default: fail
  durability:
    description: Whether to read the Helm release and say what the next C(helm upgrade) does to the settings.
    type: bool
    default: true
"""
