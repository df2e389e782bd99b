# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many connections a platform may open to its database: its pods as they are, its workers as they are set, and a rollout that doubles them."""

from __future__ import annotations

import math
from typing import Any, List, Mapping

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import frozen_replicas
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import container_of, variable_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, look
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Database, Pool

# What Kubernetes takes for maxSurge where nothing is stated.
_SURGE = "25%"


def pools_of(site: Site, facts: Database, settings: Settings) -> List[int]:
    """Return the connections of each pod that may run at the same time, those of a rollout among them. Raises Forbidden when the nodes cannot be listed."""
    cores = _cores(site) if any(pool.for_each_core for pool in facts.pools) else 0
    pods: List[int] = []
    for pool in facts.pools:
        workload = settings.workloads.get((pool.workload.kind, pool.workload.name))
        if workload is not None:
            pods += [connections_of(pool, workload, cores)] * pods_at_most(workload)
    return pods


def connections_of(pool: Pool, workload: Mapping[str, Any], cores: int) -> int:
    """Return the connections that one pod opens at most."""
    stated = variable_of(container_of(workload, pool.workload.container), pool.variable) if pool.variable else None
    # The code falls back to its own number where the text is none.
    if stated and stated.isdigit() and int(stated):
        return int(stated)
    return pool.connections + pool.for_each_core * cores


def pods_at_most(workload: Mapping[str, Any]) -> int:
    """Return how many pods a workload has during a rollout; one that stands still counts as it will when it goes on."""
    noted, stated = frozen_replicas(workload), look(workload, ("spec", "replicas"))
    replicas = noted if noted is not None else 1 if stated is ABSENT else int(stated)
    strategy = look(workload, ("spec", "strategy"))
    if workload["kind"] != "Deployment" or (strategy is not ABSENT and strategy.get("type") == "Recreate"):
        return replicas
    surge = look(workload, ("spec", "strategy", "rollingUpdate", "maxSurge"))
    surge = _SURGE if surge is ABSENT else surge
    return replicas + (math.ceil(replicas * int(surge.rstrip("%")) / 100) if isinstance(surge, str) else int(surge))


def _cores(site: Site) -> int:
    """Return the cores of the largest node: a pod may start on any, and counts those of the whole machine."""
    nodes = site.objects.list(KINDS["Node"])
    return max((math.ceil(cores_in(str(look(node, ("status", "capacity", "cpu"))))) for node in nodes), default=1)


def cores_in(quantity: str) -> float:
    """Return the cores that a quantity of Kubernetes states: 2, 2.5 or 2500m. What cannot be read counts as one."""
    try:
        return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)
    except ValueError:
        return 1.0
