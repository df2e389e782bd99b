# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every kind gives to a restore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Protocol, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.findings import Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

API = "paas.hardening/v1"
CONTENT, USE = ("content",), ("in use",)


@dataclass(frozen=True)
class Outcome:
    """What a restore of one kind came to: where it is, how it was proved, the seconds until it could be used, and what is to be done by hand."""

    places: Tuple[str, ...]
    proof: Proof
    seconds: float
    swapped: bool
    kept: str
    remains_to_do: Tuple[str, ...]

    def as_data(self) -> Dict[str, Any]:
        return {
            "places": list(self.places),
            "proof": self.proof.as_data(),
            "seconds": round(self.seconds, 3),
            "swapped": self.swapped,
            "kept": self.kept,
            "remains_to_do": list(self.remains_to_do),
        }


class Restorer(Protocol):
    """One kind of one point, restored to one new place."""

    @property
    def name(self) -> str:
        """The kind."""

    @property
    def swaps(self) -> bool:
        """Whether what was restored can be put in use here."""

    def look(self) -> None:
        """Look, without a write, how far the restore is. Raises a failure for a target that is live, or is somebody else's."""

    def changes(self, swap: bool) -> List[Change]:
        """Return what is still to be done. Raises Refused when it may not be."""

    def restore(self, change: Change, deadline: Deadline) -> None:
        """Restore to the new place and prove it there. Raises NotProven; then nothing is left there."""

    def swap(self, change: Change) -> None:
        """Put it in use."""

    def outcome(self) -> Outcome:
        """Say what the last look saw."""
