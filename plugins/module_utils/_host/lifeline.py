# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ties a program's life to ours: whatever ends us, the kernel ends it."""

from __future__ import annotations

import os
import signal
import sys
from typing import List, Sequence, Tuple

# Done in a process of its own, which then becomes the program: between fork and exec of a process with threads Python must not run. Who is root becomes
# somebody else only there, since nobody else may read the home folder that Python may be in; and is tied afterwards, since that would undo it. What runs in
# the background may have been told to ignore the signal.
_TIE = (
    "import ctypes, os, signal, sys\n"
    "parent, how, user, group, apart = map(int, sys.argv[1:6])\n"
    "if apart: ctypes.CDLL(None).unshare(0x08000000)\n"
    "if user >= 0:\n"
    "    os.setgroups([group])\n"
    "    os.setgid(group)\n"
    "    os.setuid(user)\n"
    "if how != signal.SIGKILL: signal.signal(how, signal.SIG_DFL)\n"
    "ctypes.CDLL(None).prctl(1, how)\n"
    "if os.getppid() != parent: os._exit(1)\n"
    "os.execv(sys.argv[6], sys.argv[6:])\n"
)


def tied(command: Sequence[str], how: signal.Signals = signal.SIGKILL, account: Tuple[int, int] = (-1, -1), apart: bool = False) -> List[str]:
    """Return the command that runs this one so that it does not outlive us, where the system can do that: on Linux. The program stands by its path.

    ``how`` is the signal that ends it, for programs that leave something behind when they are killed. ``account`` is the user and the group that it runs as
    when we are root. ``apart`` gives it shared memory of its own, which goes with it however it ends; who is not root has no right to that, and does without.
    """
    if not ties():
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), str(int(how)), *map(str, account), str(int(apart)), *command]


def ties() -> bool:
    """Tell whether the system can do that."""
    return sys.platform.startswith("linux")
