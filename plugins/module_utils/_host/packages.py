# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of the host that we are on, by its own installer."""

from __future__ import annotations

from typing import Sequence

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import MissingDependency
from ansible_collections.paas.hardening.plugins.module_utils._host import families
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask

# Seconds, on a slow line.
_PATIENCE = 1200.0


def install(packages: Sequence[str], hint: str) -> None:
    """Install packages, and nothing that they only recommend. Raises MissingDependency, with the hint."""
    family, wanted = families.family_of(families.release()), ", ".join(packages)
    if family is None:
        raise MissingDependency(f"It is not known how this system installs {wanted}.", "Install them by its own means.", subject=packages[0])
    words = [*family.install, *packages]
    ended = ask(words, seconds=_PATIENCE)
    if ended.status:
        # The lists may be of yesterday, or not there yet.
        ask(family.refresh, seconds=_PATIENCE)
        ended = ask(words, seconds=_PATIENCE)
    if ended.status:
        raise MissingDependency(f"{family.refresh[0]} does not install {wanted}: {ended.complaint.strip()[-500:]}", hint, subject=packages[0])
