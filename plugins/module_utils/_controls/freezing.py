# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workloads that stand still for a while: how many pods they had is noted on themselves, in the very write that takes the pods away."""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, Optional

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import selector_text
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Path, look
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

FROZEN = "paas.hardening/frozen-replicas"
FREEZE, THAW = "freeze", "thaw"
_NOTE: Path = ("metadata", "annotations", FROZEN)
_REPLICAS: Path = ("spec", "replicas")
_POLL = 0.5


def frozen_replicas(workload: Mapping[str, Any]) -> Optional[int]:
    """Return how many pods a workload that stands still had, None when it does not stand still."""
    noted = look(workload, _NOTE)
    return int(noted) if isinstance(noted, str) and noted.isdigit() else None


def freeze(workload: Mapping[str, Any], why: str) -> List[Wanted]:
    """Return the fields that make a workload stand still; they hold when it does already."""
    noted = frozen_replicas(workload)
    replicas = look(workload, _REPLICAS) if noted is None else noted
    return [
        Wanted(workload, _NOTE, str(1 if replicas is ABSENT else replicas), "remembers how many there were", stage=FREEZE, step=True),
        Wanted(workload, _REPLICAS, 0, why, stage=FREEZE, step=True),
    ]


def thaw(workload: Mapping[str, Any], why: str) -> List[Wanted]:
    """Return the fields that make a workload go on which stands still, or will when this stage comes."""
    noted = frozen_replicas(workload)
    replicas = look(workload, _REPLICAS) if noted is None else noted
    count = 1 if replicas is ABSENT else replicas
    return [
        Wanted(workload, _REPLICAS, count, why, stage=THAW, step=True, standing=0),
        Wanted(workload, _NOTE, ABSENT, "nothing stands still any more", stage=THAW, step=True, standing=str(count)),
    ]


def wait_gone(objects: Objects, workload: Mapping[str, Any], deadline: Deadline, look_on: Callable[[], None] = lambda: None) -> None:
    """Wait until no pod of the workload is there, not even one that is ending, calling ``look_on`` meanwhile. Raises TimedOut, or what that raises."""
    metadata = workload["metadata"]
    while any(objects.list_metadata(KINDS["Pod"], namespace=metadata["namespace"], labels=selector_text(workload))):
        look_on()
        if not deadline.pause(_POLL):
            raise TimedOut(
                f"Pods of {workload['kind']} {metadata['name']} are still there after {deadline.seconds:g} s.",
                "Look at what they wait for (finalizers, an unreachable node), then run again.",
                subject=str(metadata["name"]),
            )
