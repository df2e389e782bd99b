# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that clients of the balancer see: how long they are good, for whom, and whether the private key beside them is theirs."""

from __future__ import annotations

import datetime
from typing import List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._host import certificates, files

KEY_OWNER = "root"


class Seen(NamedTuple):
    """One certificate: its text (None without a file), its end (None when it cannot be read), its names, and its private key's file without content."""

    path: str
    text: Optional[str]
    ends: Optional[datetime.datetime]
    names: Tuple[str, ...]
    fits_key: bool
    key_path: str
    key: files.Kept


def look(path: str, key_path: str) -> Seen:
    """Read a certificate, and what kind of file its private key is in."""
    text, key = files.look(path).text, files.look(key_path)
    return Seen(
        path,
        text,
        certificates.end_of(path) if text else None,
        certificates.names_of(path) if text else (),
        bool(text and key.text) and certificates.belongs(path, key_path),
        key_path,
        # Of keys nothing is kept in memory longer than needed.
        key._replace(text=None if key.text is None else ""),
    )


def covers(names: Sequence[str], wanted: str) -> bool:
    """Tell whether one of a certificate's names is good for a host; *.name is for one level below it, as browsers see it."""
    wanted = wanted.lower()
    return any(name.lower() == wanted or (name.startswith("*.") and wanted.partition(".")[2] == name[2:].lower()) for name in names)


def problems(seen: Seen, server_names: Sequence[str], renew_before: int, now: datetime.datetime) -> List[Tuple[str, str]]:
    """Return (what is wrong with it, what to do). ``renew_before`` is in days. Pure."""
    if seen.ends is None:
        return [(f"The certificate {seen.path} cannot be read.", "Give one in PEM, its issuers behind it.")]
    found = []
    left = (seen.ends - now).total_seconds() / 86400
    if left < renew_before:
        state = "expired" if left <= 0 else "expires"
        found.append((f"The certificate {seen.path} {state} on {seen.ends:%Y-%m-%d}.", "Have it renewed, and run again: then nginx reads it."))
    missing = [name for name in server_names if not covers(seen.names, name)]
    if missing:
        found.append((f"The certificate {seen.path} is not for {', '.join(missing)}.", f"It is for {', '.join(seen.names) or 'no name at all'}."))
    if not seen.fits_key:
        found.append((f"The certificate {seen.path} does not belong to {seen.key_path}.", "Put the two that belong together there."))
    return found
