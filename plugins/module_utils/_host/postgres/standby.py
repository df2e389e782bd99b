# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A standby: a copy of the primary, checked against the primary's own list of files, that follows it through a slot."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._host import files
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import cluster
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import ACCOUNT, OURS, Layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import PAST_OPTIONS, Past, past_of
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.sql import as_account

PASSWORD_FILE = f"{OURS}/replication.pass"
AUTHORITY_FILE = f"{OURS}/primary.crt"
PRIMARY_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "authority": {"type": "str", "required": True},
    "past": {"type": "dict", "options": PAST_OPTIONS},
}
PEER_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "rewinds": {"type": "bool", "default": False},
}
RECEIVER_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
}
_COPY = 86_400.0


class Primary(NamedTuple):
    """Where a standby copies from and follows: name in the certificate, address, authority (PEM), and the role, password and slot that it uses there.

    ``past`` are its timelines, where it told them.
    """

    name: str
    address: str
    port: int
    authority: str
    role: str
    password: str
    slot: str
    past: Optional[Past] = None

    def __repr__(self) -> str:
        return f"Primary({self.name!r})"

    def connection(self) -> str:
        """Return the connection's words; the password is in a file."""
        words = {"host": self.name, "hostaddr": self.address, "port": self.port, "user": self.role, "application_name": self.slot}
        words.update({"passfile": PASSWORD_FILE, "sslmode": "verify-full", "sslrootcert": AUTHORITY_FILE, "connect_timeout": 10})
        words.update({"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3})
        return " ".join(f"{name}={value}" for name, value in words.items())

    def settings(self) -> Dict[str, str]:
        """Return the settings that let the server follow."""
        return {"primary_conninfo": self.connection(), "primary_slot_name": self.slot}

    def password_line(self) -> str:
        """Return the line of the password file."""
        return "*:*:*:" + ":".join(part.replace("\\", "\\\\").replace(":", "\\:") for part in (self.role, self.password)) + "\n"


def slot_name(host: str) -> str:
    """Return the name of the slot, and of the connection, of a host of the inventory."""
    return re.sub(r"[^a-z0-9_]", "_", host.lower())[:63]


def primary_of(given: Optional[Mapping[str, Any]], role: str, password: str, me: str, port: int) -> Optional[Primary]:
    """Return the primary that an inventory names, or None when this host is the primary itself."""
    if not given:
        return None
    return Primary(given["name"], given["address"], port, given["authority"], role, password, slot_name(me), past_of(given.get("past")))


def secrets_differ(primary: Primary) -> List[str]:
    """Name the files that a standby needs and that are not as they should be."""
    passwords, authority = files.look(PASSWORD_FILE), files.look(AUTHORITY_FILE)
    found = [PASSWORD_FILE] if passwords != files.Kept(primary.password_line(), 0o600, ACCOUNT) else []
    return found + ([AUTHORITY_FILE] if authority.text is None or authority.text.strip() != primary.authority.strip() else [])


def write_secrets(primary: Primary) -> None:
    """Write those files."""
    os.makedirs(OURS, mode=0o755, exist_ok=True)
    files.replace(PASSWORD_FILE, primary.password_line(), 0o600, ACCOUNT)
    files.replace(AUTHORITY_FILE, primary.authority.strip() + "\n", 0o644, "root")


def copy(layout: Layout, primary: Primary) -> None:
    """Make the cluster as a copy of the primary, checked, and do not start it. Raises Refused and Failure."""
    if os.path.exists(layout.data):
        raise Refused(f"{layout.data} exists, and is no standby of this primary.", "Look what is in it. If it can go: pg_dropcluster.", layout.data)
    _fetch(layout, primary)
    cluster.create(layout)
    # The empty cluster that was made this moment, for the sake of its configuration.
    shutil.rmtree(layout.data)
    put(layout)


def replace(layout: Layout, primary: Primary, aside: str) -> None:
    """Let a copy of the primary, checked, take the place of the data, which is moved aside, and do not start it. Raises Failure; then the data is untouched."""
    _fetch(layout, primary)
    os.rename(layout.data, aside)
    put(layout)


def put(layout: Layout) -> None:
    """Put the copy that was checked in its place."""
    os.rename(layout.incoming, layout.data)
    if os.path.exists(layout.rewinding_file):
        os.unlink(layout.rewinding_file)


def _fetch(layout: Layout, primary: Primary) -> None:
    """Copy the primary beside the data, and check the copy. Raises Failure."""
    incoming = layout.incoming
    # What is left of a copy that did not come to its end.
    shutil.rmtree(incoming, ignore_errors=True)
    os.makedirs(os.path.dirname(layout.data), exist_ok=True)
    files.own(os.path.dirname(layout.data), ACCOUNT)
    words = ["--pgdata", incoming, "--wal-method", "stream", "--slot", primary.slot, "--checkpoint", "fast", "--no-password", "--dbname", primary.connection()]
    _program(layout, "pg_basebackup", words)
    _program(layout, "pg_verifybackup", ["--quiet", incoming])
    signal(os.path.join(incoming, os.path.basename(layout.signal_file)))


def signal(path: str) -> None:
    """Let a server start as a standby."""
    files.replace(path, "", 0o600, ACCOUNT)


def _program(layout: Layout, name: str, words: List[str]) -> None:
    ended = as_account([layout.program(name), *words], seconds=_COPY)
    if ended.status:
        said = scrub(ended.complaint.strip()[-700:])
        raise Failure(f"{name} failed: {said}", "Does the primary let this host in, and is its name in the primary's certificate?", name)
