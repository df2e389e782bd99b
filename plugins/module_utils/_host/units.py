# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of systemd on the host that we are on: what it says of them."""

from __future__ import annotations

import time
from typing import Dict, NamedTuple, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask

_BEGUN = "ExecMainStartTimestampMonotonic"


def shown(unit: str, names: Sequence[str]) -> Dict[str, str]:
    """Return properties of a unit; a unit that there is not has them, too, most of them empty. Without a unit's name they are the manager's own."""
    lines = ask(["systemctl", "show", f"--property={','.join(names)}", *([unit] if unit else [])]).output.splitlines()
    return {name: value for name, _equals, value in (line.partition("=") for line in lines)}


class State(NamedTuple):
    """Whether a unit runs now, and whether it does at every boot."""

    active: bool
    enabled: bool


def states(names: Sequence[str]) -> Dict[str, State]:
    """Return how each unit is, in one question; one that there is not is neither."""
    blocks = ask(["systemctl", "show", "--property=ActiveState,UnitFileState", *names]).output.strip().split("\n\n")
    return {name: State("ActiveState=active" in block.split(), "UnitFileState=enabled" in block.split()) for name, block in zip(names, blocks)}


def begun(unit: str) -> float:
    """Return when the main process of a unit began, in seconds since 1970; 0 when it has none."""
    microseconds = shown(unit, [_BEGUN]).get(_BEGUN, "")
    return time.time() - time.monotonic() + int(microseconds) / 1e6 if microseconds.isdigit() and microseconds != "0" else 0.0
