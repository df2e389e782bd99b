# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out any control on a cluster: the same observe, plan, apply, settle and conclude for all of them."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import replace
from typing import Any, Dict, Iterator, List, Mapping, Optional

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import AUTH_ARGUMENTS, RETRY_ARGUMENTS, connect, secret_values
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._cluster.readiness import wait_ready
from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import Releases
from ansible_collections.paas.hardening.plugins.module_utils._cluster.upgrade import UNKNOWN, Verdict, durable_values, verdict
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Control, Leaving, Site, Staged, Wanted, plan_of
from ansible_collections.paas.hardening.plugins.module_utils._core.arguments import WAIT_ARGUMENTS, merge
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotProven, Refused, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Finding, Proof, status_of, worst_first
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Plan, path_text, ref_of
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import DETECTION_ARGUMENTS, detect

# Seconds between two looks at what another controller has to do.
_POLL = 1.0
_OWN_ARGUMENTS: Dict[str, Any] = {
    "probe": {"type": "bool", "default": True},
    "durability": {"type": "bool", "default": True},
    "on_refusal": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
}


def verb_of(control: Control) -> Verb:
    """Return the verb that enforces the control."""
    arguments = merge(AUTH_ARGUMENTS, RETRY_ARGUMENTS, DETECTION_ARGUMENTS, WAIT_ARGUMENTS, _OWN_ARGUMENTS, control.arguments)
    # Each run has a copy: a control whose work takes several stages remembers how far it came.
    return Verb(arguments, lambda params: Enforcement(copy.copy(control), params), secret_values)


