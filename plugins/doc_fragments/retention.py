# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which recovery points are kept."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  retention:
    description: Which points are kept. A point stays when one rule keeps it.
    type: dict
    suboptions:
      last:
        description: So many of the newest.
        type: int
        default: 0
      within:
        description:
          - All that are younger than this, as V(48h) or V(2w).
          - A pause that is longer than this, and longer than usual, counts for nothing. It may be a clock that jumped ahead, by which all would be old at once.
            When the points after it span this time, those before it may go.
        type: str
      daily:
        description: The newest of each of so many days that have a point. Days, weeks, months and years are those of UTC.
        type: int
        default: 0
      weekly:
        description: The newest of each of so many weeks that have a point.
        type: int
        default: 0
      monthly:
        description: The newest of each of so many months that have a point.
        type: int
        default: 0
      yearly:
        description: The newest of each of so many years that have a point.
        type: int
        default: 0
      holds:
        description: Identifiers of points that stay whatever the rules say.
        type: list
        elements: str
        default: []
"""
