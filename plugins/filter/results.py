# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the playbooks; each is documented in a file of its own beside this one."""

from __future__ import annotations

from typing import Any, Callable, Dict

from ansible_collections.paas.hardening.plugins.module_utils._controls.inventory_store import inventory_store
from ansible_collections.paas.hardening.plugins.module_utils._core.variables import variable_problems
from ansible_collections.paas.hardening.plugins.module_utils._report.summary import merged_overlay, summary


class FilterModule:
    """The filters of this file."""

    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"summary": summary, "overlay": merged_overlay, "variable_problems": variable_problems, "inventory_store": inventory_store}
