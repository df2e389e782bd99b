# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of the runs of a schedule: one small file that outlives reboots, written when a run begins and when it ends."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any, Optional

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import FILE_MODE, told
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven
from ansible_collections.paas.hardening.plugins.module_utils._host.files import replace as replace_file

FILE = "last.json"
RUNNING, SUCCEEDED, FAILED = "running", "succeeded", "failed"
_LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class History:
    """The last run: when it began and ended, and when one last succeeded, in seconds since 1970, 0 for never. ``message`` says why it failed."""

    began: float = 0.0
    ended: float = 0.0
    succeeded: float = 0.0
    outcome: str = ""
    changed: bool = False
    point: str = ""
    message: str = ""


def read(folder: str) -> Optional[History]:
    """Return what is known of the last run, or None when there was none. Raises NotProven when the file is torn."""
    path = os.path.join(folder, FILE)
    with told("read", path):
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        data: Any = json.loads(text)
        return History(
            float(data["began"]),
            float(data["ended"]),
            float(data["succeeded"]),
            str(data["outcome"]),
            bool(data["changed"]),
            str(data["point"]),
            str(data["message"]),
        )
    except (KeyError, TypeError, ValueError):
        raise NotProven(f"{path} cannot be understood.", "Somebody changed it; the next run writes it anew.", path) from None


def write(folder: str, history: History) -> None:
    """Write it so that a crash leaves the old one or the new one. Raises Unavailable, Forbidden."""
    path = os.path.join(folder, FILE)
    kept = {**asdict(history), "message": history.message[:_LONGEST_MESSAGE]}
    with told("written", path):
        replace_file(path, json.dumps(kept, sort_keys=True) + "\n", FILE_MODE)
