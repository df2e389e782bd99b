# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes the ruleset come back after a reboot: a file of our own, and a unit of systemd that loads it."""

from __future__ import annotations

import os
import shutil
from typing import NamedTuple, Optional

from ansible_collections.paas.hardening.plugins.module_utils._host import files, units

FILE = "/etc/paas-hardening/firewall.nft"
UNIT = "paas-hardening-firewall.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
MODE = 0o600
_UNIT_MODE = 0o644
_TEXT = """# Managed by paas.hardening.firewall.
[Unit]
Description=Firewall of paas.hardening: a table of nftables of its own
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
After=local-fs.target nftables.service
Conflicts=shutdown.target
# Whoever starts or reloads that one empties all tables: then this one is loaded anew.
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={nft} --file {file}
ExecReload={nft} --file {file}

[Install]
WantedBy=sysinit.target
"""


class Kept(NamedTuple):
    """What is on the host: the file's text and mode, the unit's text, and whether it is enabled and has run."""

    text: Optional[str]
    mode: int
    unit: Optional[str]
    enabled: bool
    active: bool


def look() -> Kept:
    """Read all of it. Raises MissingDependency on a host without systemd."""
    units.require("The firewall is loaded at boot by a unit of systemd.")
    state = units.state(UNIT)
    ruleset = files.look(FILE)
    return Kept(ruleset.text, ruleset.mode, files.look(UNIT_FILE).text, state.enabled, state.active)


def unit_text() -> str:
    """Return what the unit's file has to say."""
    return _TEXT.format(nft=shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin") or "/usr/sbin/nft", file=FILE)


def keep(ruleset: str) -> None:
    """Write the ruleset's file."""
    os.makedirs(os.path.dirname(FILE), mode=0o755, exist_ok=True)
    files.replace(FILE, ruleset, MODE)


def install_unit() -> None:
    """Write the unit's file, and let it run now and at each boot. Raises Failure when systemd does not take it, or nft not the file."""
    if files.look(UNIT_FILE).text != unit_text():
        files.replace(UNIT_FILE, unit_text(), _UNIT_MODE)
    units.read_files()
    units.let_start(UNIT)
    units.restart(UNIT)
