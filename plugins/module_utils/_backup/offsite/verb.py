# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb of workflow_backup_copy: recovery points go to another place, or come back from there."""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.bringing import Bringing
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.copying import Copying
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.options import ARGUMENTS, FETCHED
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Job, Verb


def begin(params: Mapping[str, Any]) -> Job:
    """Return the work that the option state asks for."""
    return Bringing(params) if params["state"] == FETCHED else Copying(params)


VERB = Verb(ARGUMENTS, begin)
