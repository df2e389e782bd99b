# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ties a program's life to ours: whatever ends us, the kernel ends it."""

from __future__ import annotations

import os
import signal
import sys
from typing import List, Sequence

# Done in a process of its own, which then becomes the program: between fork and exec of a process with threads Python must not run.
_TIE = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, int(sys.argv[2]))\n"
    "if os.getppid() != int(sys.argv[1]): os._exit(1)\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)


def tied(command: Sequence[str], how: signal.Signals = signal.SIGKILL) -> List[str]:
    """Return the command that runs this one so that it does not outlive us, where the system can do that: on Linux. The program stands by its path.

    ``how`` is the signal that ends it, for programs that leave something behind when they are killed.
    """
    if not sys.platform.startswith("linux"):
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), str(int(how)), *command]
