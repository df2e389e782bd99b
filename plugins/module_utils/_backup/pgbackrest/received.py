# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pg_receivewal has of a server's log beyond the archive: taken over up to its very last record, since each may be of an acknowledged commit.

Its newest segment is called .partial, and no engine looks at it: who restores from the archive alone loses all that stands there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import List

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import told
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, MissingDependency, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.scratch import Account
from ansible_collections.paas.hardening.plugins.module_utils._host.lifeline import tied

_SEGMENT = re.compile(r"([0-9A-F]{24})(\.partial)?|([0-9A-F]{8}\.history)")
_RECORD = re.compile(rb"lsn: ([0-9A-F]+/[0-9A-F]+),")


@dataclass(frozen=True)
class Received:
    """Segments that were received: the folder of the copies, their timeline, and the position of the last record."""

    folder: str
    timeline: int
    lsn: str


def take_over(source: str, since: str, into: str, waldump: str, account: Account) -> Received:
    """Copy what was received from the segment ``since`` on into a new folder, each under the name by which recovery asks for it.

    Raises Invalid when there is nothing of the kind, NotProven when it holds no record.
    """
    with told("listed", source):
        found = {name: match for name, match in ((name, _SEGMENT.fullmatch(name)) for name in sorted(os.listdir(source))) if match}
    segments = {str(match.group(1)): name for name, match in reversed(found.items()) if match.group(1) and match.group(1)[8:] >= since[8:]}
    if not segments:
        raise Invalid(
            f"{source} has no segment from {since} on.",
            "Give the folder into which pg_receivewal wrote; without it the archive alone is used.",
            "postgres.received",
        )
    with told("copied", source):
        os.mkdir(into, 0o700)
        # A whole segment, where there is one of the same name, comes before a partial one.
        for name in [*segments.values(), *(name for name in found if name.endswith(".history"))]:
            target = os.path.join(into, name.partition(".partial")[0])
            shutil.copyfile(os.path.join(source, name), target)
            account.own(target)
        account.own(into)
    newest = max(int(name[:8], 16) for name in segments)
    for name in sorted((name for name in segments if int(name[:8], 16) == newest), reverse=True):
        last = _last_record([waldump, os.path.join(into, name)])
        if last:
            return Received(into, newest, last)
    raise NotProven(f"{source} holds no record of the log.", "Restore without it: it was never written to.", "postgres.received")


def _last_record(command: List[str]) -> str:
    """Return the position of the last record in a segment, or nothing. Where the log ends pg_waldump says that it found no more, and ends with an error."""
    last = b""
    try:
        with subprocess.Popen(tied(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env={"LC_ALL": "C"}) as process:
            for line in process.stdout or ():
                found = _RECORD.search(line)
                last = found.group(1) if found else last
    except OSError as error:
        raise MissingDependency(f"{command[0]} cannot be started: {error.strerror}.", "Install PostgreSQL's server programs.", "server_folder") from None
    return last.decode("ascii")
