# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of systemd on the host that we are on: what it says of them, and how they are started, stopped and told to read their files."""

from __future__ import annotations

import os
import time
from typing import Dict, NamedTuple, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import MissingDependency
from ansible_collections.paas.hardening.plugins.module_utils._host import files
from ansible_collections.paas.hardening.plugins.module_utils._host.command import Ended, ask, do

FOLDER = "/etc/systemd/system"
MODE = 0o644
# What a server of ours needs nothing of, as lines of the section [Service].
FENCES = """ProtectHome=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateTmp=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""
_BEGUN = "ExecMainStartTimestampMonotonic"


def require(needed_for: str) -> None:
    """Refuse a host without systemd; ``needed_for`` is a sentence that says what it is needed for. Raises MissingDependency."""
    if not os.path.isdir("/run/systemd/system"):
        raise MissingDependency("This host does not run systemd.", needed_for, subject="systemd")


def shown(unit: str, names: Sequence[str]) -> Dict[str, str]:
    """Return properties of a unit; a unit that there is not has them, too, most of them empty. Without a unit's name they are the manager's own."""
    lines = ask(["systemctl", "show", f"--property={','.join(names)}", *([unit] if unit else [])]).output.splitlines()
    return {name: value for name, _equals, value in (line.partition("=") for line in lines)}


class State(NamedTuple):
    """Whether a unit runs now, whether it does at every boot, and whether somebody has put it out of reach."""

    active: bool
    enabled: bool
    masked: bool = False


def states(names: Sequence[str]) -> Dict[str, State]:
    """Return how each unit is, in one question; one that there is not is none of it."""
    blocks = ask(["systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", *names]).output.strip().split("\n\n")
    return {name: _state(block.split()) for name, block in zip(names, blocks)}


def _state(words: Sequence[str]) -> State:
    active = "ActiveState=active" in words or "ActiveState=reloading" in words
    return State(active, "UnitFileState=enabled" in words, "LoadState=masked" in words)


def state(unit: str) -> State:
    """Return how one unit is."""
    return states([unit])[unit]


def drop_ins(listed: str) -> Tuple[str, ...]:
    """Return those of a unit's drop-ins (its property DropInPaths) that somebody made for it; those of the distribution are for all units. Pure."""
    return tuple(path for path in listed.split() if path.startswith(("/etc/", "/run/")))


def begun(unit: str) -> float:
    """Return when the main process of a unit began, in seconds since 1970; 0 when it has none."""
    microseconds = shown(unit, [_BEGUN]).get(_BEGUN, "")
    return time.time() - time.monotonic() + int(microseconds) / 1e6 if microseconds.isdigit() and microseconds != "0" else 0.0


# Doing


def read_files() -> None:
    """Let systemd read the files of all units. Raises Failure."""
    do(["systemctl", "daemon-reload"])


def write(path: str, text: str, mode: int = MODE) -> None:
    """Write the file of a unit, or one beside it, and let systemd read it. Raises Failure."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    files.replace(path, text, mode, "root")
    read_files()


def let_start(unit: str) -> None:
    """Start a unit at every boot, also one that somebody had put out of reach. Raises Failure."""
    do(["systemctl", "unmask", "--quiet", unit])
    do(["systemctl", "enable", "--quiet", unit])


def begin(unit: str, verb: str = "start", seconds: float = 120) -> Ended:
    """Start a unit (``verb`` may be restart), however often it failed before, and return how systemctl ended. Raises Failure."""
    read_files()
    ask(["systemctl", "reset-failed", unit])
    return ask(["systemctl", verb, unit], seconds=seconds)


def start(unit: str) -> None:
    """Start a unit. Raises Failure."""
    do(["systemctl", "start", unit], hint=f"Ask: journalctl -u {unit}")


def restart(unit: str) -> None:
    """Restart a unit. Raises Failure."""
    do(["systemctl", "restart", unit], hint=f"Ask: journalctl -u {unit}")


def stop(unit: str, seconds: float = 120) -> None:
    """Stop a unit, and wait until it has ended. Raises Failure."""
    do(["systemctl", "stop", unit], hint=f"Ask: journalctl -u {unit}", seconds=seconds)


def forget(unit: str) -> None:
    """Stop a unit, also at boot. Raises Failure."""
    do(["systemctl", "disable", "--quiet", "--now", unit], hint=f"Ask: journalctl -u {unit}")


def mask(unit: str) -> None:
    """Put a unit out of reach, be it there already or not, and stop it. Raises Failure."""
    do(["systemctl", "mask", "--quiet", unit])
    if state(unit).active:
        stop(unit)


def read_anew(unit: str) -> bool:
    """Let a running unit read its configuration; tell whether systemd could ask it to."""
    return ask(["systemctl", "reload", unit], seconds=60).status == 0


def journal(unit: str, lines: int = 5) -> str:
    """Return the last that a unit said, for a message."""
    said = ask(["journalctl", "--no-pager", "--quiet", "--output=cat", f"--lines={lines}", f"--unit={unit}"]).output.splitlines()
    return " / ".join(said)[-800:]
