# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one host reaches of the others is what their firewalls say: configured is not effective."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_firewall import SEVERITY, SOURCE
from ansible_collections.paas.hardening.plugins.module_utils._controls.onlooker import Onlooker, View
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check, Finding, Proof, status_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.knock import Target, knock_at_all, reached
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.rules import RULE_OPTIONS, Opening, openings_of

_FIREWALL = {
    "host": {"type": "str", "required": True},
    "addresses": {"type": "list", "elements": "str", "required": True},
    "openings": {"type": "list", "elements": "dict", "required": True, "options": RULE_OPTIONS},
    "other_ports": {"type": "str", "choices": ["closed", "open"], "required": True},
}
ARGUMENTS: Dict[str, Any] = {
    "me": {"type": "str", "required": True},
    "firewalls": {"type": "list", "elements": "dict", "required": True, "options": _FIREWALL},
    "timeout": {"type": "float", "default": 1.5},
}
# In the report every failure stands by itself, what is as expected is counted.
_SHOWN = 20


def targets_of(firewalls: Sequence[Mapping[str, Any]], me: str) -> List[Target]:
    """Return every TCP port of the other hosts that a rule names, for them or for anybody, with what is to be expected from here. Pure."""
    known = [(entry, openings_of(entry["openings"])) for entry in firewalls]
    mine: List[str] = next((entry["addresses"] for entry, _openings in known if entry["host"] == me), [])
    named = sorted({port for _entry, openings in known for opening in openings for port in _first_ports(opening)})
    found: List[Target] = []
    for entry, openings in known:
        if entry["host"] == me or not entry["addresses"]:
            continue
        own = sorted({port for opening in openings for port in _first_ports(opening)})
        for port in named if entry["other_ports"] == "closed" else own:
            letting = [opening.name for opening in openings if any(opening.lets_in(address, "tcp", port) for address in mine)]
            because = f"rule {letting[0]}" if letting else "no rule lets it in"
            found.append(Target(entry["host"], entry["addresses"][0], port, bool(letting), because))
    return found


def _first_ports(opening: Opening) -> Iterator[int]:
    """Each port, and of a range the first: one stands for all."""
    if opening.protocol == "tcp":
        for first, _last in opening.ports:
            yield first


class Reach(Onlooker):
    """What is reached from the host that we are on."""

    view = View(
        "host-reach",
        "Seen from another host, ports are open and shut as the rules say",
        SEVERITY,
        SOURCE,
        "ports",
        "Is the host up, and is something else in the way (a firewall of the network, another ruleset)? "
        "Do packets come from another address than address_variable names?",
    )

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        self._targets = targets_of(params["firewalls"], params["me"])

    def observe(self) -> List[Tuple[Target, str]]:
        return knock_at_all(self._targets, self._params["timeout"])

    def conclude(self, first: List[Tuple[Target, str]], last: List[Tuple[Target, str]], plan: Plan, enforced: bool) -> Dict[str, Any]:
        """Judge the answers. Raises NotProven when they are not as the rules say, unless that is only to be looked at."""
        wrong = [_check(target, answer) for target, answer in last if reached(answer) != target.expected]
        proof = Proof(tuple(wrong[:_SHOWN]) or _counted(last))
        if wrong and enforced:
            told = "; ".join(f"{check.what}: expected {check.expected}, observed {check.observed}" for check in wrong[:_SHOWN])
            raise NotProven(
                f"From {self._params['me']} {len(wrong)} of {len(last)} ports are not as the rules say: {told}.",
                self.view.hint,
                subject=self._params["me"],
            )
        finding = Finding(
            control=self.view.control,
            title=self.view.title,
            severity=self.view.severity,
            source=self.view.source,
            subject=f"from {self._params['me']}",
            status=status_of(False, enforced, proof, probed=True) if last else PASS,
            expected=f"{sum(target.expected for target, _answer in last)} ports reached, {sum(not target.expected for target, _answer in last)} not",
            observed=f"{sum(reached(answer) for _target, answer in last)} ports reached, {sum(not reached(answer) for _target, answer in last)} not",
            proof=proof,
        )
        return {"findings": [finding.as_data()]}


def _check(target: Target, answer: str) -> Check:
    expected = "reached" if target.expected else "not reached"
    verdict = PASS if reached(answer) == target.expected else FAIL
    return Check(f"TCP {target.port} of {target.host} ({target.address})", f"{expected}, since {target.because}", answer, verdict)


def _counted(answers: List[Tuple[Target, str]]) -> Tuple[Check, ...]:
    """One observation for all that is as expected."""
    checks = []
    for expected, words in ((True, "reached"), (False, "not reached")):
        ports = [f"{target.host}:{target.port}" for target, _answer in answers if target.expected == expected]
        if ports:
            checks.append(Check(f"TCP to {len(ports)} ports of others", words, f"{words}: {', '.join(ports[:_SHOWN])}", PASS))
    return tuple(checks)


VERB = Verb(ARGUMENTS, Reach)
