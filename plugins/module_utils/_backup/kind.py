# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every kind of backup gives to a recovery point."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Callable, ContextManager, Dict, Mapping, Protocol, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.findings import Proof

Scratch = Callable[[], ContextManager[str]]


@dataclass(frozen=True)
class Taken:
    """What was taken and restored. ``about`` is what a restore has to know; everything acknowledged before ``instant`` is in it.

    ``steps`` has the seconds of each step; ``restored_in`` those from the files to a service that answers. ``needs`` says what else a restore takes, and
    ``offers`` what of such needs lies in these files, in the words of needs.py. ``parents`` are the points without which this one cannot be restored.
    """

    about: Mapping[str, Any]
    tools: Mapping[str, str]
    instant: float
    proof: Proof
    restored_in: float
    steps: Mapping[str, float]
    needs: Tuple[str, ...] = ()
    offers: Tuple[str, ...] = ()
    parents: Tuple[str, ...] = ()

    def proof_data(self) -> Dict[str, Any]:
        """Return the proof as the manifest keeps it."""
        return {
            **self.proof.as_data(),
            "restored_in": round(self.restored_in, 3),
            "steps": {name: round(seconds, 3) for name, seconds in self.steps.items()},
        }


class Clock:
    """Notes the seconds of each step."""

    def __init__(self, steps: Dict[str, float]) -> None:
        self._steps = steps
        self._last = time.monotonic()

    def done(self, step: str) -> None:
        now = time.monotonic()
        self._steps[step], self._last = now - self._last, now


class Kind(Protocol):
    """One kind of backup."""

    @property
    def name(self) -> str:
        """The name under which catalogue and options know it."""

    def look(self, repository: str) -> None:
        """Look, without a write, whether a point can be taken now. Raises a failure that says why not."""

    def take(self, folder: str, scratch: Scratch) -> Taken:
        """Write the files of a point into the empty folder, restore them in a scratch folder, and compare. Raises NotProven when they differ."""
