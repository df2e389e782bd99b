# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a control is made of: the recommendation it stands for, and the fields it wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Protocol, Sequence, Tuple, runtime_checkable

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER, Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Path, Plan, look, ref_of, same
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import Detected
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Platform


@dataclass(frozen=True)
class Recommendation:
    """One sentence of the documents, with the identifier under which reports know it."""

    id: str
    title: str
    severity: str
    source: Source

    def beside(self, suffix: str, title: str, severity: str, status: str, subject: str, expected: str, observed: str, hint: str, reason: str) -> Finding:
        """Return a finding about something that was seen beside it, under its identifier with a suffix."""
        return Finding(f"{self.id}-{suffix}", title, severity, self.source, subject, status, expected, observed, reasons=(reason,), hint=hint)


@dataclass(frozen=True)
class Site:
    """Where a control works: the connection, the objects behind it, the platform and its namespace."""

    connection: Connection
    objects: Objects
    detected: Detected

    @property
    def platform(self) -> Platform:
        return self.detected.platform

    @property
    def namespace(self) -> str:
        return self.detected.namespace


@dataclass(frozen=True)
class Wanted:
    """One field as it should be.

    ``document`` is the object as observed, or just its apiVersion, kind and metadata when it does not exist. The empty path is the whole object.
    ``values_path`` is the chart's key that makes the field last; None means that the chart has none. A field that is only a ``step`` on the way of work in
    several ``stage``s is not meant to last; ``standing`` is what will stand there when its stage comes, where that is not what was observed. What
    ``values_path`` has to hold is a secret when ``values_secret`` is set: then it is named, and never written down. ``values_also`` are keys that the chart
    reads once ``values_path`` is set, with what they have to hold; ABSENT stands for a secret. A setting of how a service is spoken to, which ``leads`` to no
    other one, may be mended without more.
    """

    document: Mapping[str, Any]
    path: Path
    value: Any
    why: str
    values_path: Optional[str] = None
    values_value: Any = None
    stage: str = ""
    step: bool = False
    standing: Any = None
    values_secret: bool = False
    values_also: Tuple[Tuple[str, Any], ...] = ()
    leads: bool = True

    @property
    def found(self) -> Any:
        if self.standing is not None:
            return self.standing
        if self.path:
            return look(self.document, self.path)
        return self.document if "resourceVersion" in (self.document.get("metadata") or {}) else ABSENT

    @property
    def holds(self) -> bool:
        """Tell whether the field is as wanted. A whole object holds when it exists; its fields are wanted one by one."""
        if not self.path:
            return (self.found is ABSENT) == (self.value is ABSENT)
        return self.found is self.value if self.value is ABSENT or self.found is ABSENT else same(self.found, self.value)

    @property
    def ours(self) -> bool:
        """Tell whether this collection made the object, or is about to: then no Helm release can have it."""
        metadata = self.document["metadata"]
        return "resourceVersion" not in metadata or OWNER.items() <= (metadata.get("labels") or {}).items()

    def as_change(self) -> Change:
        return Change(ref_of(self.document), self.path, self.found, self.value, self.why, self.stage)


def plan_of(wanted: Sequence[Wanted]) -> Plan:
    """Return what has to change so that every wanted field holds. Pure."""
    changes = tuple(entry.as_change() for entry in wanted if not entry.holds)
    versions = {}
    for entry in wanted:
        version = (entry.document.get("metadata") or {}).get("resourceVersion")
        if version and not entry.holds:
            versions[ref_of(entry.document)] = version
    return Plan(changes, versions)


class Control(Protocol):
    """One recommendation: how it is observed, what it wants, how its effect is proved."""

    recommendation: Recommendation
    arguments: Dict[str, Any]

    def observe(self, site: Site, params: Mapping[str, Any]) -> Any:
        """Read what the control needs to know, in as few requests as possible."""

    def wanted(self, platform: Platform, params: Mapping[str, Any], observed: Any) -> List[Wanted]:
        """Return every field that the control owns, as it should be. Pure. Raises Refused when the change would not be safe."""

    def against(self, params: Mapping[str, Any]) -> str:
        """Return in what the options go against the recommendation (a roll back), or nothing."""

    def workloads(self, observed: Any) -> Sequence[Mapping[str, Any]]:
        """Return the workloads, as observed, whose rollout has to be over before the effect can be seen."""

    def unsettled(self, params: Mapping[str, Any], observed: Any) -> str:
        """Return what has still to come about although every field is as wanted (pods that another controller will make), or nothing."""

    def probe(self, site: Site, params: Mapping[str, Any], observed: Any) -> Proof:
        """Look at the effect from outside."""

    def describe(self, platform: Platform, params: Mapping[str, Any], observed: Any) -> Tuple[str, str, str]:
        """Return (subject, expected, observed) in words."""

    def beside(self, platform: Platform, params: Mapping[str, Any], observed: Any) -> List[Finding]:
        """Return what else the observation shows: inert settings, doors that stay open."""


@runtime_checkable
class Staged(Protocol):
    """A control whose work takes several stages, of which not all are writes to the cluster."""

    def carry_out(self, site: Site, params: Mapping[str, Any], plan: Plan) -> None:
        """Do one piece of the plan: what concerns one object in one stage. Raises Conflict when the object is no longer as planned."""

    def take_back(self) -> str:
        """Undo what must not be left half done; return in words what was undone, or nothing. Raises no Failure."""


@runtime_checkable
class Leaving(Protocol):
    """A control that may have something of its own at work in the cluster while a run lasts, which is no part of how the platform should be."""

    def leave(self) -> None:
        """Take it away. Raises no Failure."""
