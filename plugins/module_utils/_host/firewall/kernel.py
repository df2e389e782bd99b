# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table in the kernel: read, tried out where nobody sees it, and replaced in one step."""

from __future__ import annotations

from typing import Optional

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden, Invalid, MissingDependency
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask, do
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.live import Table, read
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.ruleset import EMPTY, FAMILY, TABLE

_LIST = ("list", "table", FAMILY, TABLE)
# In a network namespace that ends with it: nft writes and reads it back there as it would on the host, so that both can be compared.
_REHEARSE = f"nft --file - && nft --json {' '.join(_LIST)} && echo && nft --handle {' '.join(_LIST)}"


def installed() -> bool:
    """Tell whether the host has nft."""
    try:
        return ask(["nft", "--version"]).status == 0
    except MissingDependency:
        return False


def live() -> Optional[Table]:
    """Return the table as the kernel has it, or None when it has none. Raises Failure."""
    listed = ask(["nft", "--json", *_LIST])
    if listed.status:
        if "No such file or directory" in listed.complaint:
            return None
        raise _failure("The ruleset cannot be read", listed.complaint)
    return _read(listed.output, do(["nft", "--handle", *_LIST]))


def rehearsed(ruleset: str) -> Table:
    """Return the table as the kernel would have it. Raises Invalid when it does not take it, Forbidden when it cannot be tried out."""
    tried = ask(["unshare", "--net", "sh", "-c", _REHEARSE], stdin=ruleset)
    if tried.status:
        if "unshare" in tried.complaint:
            raise _failure("The ruleset cannot be tried out in a network namespace", tried.complaint)
        raise Invalid(
            f"nft does not take the ruleset: {tried.complaint.strip()[-2000:]}", "Nothing was changed. Look at the addresses and ports of the rules.", "rules"
        )
    listing, _newline, text = tried.output.partition("\n")
    return _read(listing, text)


def _read(listing: str, text: str) -> Table:
    try:
        return read(listing, text)
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(
            f"What nft says of the table is not understood: {error}", "Its version may be too new or too old (1.0 to 1.1 are known).", TABLE
        ) from None


def load(ruleset: str) -> None:
    """Replace the table, in one step: there is no moment without rules. Raises Failure, and then the old one stays."""
    do(["nft", "--file", "-"], stdin=ruleset, hint="Nothing was changed: the kernel takes all of it or nothing.")


def undoing() -> str:
    """Return the file that brings back the table as it is now, or its absence."""
    listed = ask(["nft", *_LIST])
    return EMPTY + (listed.output if listed.status == 0 else "")


def _failure(what: str, complaint: str) -> Failure:
    return Forbidden(f"{what}: {complaint.strip()[-500:]}", "This needs root: set become.", subject="nft")