class Enforcement:
    """One control at work on one cluster."""

    def __init__(self, control: Control, params: Mapping[str, Any]) -> None:
        self._control = control
        self._params = params
        connection = connect(params)
        objects = Objects(connection)
        self._site = Site(connection, objects, detect(objects, params["platform"], params["namespace"]))
        self._releases = Releases(objects)
        self._refusal: Optional[Refused] = None

    def observe(self) -> Any:
        """Look at what the control needs to know; None when a precondition of looking does not hold and that is only to be reported."""
        with self._or_leave():
            try:
                return self._control.observe(self._site, self._params)
            except Refused as refusal:
                self._keep(refusal)
                return None

    def plan(self, observed: Any) -> Plan:
        with self._or_leave():
            return Plan() if observed is None else plan_of(self._wanted(observed))

    def apply(self, plan: Plan) -> None:
        if isinstance(self._control, Staged):
            self._control.carry_out(self._site, self._params, plan)
        else:
            self._site.objects.apply_plan(plan)

    def abandon(self) -> str:
        try:
            return self._control.take_back() if isinstance(self._control, Staged) else ""
        finally:
            self._leave()

    def _leave(self) -> None:
        if isinstance(self._control, Leaving):
            self._control.leave()

    @contextlib.contextmanager
    def _or_leave(self) -> Iterator[None]:
        """When what is done here fails, nothing else is done."""
        try:
            yield
        except BaseException:
            self._leave()
            raise

    def settle(self, observed: Any, plan: Plan) -> float:
        deadline = Deadline(self._params["wait_timeout"])
        # After a write, whatever was observed before it is history.
        self._wait_ready(observed, deadline, fresh=not plan)
        if plan:
            observed = self.observe()
        while not self._refusal:
            reason = self._control.unsettled(self._params, observed)
            if not reason:
                break
            if not deadline.pause(_POLL):
                raise TimedOut(f"After {deadline.seconds:g} s {reason}.", "Look at the pods, at quotas and at what owns their number, or wait longer.")
            observed = self.observe()
            self._wait_ready(observed, deadline, fresh=True)
        return deadline.passed if deadline.paused else 0.0

    def _wait_ready(self, observed: Any, deadline: Deadline, fresh: bool) -> None:
        documents = self._control.workloads(observed) if observed is not None else ()
        wait_ready(self._site.objects, [ref_of(document) for document in documents], deadline, observed=documents if fresh else ())

    def conclude(self, first: Any, last: Any, plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Probe the effect and put the result together.

        Raises NotProven when the control was enforced and the effect is not seen: configured is not effective.
        """
        try:
            return self._concluded(first, last, plan, enforced)
        finally:
            self._leave()

    def _concluded(self, first: Any, last: Any, plan: Plan, enforced: bool) -> Dict[str, Any]:
        if first is None or last is None:
            return self._result(self._unseen(), Proof(), [], [])
        control, platform = self._control, self._site.platform
        probed = bool(self._params["probe"])
        proof = control.probe(self._site, self._params, last) if probed else Proof()
        if enforced and probed and proof.verdict != PASS and not self._refusal:
            known = "is not there" if proof.verdict == FAIL else "could not be seen"
            raise NotProven(
                f"{control.recommendation.title}: the configuration is right, but the effect {known}: {proof}.",
                "Look at the logs of the workload, or set probe to false to rest on the configuration alone.",
            )
        verdicts = self._verdicts(self._wanted(last)) if self._params["durability"] else []
        unmet = self._refusal.message if self._refusal else control.against(self._params)
        subject, expected, seen = control.describe(platform, self._params, first)
        finding = Finding(
            control=control.recommendation.id,
            title=control.recommendation.title,
            severity=control.recommendation.severity,
            source=control.recommendation.source,
            subject=subject,
            status=FAIL if unmet else status_of(bool(plan), enforced, proof, probed),
            expected=expected,
            observed=seen,
            after=control.describe(platform, self._params, last)[2],
            reasons=(unmet,) if unmet else (),
            hint=self._refusal.hint if self._refusal else "",
            proof=proof,
            durability=tuple(entry.as_data() for entry in verdicts),
        )
        return self._result(finding, proof, verdicts, control.beside(platform, self._params, last))

    def _unseen(self) -> Finding:
        """The finding when a precondition of looking does not hold."""
        about, refusal = self._control.recommendation, self._refusal or Refused("It could not be looked at.")
        return Finding(
            control=about.id,
            title=about.title,
            severity=about.severity,
            source=about.source,
            subject=refusal.subject,
            status=FAIL,
            expected=about.title,
            observed="could not be looked at",
            reasons=(refusal.message,),
            hint=refusal.hint,
        )

    def _result(self, finding: Finding, proof: Proof, verdicts: List[Verdict], beside: List[Finding]) -> Dict[str, Any]:
        return {
            "platform": self._site.detected.as_data(),
            "findings": [entry.as_data() for entry in [finding, *worst_first(beside)]],
            "proof": proof.as_data(),
            "durability": [entry.as_data() for entry in verdicts],
            "overlay": durable_values(verdicts),
            "warnings": [f"{entry.ref}, {path_text(entry.path) or '(object)'}: {entry.reason}" for entry in verdicts if not entry.durable],
        }

    def _wanted(self, observed: Any) -> List[Wanted]:
        try:
            return self._control.wanted(self._site.platform, self._params, observed)
        except Refused as refusal:
            self._keep(refusal)
            return []

    def _keep(self, refusal: Refused) -> None:
        """Remember a refusal for the report; raise it when that is not what was asked for."""
        if self._params["on_refusal"] == "fail":
            raise refusal
        self._refusal = refusal

    def _verdicts(self, wanted: List[Wanted]) -> List[Verdict]:
        return [judged for item in wanted if item.value is not ABSENT and not item.step for judged in self._verdicts_of(item)]

    def _verdicts_of(self, item: Wanted) -> List[Verdict]:
        judged = self._verdict(item)
        if judged.durable:
            return [judged]
        found = [judged]
        for path, value in item.values_also:
            more = "A secret: it belongs into a values file of your own, not into the overlay." if value is ABSENT else f"The chart then reads {path}, too."
            found.append(replace(judged, values_path=path, values_wanted=value, values_carry_it=False, reason=f"{judged.reason} {more}"))
        return found

    def _verdict(self, item: Wanted) -> Verdict:
        change = item.as_change()
        try:
            release = None if item.ours else self._releases.of(item.document)
        except Failure as error:
            return Verdict(UNKNOWN, f"The Helm release could not be read: {error}", ref=change.ref, path=change.path)
        judged = verdict(change, item.document, release, item.values_path, item.values_value)
        if not item.values_secret or judged.durable:
            return judged
        return replace(judged, values_wanted=ABSENT, reason=f"{judged.reason} A secret: it belongs into a values file of your own, not into the overlay.")
