# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds out which platform runs where, and says because of what. One list request; no guess when nothing or two things match."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid, NotFound
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Item, Path, look
from ansible_collections.paas.hardening.plugins.module_utils._platforms.drycc import DRYCC_1_8, DRYCC_HEAD
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Mark, Platform
from ansible_collections.paas.hardening.plugins.module_utils._platforms.workflow import DEIS, HEPHY

PLATFORMS: Dict[str, Platform] = {platform.name: platform for platform in (DEIS, HEPHY, DRYCC_1_8, DRYCC_HEAD)}

DETECTION_ARGUMENTS: Dict[str, Any] = {
    "platform": {"type": "str", "choices": sorted(PLATFORMS)},
    "namespace": {"type": "str"},
}

Deployments = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Detected:
    """The platform, the namespace it runs in, and the evidence for both."""

    platform: Platform
    namespace: str
    evidence: Tuple[str, ...]

    def as_data(self) -> Dict[str, Any]:
        return {"name": self.platform.name, "title": self.platform.title, "namespace": self.namespace, "evidence": list(self.evidence)}


def detect(objects: Objects, platform: Optional[str] = None, namespace: Optional[str] = None) -> Detected:
    """Return the platform of the cluster, or of the given namespace.

    With both given nothing is asked. Raises NotFound when nothing matches and Invalid when two things do.
    """
    if platform and namespace:
        return Detected(PLATFORMS[platform], namespace, ("given",))
    heritages = sorted({known.heritage for known in PLATFORMS.values()})
    try:
        found = list(objects.list(KINDS["Deployment"], namespace=namespace, labels=f"heritage in ({', '.join(heritages)})"))
    except Forbidden as error:
        raise Forbidden(error.message, f"{error.hint} Or name the namespace, so that only it is read.", error.subject, error.status) from error
    by_namespace: Dict[str, Dict[str, Mapping[str, Any]]] = {}
    for document in found:
        by_namespace.setdefault(document["metadata"]["namespace"], {})[document["metadata"]["name"]] = document
    matches: List[Detected] = []
    for place, deployments in sorted(by_namespace.items()):
        matches += recognise(deployments, place, platform)
    if len(matches) == 1:
        return matches[0]
    where = f"namespace {namespace}" if namespace else "the cluster"
    if not matches:
        raise NotFound(
            f"No {PLATFORMS[platform].title if platform else 'known platform'} runs in {where}: {_nearest(by_namespace)}.",
            "Check kubeconfig, context and namespace; a platform with renamed objects is not supported.",
        )
    raise Invalid(
        "More than one platform matches: " + "; ".join(f"{match.platform.name} in namespace {match.namespace}" for match in matches) + ".",
        "Name one with the options platform and namespace.",
        subject="platform",
    )


def recognise(deployments: Deployments, namespace: str, wanted: Optional[str] = None) -> List[Detected]:
    """Return every platform whose signs the Deployments of one namespace carry.

    Relatives that share all names are told apart by their marks; where no mark decides, all of them are returned.
    """
    candidates = []
    for platform in PLATFORMS.values():
        if wanted not in (None, platform.name):
            continue
        if all(_belongs(deployments.get(name), platform) for name in platform.required) and not any(name in deployments for name in platform.absent):
            candidates.append(platform)
    marked = [(platform, [mark for mark in platform.marks if _carries(deployments, mark)]) for platform in candidates]
    # Where the marks of two relatives contradict each other (a mirror of one that is named like the other), no majority decides: both stay.
    decided = {platform.required for platform, marks in marked if marks}
    marked = [(platform, marks) for platform, marks in marked if marks or platform.required not in decided]
    return [
        Detected(
            platform,
            namespace,
            tuple(f"Deployment {name} with label heritage={platform.heritage}" for name in platform.required)
            + tuple(f"{mark} matches {mark.pattern}" for mark in marks),
        )
        for platform, marks in marked
    ]


def _belongs(document: Optional[Mapping[str, Any]], platform: Platform) -> bool:
    return document is not None and (document["metadata"].get("labels") or {}).get("heritage") == platform.heritage


def _carries(deployments: Deployments, mark: Mark) -> bool:
    document = deployments.get(mark.workload.name)
    if document is None:
        return False
    container: Path = ("spec", "template", "spec", "containers", Item("name", mark.workload.container))
    value = look(document, container + (("image",) if mark.variable is None else ("env", Item("name", mark.variable), "value")))
    return isinstance(value, str) and re.search(mark.pattern, value) is not None


def _nearest(by_namespace: Mapping[str, Deployments]) -> str:
    if not by_namespace:
        return "no Deployment carries the label heritage of any platform"
    parts = []
    for namespace, deployments in sorted(by_namespace.items()):
        parts.append(f"namespace {namespace} has {', '.join(sorted(deployments)[:5])}")
    return "; ".join(parts)
