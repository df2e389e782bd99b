# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ties a program's life to ours: whatever ends us, the kernel ends it."""

from __future__ import annotations

import os
import sys
from typing import List, Sequence

# Done in a process of its own, which then becomes the program: between fork and exec of a process with threads Python must not run.
_TIE = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))\n"
    "if os.getppid() != int(sys.argv[1]): os._exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


def tied(command: Sequence[str]) -> List[str]:
    """Return the command that runs this one so that it does not outlive us, where the system can do that: on Linux. The program stands by its path."""
    if not sys.platform.startswith("linux"):
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *command]
