# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe, plan, apply, look again: the one way in which every verb of the collection runs."""

from __future__ import annotations

import traceback
from typing import Any, Callable, Dict, List, Mapping, Protocol

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub

_ATTEMPTS = 5


class Job(Protocol):
    """What a verb has to give. Everything but ``plan`` may read or write the outside; ``plan`` is pure."""

    def observe(self) -> Any:
        """Read what is there, as plain data."""

    def plan(self, observed: Any) -> Plan:
        """Return what has to change."""

    def apply(self, plan: Plan) -> None:
        """Write exactly the plan; raises Conflict when an object was changed by somebody else meanwhile."""

    def settle(self, observed: Any, plan: Plan) -> float:
        """Wait until what was written, now or by an earlier run, has taken effect; return the seconds waited."""

    def conclude(self, first: Any, last: Any, plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Probe the effect and return the verb's own part of the result, from the first and the last observation."""


Verb = Callable[[Mapping[str, Any]], Job]


def run(open_job: Verb, params: Mapping[str, Any], check: bool, diff: bool) -> Dict[str, Any]:
    """Run a verb and return the result as Ansible wants it. A failure is returned too, with ``failed``, ``msg`` and ``failure``.

    In check mode everything up to the plan runs, and the probes; nothing is written. This is the only place that knows of check mode.
    """
    written: List[Plan] = []
    try:
        job = open_job(params)
        first = last = job.observe()
        plan = job.plan(first)
        waited = 0.0
        if not check:
            if plan:
                _write(job, plan, written)
            waited = job.settle(first, plan)
            if plan:
                last = job.observe()
                _expect_nothing_left(job.plan(last))
        result = job.conclude(first, last, plan, enforced=not check)
    except Failure as failure:
        return _failed(failure, written)
    except Exception as error:
        unexpected = Failure(f"Unexpected {type(error).__name__}: {scrub(str(error))}", "This is a defect of the collection; please report it with the trace.")
        return {**_failed(unexpected, written), "exception": scrub(traceback.format_exc())}
    result = {"changed": bool(plan), "plan": plan.as_data(), "waited": round(waited, 1), **result}
    if diff:
        result["diff"] = plan.as_diff()
    return result


def _write(job: Job, plan: Plan, written: List[Plan]) -> None:
    """Write the plan; when somebody else wrote meanwhile, look again and write what is still to do."""
    for attempt in range(1, _ATTEMPTS + 1):
        written.append(plan)
        try:
            job.apply(plan)
            return
        except Conflict:
            if attempt == _ATTEMPTS:
                raise
            plan = job.plan(job.observe())
            if not plan:
                return


def _expect_nothing_left(rest: Plan) -> None:
    if rest:
        fields = ", ".join(f"{change.ref} {change.field}" for change in rest.changes)
        raise NotProven(
            f"Written, but it did not stay: {fields}.",
            "Something else manages these fields (a controller, an operator, a GitOps tool). Change them there.",
            subject=str(rest.changes[0].ref),
        )


def _failed(failure: Failure, written: List[Plan]) -> Dict[str, Any]:
    result = {"failed": True, "changed": bool(written), "msg": str(failure), "failure": failure.as_data()}
    if written:
        result["plan"] = [change for plan in written for change in plan.as_data()]
    return result
