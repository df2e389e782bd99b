# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs programs of the host that we are on, in English, without a terminal, for a limited time."""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, MissingDependency, TimedOut

# Where a login that is not root's does not look.
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Ended(NamedTuple):
    """How a program ended: its exit status, what it printed, and what it complained about."""

    status: int
    output: str
    complaint: str


def ask(words: Sequence[str], stdin: str = "", seconds: float = 60) -> Ended:
    """Run a program and return how it ended, whatever its status. Raises MissingDependency and TimedOut."""
    environment = {"PATH": _SYSTEM_PATH, "LC_ALL": "C", "HOME": os.environ.get("HOME", "/")}
    try:
        done = subprocess.run(list(words), input=stdin, env=environment, capture_output=True, timeout=seconds, check=False, text=True)
    except FileNotFoundError:
        raise MissingDependency(f"There is no program {words[0]} on this host.", "Install the package that has it.", subject=words[0]) from None
    except subprocess.TimeoutExpired:
        raise TimedOut(f"{words[0]} did not end within {seconds:.0f} s.", "Look at the load of the host.", subject=words[0]) from None
    return Ended(done.returncode, done.stdout, done.stderr)


def do(words: Sequence[str], stdin: str = "", hint: str = "", seconds: float = 60) -> str:
    """Run a program and return what it printed. Raises Failure with its complaint when its status is not 0."""
    ended = ask(words, stdin, seconds)
    if ended.status:
        raise Failure(f"{' '.join(words[:3])} failed ({ended.status}): {ended.complaint.strip()[-2000:]}", hint, subject=words[0])
    return ended.output
