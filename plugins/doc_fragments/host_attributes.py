# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module supports that works on a host of its own, in the terms of Ansible's attributes."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Predicts what the real run does, without a write.
    support: full
  diff_mode:
    description: Shows in words what changes.
    support: full
  idempotent:
    description: A second run changes nothing and writes nothing.
    support: full
  platform:
    description: Where the module can run.
    platforms: linux
    support: full
"""
