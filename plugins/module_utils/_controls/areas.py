# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of a host is judged area by area: what is planned for each, what is left to a person, and the finding that both make."""

from __future__ import annotations

import itertools
from typing import List, NamedTuple, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, UNKNOWN, Finding, Proof, Source, status_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change

_SHOWN = 6


class Area(NamedTuple):
    """What a finding is about: its control, its title, its severity."""

    control: str
    title: str
    severity: str


class Remark(NamedTuple):
    """What is wrong and is left to a person, and what he may do."""

    area: Area
    text: str
    hint: str


class Judged(NamedTuple):
    """What is known of one area when a run is over: what was planned at first, what was written, what is left to a person, and what was seen from outside.

    ``unseen``: it could not be looked at.
    """

    area: Area
    planned: Sequence[Change]
    done: Sequence[Change]
    remarks: Sequence[Remark]
    proof: Proof
    unseen: bool

    def finding(self, source: Source, subject: str, enforced: bool) -> Finding:
        """Return the finding about the area of this subject."""
        if self.unseen:
            status = UNKNOWN
        elif self.remarks:
            status = FAIL
        else:
            status = status_of(bool(self.done), enforced, self.proof, probed=bool(self.proof.checks))
        return Finding(
            control=self.area.control,
            title=self.area.title,
            severity=self.area.severity,
            source=source,
            subject=subject,
            status=status,
            expected="as the inventory says",
            observed="could not be looked at" if self.unseen else _told(self.planned, self.remarks),
            after="could not be looked at" if self.unseen else _told([] if enforced else self.planned, self.remarks),
            reasons=tuple(remark.text for remark in self.remarks),
            hint=" ".join(remark.hint for remark in self.remarks),
            proof=self.proof,
        )


def _told(changes: Sequence[Change], remarks: Sequence[Remark]) -> str:
    """Say in one line what is not as it should be."""
    wrong: List[str] = []
    for ref, group in itertools.groupby(changes, key=lambda change: change.ref):
        fields = [change.field for change in group]
        more = f" and {len(fields) - _SHOWN} more" if len(fields) > _SHOWN else ""
        wrong.append(f"{ref} ({', '.join(fields[:_SHOWN])}{more})")
    wrong += [remark.text.rstrip(".") for remark in remarks]
    return f"not as it should be: {', '.join(wrong)}" if wrong else "as it should be"
