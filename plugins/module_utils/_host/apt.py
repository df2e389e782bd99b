# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of Debian and Ubuntu on the host that we are on."""

from __future__ import annotations

from typing import Sequence

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import MissingDependency
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask

# Seconds, on a slow line.
_PATIENCE = 1200.0


def install(packages: Sequence[str], hint: str) -> None:
    """Install packages, and nothing that they only recommend. Raises MissingDependency with the hint."""
    words = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends", "install", *packages]
    ended = ask(words, seconds=_PATIENCE)
    if ended.status:
        # The lists may be of yesterday, or not there yet.
        ask(["apt-get", "-qq", "update"], seconds=_PATIENCE)
        ended = ask(words, seconds=_PATIENCE)
    if ended.status:
        raise MissingDependency(f"apt-get does not install {', '.join(packages)}: {ended.complaint.strip()[-500:]}", hint, subject=packages[0])
