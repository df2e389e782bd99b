# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a schedule: what the timer's unit starts. It does what workflow_backup does with the options in its file, and notes what became of it."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from dataclasses import replace
from typing import Any, Dict, List, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._backup.duration import seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.metrics import Ran, of_repository, write
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import RecoveryPoint, repository
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule import history
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule.history import FAILED, RUNNING, SUCCEEDED, History
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run

LOOK = "--look"
_STOPPED = "It was told to stop before it came to its end."


def stopping() -> None:
    """Let a request to stop end the run as an error does: what it began is cleared away, and whoever asked waits for that."""
    signal.signal(signal.SIGTERM, _stop)


def main(arguments: Sequence[str]) -> int:
    """Run once and return the exit status. ``arguments`` are the file with the options, after ``--look`` when only that is asked: whether all can be read."""
    with open(arguments[-1], encoding="utf-8") as file:
        document: Dict[str, Any] = json.load(file)
    if LOOK in arguments:
        return _look(document["options"])
    stopping()
    return _once(document["options"], document["state"], document.get("metrics", ""))


def _look(options: Dict[str, Any]) -> int:
    try:
        RecoveryPoint(options)
    except Failure as failure:
        return _say([str(failure)], 1)
    return _say(["ready"], 0)


def _once(options: Dict[str, Any], folder: str, metrics: str) -> int:
    """Make a point if one is due. That its outcome cannot be noted is no reason to make none, but one to fail."""
    before = History()
    with contextlib.suppress(Failure):
        before = history.read(folder) or before
    begun = replace(before, began=time.time(), ended=0.0, outcome=RUNNING, changed=False, message="")
    lines = _note(folder, begun)
    try:
        result = run(RecoveryPoint, options, check=False, diff=False, say=_say_now)
    except SystemExit:
        stopped = replace(begun, ended=time.time(), outcome=FAILED, message=_STOPPED)
        _note(folder, stopped)
        _measure(options, stopped, metrics)
        raise
    failed = bool(result.get("failed"))
    ended = time.time()
    done = replace(
        begun,
        ended=ended,
        succeeded=before.succeeded if failed else ended,
        outcome=FAILED if failed else SUCCEEDED,
        changed=bool(result["changed"]),
        point=before.point if failed else str(result["point"].get("identifier", "")),
        message=str(result.get("msg", "")),
    )
    unnoted = [*lines, *_note(folder, done), *_measure(options, done, metrics)]
    told = [f"{change['object']} {change['field']}: {change['why']}" for change in result.get("plan", [])]
    told += [done.message] if failed else [f"The newest proved point is {done.point}."]
    told += [str(problem) for problem in result.get("problems", [])]
    return _say([*told, *unnoted], 1 if failed or unnoted else 0)


def _note(folder: str, what: History) -> List[str]:
    """Write down what became of a run; return why not, when that cannot be."""
    try:
        history.write(folder, what)
    except Failure as failure:
        return [str(failure)]
    return []


def _measure(options: Dict[str, Any], done: History, path: str) -> List[str]:
    """Write what Prometheus is told of a run, and of the repository as it is now; return why not, when that cannot be."""
    if not path:
        return []
    try:
        catalogue, interval = repository(options), seconds_of(options["max_age"], "max_age")
        ran = Ran(done.ended, done.outcome == SUCCEEDED, done.succeeded, interval)
        write(path, of_repository(catalogue.folder, catalogue.read(), time.time(), ran))
    except Failure as failure:
        return [str(failure)]
    return []


def _stop(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _say_now(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _say(lines: List[str], status: int) -> int:
    for line in lines:
        _say_now(line)
    return status
