# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that are kept with a database (ALTER DATABASE .. SET), and the mark by which we know that we closed it to writers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Session

READ_ONLY = "default_transaction_read_only"
# The mark is the beginning of the database's comment, which its owner can write without being a superuser; what stood there before follows it.
_MARK = re.compile(r"\Apaas\.hardening: closed (\{[^\n]*\})(?:\n(.*))?\Z", re.DOTALL)


@dataclass(frozen=True)
class Before:
    """How a database was before we closed it: its own read-only setting if it had one, its connection limit (-1: none), whether everybody could connect."""

    read_only: Optional[str]
    limit: int
    public: bool

    def mark(self, comment: str) -> str:
        """Return the comment that keeps this."""
        return f"paas.hardening: closed {json.dumps(vars(self))}" + (f"\n{comment}" if comment else "")


def closing(session: Session, database: str = "") -> Tuple[Optional[Before], str]:
    """Return how a database was before we closed it, None when it is not closed, and its comment without our mark. The session's own when none is named.

    Raises NotFound, or Refused when the mark is not as we write it: its owner can change it, and we may be a superuser.
    """
    rows = session.query(
        "SELECT shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = coalesce(nullif(:'database', ''), current_database())",
        {"database": database},
    )
    if not rows:
        raise NotFound(f"There is no database {database}.", "Check the name.", f"database {database}")
    comment = rows[0]["comment"] or ""
    found = _MARK.match(comment)
    return (read_mark(found.group(1)), found.group(2) or "") if found else (None, comment)


def read_mark(text: str) -> Before:
    """Return what a mark says. Raises Refused."""
    try:
        data = json.loads(text)
        if not isinstance(data["limit"], int) or data["read_only"] not in (None, "on", "off", "true", "false", "yes", "no", "1", "0"):
            raise ValueError
        return Before(data["read_only"], data["limit"], bool(data["public"]))
    except (ValueError, TypeError, KeyError):
        raise Refused("Our mark in the database's comment was changed.", "Put the comment right, or remove it (COMMENT ON DATABASE).", "comment") from None


def stored_settings(session: Session, database: str = "") -> Dict[str, str]:
    """Return all settings stored with a database (that of the session when none is named)."""
    rows = session.query(
        """SELECT split_part(entry, '=', 1) AS name, substr(entry, strpos(entry, '=') + 1) AS value
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) entry
WHERE s.setrole = 0 AND d.datname = coalesce(nullif(:'database', ''), current_database())""",
        {"database": database},
    )
    return {row["name"]: row["value"] for row in rows}


def own_settings(session: Session) -> Dict[str, str]:
    """Return the settings that were made for the database of the session: those stored with it, as they were before we closed it."""
    settings = stored_settings(session)
    before, _comment = closing(session)
    if before is None:
        return settings
    kept = {name: value for name, value in settings.items() if name != READ_ONLY}
    return {**kept, READ_ONLY: before.read_only} if before.read_only is not None else kept
