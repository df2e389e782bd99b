# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a schedule in a pod of its CronJob: the program of the timer, with files that only it can read, and with last words for who asks the cluster."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import sys
import time
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import RecoveryPoint
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule import runner
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.pod_places import (
    GIVEN,
    KEPT,
    LAST_WORDS,
    LONGEST_LAST_WORDS,
    OPTIONS,
    PROGRAM,
    READY,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, is_of_system, of_system

# Says that the program runs where it was copied to.
_SETTLED = "--settled"


def main(arguments: Sequence[str]) -> int:
    """Run once and return the exit status; with ``--look`` only see whether a run could do its work here."""
    if _SETTLED not in arguments:
        settle(GIVEN, KEPT)
        # From the copy: the kubelet replaces what is mounted as soon as somebody writes the Secret, also in the middle of a run.
        os.execv(sys.executable, [*start(sys.executable, KEPT), _SETTLED, *arguments])
    path = os.path.join(KEPT, OPTIONS)
    with open(path, encoding="utf-8") as file:
        document: Dict[str, Any] = json.load(file)
    if runner.LOOK in arguments:
        return last_words(*_looked(document["options"]))
    # The first process of a pod ignores a request to stop, unless it has said what to do then.
    runner.stopping()
    said = io.StringIO()
    try:
        time.sleep(random.uniform(0.0, float(document["delay"])))
        with contextlib.redirect_stdout(said):
            status = runner.main([path])
    except SystemExit:
        last_words([said.getvalue() or "It was told to stop before it came to its end."], 1)
        raise
    return last_words([said.getvalue()], status)


def start(interpreter: str, folder: str) -> List[str]:
    """Return the words that start the program of a folder: alone with what its interpreter has, and without writing beside it."""
    return [interpreter, "-I", "-B", f"{folder}/{PROGRAM}"]


def settle(given: str, kept: str) -> None:
    """Copy the files of a folder into another, for this user alone: a key that its group can read is none."""
    for name in sorted(os.listdir(given)):
        # Beside the files the kubelet keeps links of its own.
        if name.startswith("."):
            continue
        with open(os.path.join(given, name), "rb") as source:
            content = source.read()
        descriptor = os.open(os.path.join(kept, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            target.write(content)


def last_words(lines: Sequence[str], status: int, path: str = LAST_WORDS) -> int:
    """Say it in the log, and where the kubelet takes it from; return the status."""
    text = "".join(f"{line.rstrip()}\n" for line in lines)
    sys.stdout.write(text)
    with contextlib.suppress(OSError), open(path, "wb") as file:
        file.write(text.encode("utf-8")[-LONGEST_LAST_WORDS:])
    return status


def _looked(options: Mapping[str, Any]) -> Tuple[List[str], int]:
    try:
        RecoveryPoint(options).look_around()
    except Failure as failure:
        return [str(failure)], 1
    except OSError as error:
        if not is_of_system(error):
            raise
        return [str(of_system(error, "used", str(error.filename or "A file")))], 1
    return [READY], 0
