# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one result model: what a recommendation asks for, what was found, what proves it. Modules, audits and reports share it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Tuple, Union

# Statuses of a finding. UNKNOWN never counts as passed: what could not be read is not "ok".
PASS = "pass"
FAIL = "fail"
FIXED = "fixed"
WOULD_FIX = "would-fix"
UNKNOWN = "unknown"
NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True)
class Source:
    """Where a recommendation comes from: the document, its section, and the sentence as it stands there."""

    document: str
    section: str
    sentence: str


@dataclass(frozen=True)
class Check:
    """One observation made from outside: what was asked, what was expected, what came back. ``verdict`` is pass, fail or unknown."""

    what: str
    expected: str
    observed: str
    verdict: str

    @classmethod
    def equal(cls, what: str, expected: Union[str, int], observed: Union[str, int]) -> Check:
        """Return an observation that passes when it is exactly what was expected."""
        return cls(what, str(expected), str(observed), PASS if expected == observed else FAIL)

    def as_data(self) -> Dict[str, str]:
        return {"what": self.what, "expected": self.expected, "observed": self.observed, "verdict": self.verdict}


@dataclass(frozen=True)
class Proof:
    """All observations that show the effect of one recommendation."""

    checks: Tuple[Check, ...] = ()

    @property
    def verdict(self) -> str:
        """``fail`` when one failed, ``unknown`` when one is unknown or nothing was looked at, else ``pass``."""
        verdicts = {check.verdict for check in self.checks}
        if FAIL in verdicts:
            return FAIL
        return PASS if verdicts == {PASS} else UNKNOWN

    def as_data(self) -> Dict[str, Any]:
        return {"verdict": self.verdict, "checks": [check.as_data() for check in self.checks]}

    def __str__(self) -> str:
        return "; ".join(f"{check.what}: {check.observed}" for check in self.checks) or "not probed"


@dataclass(frozen=True)
class Finding:
    """What one recommendation found on one subject: ``observed`` at the first look, ``after`` when the run was over."""

    control: str
    title: str
    severity: str
    source: Source
    subject: str
    status: str
    expected: str
    observed: str
    after: str = ""
    reasons: Tuple[str, ...] = ()
    hint: str = ""
    proof: Proof = field(default_factory=Proof)
    durability: Tuple[Dict[str, Any], ...] = ()

    def as_data(self) -> Dict[str, Any]:
        return {
            "control": self.control,
            "title": self.title,
            "severity": self.severity,
            "source": {"document": self.source.document, "section": self.source.section, "sentence": self.source.sentence},
            "subject": self.subject,
            "status": self.status,
            "expected": self.expected,
            "observed": self.observed,
            "after": self.after or self.observed,
            "reasons": list(self.reasons),
            "hint": self.hint,
            "proof": self.proof.as_data(),
            "durability": [dict(verdict) for verdict in self.durability],
        }


def status_of(planned: bool, enforced: bool, proof: Proof, probed: bool) -> str:
    """Return the status of a recommendation from the plan and the proof, the worse of the two deciding."""
    if planned and not enforced:
        return WOULD_FIX
    if probed and proof.verdict != PASS:
        return proof.verdict
    return FIXED if planned else PASS


def worst_first(findings: List[Finding]) -> List[Finding]:
    """Sort findings so that what is broken stands first."""
    order = {FAIL: 0, UNKNOWN: 1, WOULD_FIX: 2, FIXED: 3, PASS: 4, NOT_APPLICABLE: 5}
    return sorted(findings, key=lambda finding: order[finding.status])
