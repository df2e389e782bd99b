# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that put the results of several verbs together."""

from __future__ import annotations

from typing import Any, Callable, Dict

from ansible_collections.paas.hardening.plugins.module_utils._report.summary import merged_overlay, summary

DOCUMENTATION = r"""
name: summary
short_description: Summarise the results of several verbs for people
version_added: 0.1.0
description:
  - Takes the list of results that modules of this collection returned, and returns the lines of a short summary,
    recommendation by recommendation with what was there, what is there now, what proves it, and whether it will last.
options:
  _input:
    description: The results, in the order in which they ran.
    type: list
    elements: dict
    required: true
author:
  - the paas.hardening contributors (@paas-hardening)
"""

EXAMPLES = r"""
- name: Show what was done
  ansible.builtin.debug:
    msg: "{{ [registration_result, router_result] | paas.hardening.summary }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""


class FilterModule:
    """The filters of this file."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"summary": summary, "overlay": merged_overlay}
