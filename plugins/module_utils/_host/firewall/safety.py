# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The safety net: rules that nobody confirms are taken back by the host itself, and whom we come from is not locked out by mistake."""

from __future__ import annotations

import os
from typing import NamedTuple, Optional

from ansible_collections.paas.hardening.plugins.module_utils._host import units
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask, do

TIMER = "paas-hardening-firewall-rollback"
_FOLDER = "/run/paas-hardening"
_FILE = f"{_FOLDER}/{TIMER}.nft"


class Client(NamedTuple):
    """Who has logged in to run us: the address, and the port here."""

    address: str
    port: int


def armed() -> bool:
    """Tell whether the host will take rules back by itself."""
    return units.state(f"{TIMER}.timer").active


def arm(undoing: str, seconds: int) -> None:
    """Let the host load a file after some seconds, unless it is disarmed. What an earlier, unconfirmed run would bring back stays what is brought back."""
    if not armed():
        os.makedirs(_FOLDER, mode=0o700, exist_ok=True)
        with open(os.open(_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(undoing)
    disarm()
    when = [f"--on-active={seconds}s", "--timer-property=AccuracySec=100ms"]
    do(["systemd-run", "--quiet", "--collect", f"--unit={TIMER}", *when, "nft", "--file", _FILE], hint="Nothing was changed: without a safety net no rule is.")


def disarm() -> None:
    """Let the rules stay."""
    ask(["systemctl", "stop", f"{TIMER}.timer"])
    ask(["systemctl", "reset-failed", f"{TIMER}.timer", f"{TIMER}.service"])


def client() -> Optional[Client]:
    """Return who has logged in over SSH, or None when nobody did. sudo hides it from us, but not from those who started us."""
    pid = os.getpid()
    while pid > 1:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                entries = file.read().split(b"\0")
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return None
        for entry in entries:
            if entry.startswith(b"SSH_CONNECTION="):
                words = entry.partition(b"=")[2].decode("ascii", "replace").split()
                return Client(words[0].partition("%")[0], int(words[3])) if len(words) == 4 else None
    return None
