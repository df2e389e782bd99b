# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, plan, apply, look again: the one way in which every verb of the collection runs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Protocol, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, NotProven, is_of_system, of_system
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change, Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import Say, so_far, telling
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub

# How often a conflicting write is planned anew, and how often a rollout may bring up something new to do.
_ATTEMPTS = 5
# Seconds before the first of them, at most; doubled each time.
_PAUSE = 0.05
_ROUNDS = 5


class Job(Protocol):
    """What a verb has to give. Everything but ``plan`` may read or write the outside; ``plan`` is pure."""

    def observe(self) -> Any:
        """Read what is there, as plain data."""

    def plan(self, observed: Any) -> Plan:
        """Return what has to change."""

    def apply(self, plan: Plan) -> None:
        """Write exactly the plan, which concerns one object; raises Conflict when somebody else changed that object meanwhile."""

    def settle(self, observed: Any, plan: Plan) -> float:
        """Wait until what was written, now or by an earlier run, has taken effect; return the seconds waited, 0 when nothing had to be waited for."""

    def abandon(self) -> str:
        """Take back what must not be left half done, when the work failed or was interrupted; return in words what was, or nothing. Raises no Failure."""

    def conclude(self, first: Any, last: Any, plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Probe the effect and return the verb's own part of the result, from the first and the last observation."""


class Look:
    """The part of a job that only looks: nothing is ever planned, written or waited for."""

    def plan(self, observed: Any) -> Plan:
        return Plan()

    def apply(self, plan: Plan) -> None:
        raise RuntimeError("who only looks has nothing to write")

    def settle(self, observed: Any, plan: Plan) -> float:
        return 0.0

    def abandon(self) -> str:
        return ""


Opener = Callable[[Mapping[str, Any]], Job]


def _no_more_secrets(params: Mapping[str, Any]) -> List[str]:
    return []


@dataclass(frozen=True)
class Verb:
    """One verb: the options it takes, how its work is begun, and which values inside its options are secret beside those marked no_log."""

    arguments: Dict[str, Any]
    begin: Opener
    secrets: Callable[[Mapping[str, Any]], List[str]] = _no_more_secrets


def run(open_job: Opener, params: Mapping[str, Any], check: bool, diff: bool, say: Optional[Say] = None) -> Dict[str, Any]:
    """Run a verb and return the result as Ansible wants it. A failure is returned too, with ``failed``, ``msg`` and ``failure``.

    In check mode everything up to the plan runs, and the probes; nothing is written. This is the only place that knows of check mode. ``say`` is told how
    far work has come that takes long.
    """
    with telling(say):
        return _run(open_job, params, check, diff)


def _run(open_job: Opener, params: Mapping[str, Any], check: bool, diff: bool) -> Dict[str, Any]:
    written: List[Plan] = []
    try:
        job = open_job(params)
        first = last = job.observe()
        plan = job.plan(first)
        waited = 0.0
        if not check:
            last, waited = _enforce_or_abandon(job, first, plan, written)
            plan = _joined(written)
        result = job.conclude(first, last, plan, enforced=not check)
    except Failure as failure:
        return _failed(failure, written)
    except Exception as error:
        if isinstance(error, OSError) and is_of_system(error):
            return _failed(_refused_here(error), written)
        unexpected = Failure(f"Unexpected {type(error).__name__}: {scrub(str(error))}", "This is a defect of the collection; please report it with the trace.")
        return {**_failed(unexpected, written), "exception": scrub(traceback.format_exc())}
    result = {"changed": bool(plan), "plan": plan.as_data(), "waited": round(waited, 1), **result}
    if diff:
        result["diff"] = plan.as_diff()
    return result


def _enforce_or_abandon(job: Job, observed: Any, plan: Plan, written: List[Plan]) -> Tuple[Any, float]:
    try:
        return _enforce(job, observed, plan, written)
    except (Failure, OSError) as error:
        with _stop_put_off():
            taken_back = job.abandon()
        if isinstance(error, OSError) and not is_of_system(error):
            raise
        failure = _refused_here(error) if isinstance(error, OSError) else error
        failure.hint = f"{failure.hint} {taken_back}".strip()
        raise failure from None
    except BaseException:
        # Interrupted, or a defect: what must not be left half done is taken back all the same.
        with _stop_put_off():
            job.abandon()
        raise


@contextlib.contextmanager
def _stop_put_off() -> Iterator[None]:
    """Put off a first request to stop until this is through. A second one is obeyed at once."""
    if threading.current_thread() is not threading.main_thread():
        # Signals are handled in the main thread only.
        yield
        return
    handlers: Dict[int, Any] = {}
    asked: List[int] = []

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def note(number: int, _frame: Any) -> None:
        asked.append(number)
        restore()

    for number in (signal.SIGINT, signal.SIGTERM):
        handlers[number] = signal.signal(number, note)
    try:
        yield
    finally:
        restore()
    if asked:
        os.kill(os.getpid(), asked[0])


def _refused_here(error: OSError) -> Failure:
    return of_system(error, "used", str(error.filename or "A file of this run"))


def _enforce(job: Job, observed: Any, plan: Plan, written: List[Plan]) -> Tuple[Any, float]:
    """Write, wait and look again until nothing is left to do. Return the last observation and the seconds waited.

    What was written and is wanted again did not stay: NotProven. What is wanted for the first time after a rollout (pods that landed on one node)
    is written in a further round.
    """
    waited = 0.0
    for _round in range(_ROUNDS):
        observed, pieces = _write(job, observed, plan, written)
        seconds = job.settle(observed, _joined(pieces))
        waited += seconds
        if not pieces and not seconds:
            return observed, waited
        # Also after waiting for the rollout of an earlier run: what was observed before it is history.
        observed = job.observe()
        plan = job.plan(observed)
        _expect_nothing_back(plan, written)
        if not plan:
            return observed, waited
    raise NotProven(f"After {_ROUNDS} rounds there is still something to do: {_fields(plan.changes)}.", "Run again; the plan so far was written.")


def _write(job: Job, observed: Any, plan: Plan, written: List[Plan]) -> Tuple[Any, List[Plan]]:
    """Write the plan object by object; when somebody else wrote meanwhile, look again and write what is still to do.

    Return the observation that the writing ended with, and the pieces that were written.
    """
    pieces: List[Plan] = []
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            for piece in plan.pieces():
                so_far(str(piece.changes[0].ref))
                job.apply(piece)
                pieces.append(piece)
                written.append(piece)
            break
        except Conflict:
            if attempt == _ATTEMPTS:
                raise
            # The other writer is often at work for a moment only, such as a rollout on its status.
            time.sleep(_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1))
            observed = job.observe()
            plan = job.plan(observed)
    return observed, pieces


def _expect_nothing_back(rest: Plan, written: List[Plan]) -> None:
    settled = {(change.stage, change.ref, change.path) for piece in written for change in piece.changes}
    back = [change for change in rest.changes if (change.stage, change.ref, change.path) in settled]
    if back:
        raise NotProven(
            f"Written, but it did not stay: {_fields(back)}.",
            "Something else manages these fields (a controller, an operator, a GitOps tool). Change them there.",
            subject=str(back[0].ref),
        )


def _fields(changes: Iterable[Change]) -> str:
    return ", ".join(f"{change.ref} {change.field}" for change in changes)


def _joined(pieces: List[Plan]) -> Plan:
    return sum(pieces, Plan())


def _failed(failure: Failure, written: List[Plan]) -> Dict[str, Any]:
    result = {"failed": True, "changed": bool(written), "msg": str(failure), "failure": failure.as_data()}
    if written:
        result["plan"] = _joined(written).as_data()
    return result
