# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every verb supports, in the terms of Ansible's attributes."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Predicts what the real run does, without a write.
    support: full
  diff_mode:
    description: Shows each field that changes, before and after, with secrets hidden.
    support: full
  idempotent:
    description: A second run changes nothing and sends no write.
    support: full
  platform:
    description: Where the module can run.
    platforms: posix
    support: full
  action:
    description: Runs inside the Ansible process when the target is the local machine.
    details: Falls back to an ordinary module when the connection is not local, or with C(async), C(become), C(environment) or another Python interpreter.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: full
"""
