# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A verb that changes nothing: it looks at servers from the host that we are on, and judges what it sees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Dict, List, Mapping, NamedTuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Finding, Proof, Source, status_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Look


class View(NamedTuple):
    """What a finding of an onlooker is about. ``seen`` is what is counted, in the plural; ``hint`` is what to look for when something is wrong."""

    control: str
    title: str
    severity: str
    source: Source
    seen: str
    hint: str


class Onlooker(Look, ABC):
    """What servers answer to the host that we are on."""

    view: View

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params

    @abstractmethod
    def observe(self) -> List[Any]:
        """Look, and return what was seen: observations, each with its verdict."""

    def conclude(self, first: List[Any], last: List[Any], plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Judge the answers. Raises NotProven when they are not as they should be, unless that is only to be looked at."""
        me, view, proof = self._params["me"], self.view, Proof(tuple(last))
        wrong = [check for check in last if check.verdict != PASS]
        if wrong and enforced:
            told = "; ".join(f"{check.what}: expected {check.expected}, observed {check.observed.rstrip('.')}" for check in wrong)
            raise NotProven(f"From {me} {len(wrong)} of {len(last)} {view.seen} are not as they should be: {told}.", view.hint, subject=me)
        finding = Finding(
            control=view.control,
            title=view.title,
            severity=view.severity,
            source=view.source,
            subject=f"from {me}",
            status=status_of(False, enforced, proof, probed=bool(last)),
            expected=f"{len(last)} {view.seen} are as they should be",
            observed=f"{len(last) - len(wrong)} {view.seen} are as they should be",
            proof=proof,
        )
        return {"findings": [finding.as_data()]}
