# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seen from another host, an S3 server proves who it is, is well, and shows nothing to those who do not say who they are: configured is not effective."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_object_store import SOURCE
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_object_store_plan import BUCKETS
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotProven, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check, Finding, Proof, status_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import BACKENDS
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.signed import Client, Door, in_plain_text

CONTROL = "host-object-store-reach"
TITLE = "Seen from another host, the object store proves who it is, and shows nothing without credentials"
_STORE = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 9000},
    "endpoint": {"type": "str", "default": ""},
    "region": {"type": "str", "default": "us-east-1"},
    "backend": {"type": "str", "choices": sorted(BACKENDS), "default": "minio"},
    "authority": {"type": "str", "required": True},
    "buckets": {"type": "list", "elements": "str", "default": []},
}
ARGUMENTS: Dict[str, Any] = {
    "me": {"type": "str", "required": True},
    "stores": {"type": "list", "elements": "dict", "required": True, "options": _STORE},
    "reachable": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 3.0},
}
_NOBODY = "not reached"


class Reach:
    """What stores answer to the host that we are on. It changes nothing."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params

    def observe(self) -> List[Check]:
        found: List[Check] = []
        for store in self._params["stores"]:
            found += self._answers(store)
        return found

    def _answers(self, store: Mapping[str, Any]) -> List[Check]:
        door = Door(store["name"], store["address"], store["port"], store["authority"], store["region"])
        health = BACKENDS[store["backend"]].health
        wanted = [(path, 200) for path in health] + [(path, 403) for path in ("/", *(f"/{bucket}" for bucket in store["buckets"]))]
        found = []
        try:
            with Client(door, seconds=self._params["timeout"]) as client:
                for path, status in wanted:
                    answer = client.ask_once("GET", path)
                    found.append(
                        Check(
                            f"{door.endpoint}{path} without credentials", f"HTTP {status}", f"HTTP {answer.status}", PASS if answer.status == status else FAIL
                        )
                    )
            plain = in_plain_text(door, self._params["timeout"])
            shut = plain in (None, 400)
            found.append(Check(f"{door.name} without TLS", "refused", "refused" if shut else f"HTTP {plain}", PASS if shut else FAIL))
        except Unavailable as failure:
            expected = self._params["reachable"]
            found.append(Check(door.endpoint, "reached" if expected else "reached, or not", f"{_NOBODY}: {failure.message}", FAIL if expected else PASS))
        except Failure as failure:
            found.append(Check(door.endpoint, "its certificate is good for its name", failure.message, FAIL))
        return found

    def plan(self, observed: List[Check]) -> Plan:
        return Plan()

    def apply(self, plan: Plan) -> None:
        """There is never anything to write."""

    def settle(self, observed: List[Check], plan: Plan) -> float:
        return 0.0

    def abandon(self) -> str:
        return ""

    def conclude(self, first: List[Check], last: List[Check], plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Judge the answers. Raises NotProven when they are not as they should be, unless that is only to be looked at."""
        me, proof = self._params["me"], Proof(tuple(last))
        wrong = [check for check in last if check.verdict != PASS]
        if wrong and enforced:
            raise NotProven(
                f"From {me} {len(wrong)} of {len(last)} answers are not as they should be: {_told(wrong)}.",
                "Does a firewall stand between, and is the name in the certificate?",
                subject=me,
            )
        finding = Finding(
            control=CONTROL,
            title=TITLE,
            severity=BUCKETS.severity,
            source=SOURCE,
            subject=f"from {me}",
            status=status_of(False, enforced, proof, probed=bool(last)),
            expected=f"{len(last)} answers are as they should be",
            observed=f"{len(last) - len(wrong)} answers are as they should be",
            proof=proof,
        )
        return {"findings": [finding.as_data()]}


def _told(wrong: Sequence[Check]) -> str:
    return "; ".join(f"{check.what}: expected {check.expected}, and it is {check.observed.rstrip('.')}" for check in wrong)


VERB = Verb(ARGUMENTS, Reach)
