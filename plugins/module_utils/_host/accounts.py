# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts of the system that servers run as: nobody logs in as one of them, and none is root."""

from __future__ import annotations

import grp
import pwd
from typing import NamedTuple, Optional

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._host.command import do

_SHELLS = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false")


class Account(NamedTuple):
    """An account: its number and its shell."""

    number: int
    shell: str

    @property
    def harmless(self) -> bool:
        """Nobody can log in as it, and it is not root."""
        return self.number != 0 and self.shell in _SHELLS


def look(name: str) -> Optional[Account]:
    """Return the account of this name, or None."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(found.pw_uid, found.pw_shell or "/bin/sh")


def make(name: str, home: str = "/nonexistent") -> None:
    """Make the account, without a home and without a shell, or let nobody log in as the one that there is. Raises Failure, and Refused when it is root's."""
    known = look(name)
    if known is None:
        group = ["--gid", name] if _is_group(name) else ["--user-group"]
        do(["useradd", "--system", "--no-create-home", "--home-dir", home, "--shell", _SHELLS[0], *group, name])
    elif known.number == 0:
        raise Refused(f"The account {name} is root by another name.", "Find out who made it, and remove it.", name)
    else:
        do(["usermod", "--shell", _SHELLS[0], name])


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
