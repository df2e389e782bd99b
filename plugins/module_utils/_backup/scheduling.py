# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb of workflow_backup: a recovery point now, or the timer or CronJob that makes one again and again."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Union

from ansible_collections.paas.hardening.plugins.module_utils._backup import recovery_point
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import RecoveryPoint
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.cron_job import CronSchedule
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.job import Schedule
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.units import ARGUMENTS as SCHEDULE_ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._backup.site import secrets_in
from ansible_collections.paas.hardening.plugins.module_utils._core.arguments import merge
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb

PRESENT, SCHEDULED, GONE = "present", "scheduled", "absent"
ARGUMENTS: Dict[str, Any] = merge(
    recovery_point.ARGUMENTS,
    {
        "state": {"type": "str", "choices": [PRESENT, SCHEDULED, GONE], "default": PRESENT},
        "schedule": {"type": "dict", "options": SCHEDULE_ARGUMENTS, "apply_defaults": True},
    },
)


def begin(params: Mapping[str, Any]) -> Union[RecoveryPoint, Schedule, CronSchedule]:
    """Begin the work that the options ask for. Raises Invalid."""
    if params["state"] == PRESENT:
        return RecoveryPoint(params)
    if params["state"] == SCHEDULED:
        # What a run would refuse at once is said now.
        RecoveryPoint(params)
    kind = CronSchedule if params["schedule"]["image"] else Schedule
    return kind(params, params["state"] == SCHEDULED)


VERB = Verb(ARGUMENTS, begin, secrets_in)
