# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seen from another host, each listener of a balancer answers by a backend, at its own address and at the virtual one: configured is not effective."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_load_balancer import SOURCE
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_load_balancer_plan import TRAFFIC
from ansible_collections.paas.hardening.plugins.module_utils._controls.onlooker import Onlooker, View
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.probe import (
    ANSWERED,
    OLD_TLS_REFUSED,
    UNREACHED,
    Answer,
    Door,
    knock,
    old_tls,
)
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.wishes import ANY, BANNER, HTTP, TCP, TLS, WEB

VIEW = View(
    "host-balancer-reach",
    "Seen from another host, each listener answers, and the virtual address is on one host",
    TRAFFIC.severity,
    SOURCE,
    "observations",
    "Are the backends up, and does a firewall stand between? Two hosts that have an address do not hear each other's VRRP.",
)
_LISTENER = {
    "name": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "mode": {"type": "str", "choices": [TCP, HTTP], "required": True},
    "answers": {"type": "str", "choices": [ANY, BANNER, WEB, TLS], "required": True},
    "encrypted": {"type": "bool", "default": False},
    "redirect": {"type": "bool", "default": False},
    "server_name": {"type": "str", "default": ""},
    "hsts": {"type": "bool", "default": False},
    "patience": {"type": "int", "default": 3},
}
_BALANCER = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "virtual_addresses": {"type": "list", "elements": "str", "default": []},
    "holds": {"type": "list", "elements": "str", "default": []},
    "peers": {"type": "list", "elements": "str", "default": []},
    "listeners": {"type": "list", "elements": "dict", "required": True, "options": _LISTENER},
}
ARGUMENTS: Dict[str, Any] = {
    "me": {"type": "str", "required": True},
    "balancers": {"type": "list", "elements": "dict", "required": True, "options": _BALANCER},
    "timeout": {"type": "float", "default": 3.0},
}
_AT_ONCE = 32
STRICT, NOT_STRICT = "tells browsers to come by TLS only", "does not tell browsers to come by TLS only"


class Attempt(NamedTuple):
    """One listener at one address; whether it has to tell browsers to come by TLS only."""

    door: Door
    strict: bool

    def __str__(self) -> str:
        return f"{self.door.name} at {self.door.address}:{self.door.port}"


def attempts_of(balancers: Sequence[Mapping[str, Any]], me: str, seconds: float) -> List[Attempt]:
    """Return every listener of the others at their own addresses, and each at the virtual addresses once. Pure."""
    places = [(one["address"], one["listeners"]) for one in balancers if one["name"] != me]
    virtual = {address: one["listeners"] for one in balancers for address in one["virtual_addresses"]}
    found = []
    for address, listeners in [*places, *virtual.items()]:
        for one in listeners:
            # nginx may try one backend in vain before it comes to the next.
            patience = seconds + one["patience"]
            door = Door(one["name"], address, one["port"], one["mode"], one["answers"], one["encrypted"], one["redirect"], one["server_name"], patience)
            found.append(Attempt(door, one["hsts"]))
    return found


def holders(balancers: Sequence[Mapping[str, Any]]) -> List[Check]:
    """Judge which of the hosts have each virtual address. Pure."""
    checks = []
    for address in dict.fromkeys(address for one in balancers for address in one["virtual_addresses"]):
        sharing = [one for one in balancers if address in one["virtual_addresses"]]
        names = [one["name"] for one in sharing if address in one["holds"]]
        # A play that is limited to some of the hosts does not know what the others have.
        unknown = {peer for one in sharing for peer in one["peers"]} - {one["address"] for one in sharing}
        if names or not unknown:
            checks.append(Check(f"hosts that have {address}", "one", ", ".join(names) or "none", PASS if len(names) == 1 else FAIL))
    return checks


def _looked(attempt: Attempt) -> List[Check]:
    answer = knock(attempt.door)
    if answer.kind != ANSWERED:
        # A packet may get lost, and an address may just move.
        answer = knock(attempt.door)
    checks = [Check(str(attempt), ANSWERED, str(answer), PASS if answer.kind == ANSWERED else FAIL)]
    if attempt.door.mode == HTTP and attempt.door.encrypted and answer.kind != UNREACHED:
        old = old_tls(attempt.door)
        checks.append(Check(f"TLS 1.1 to {attempt}", OLD_TLS_REFUSED, old, PASS if old == OLD_TLS_REFUSED else FAIL))
        checks += _strictness(attempt, answer)
    return checks


def _strictness(attempt: Attempt, answer: Answer) -> List[Check]:
    if not attempt.strict:
        return []
    return [Check(f"strict transport security of {attempt}", STRICT, STRICT if answer.strict else NOT_STRICT, PASS if answer.strict else FAIL)]


class Reach(Onlooker):
    """What balancers answer to the host that we are on."""

    view = VIEW

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        self._attempts = attempts_of(params["balancers"], params["me"], params["timeout"])

    def observe(self) -> List[Check]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            looked = list(pool.map(_looked, self._attempts))
        return [check for checks in looked for check in checks] + holders(self._params["balancers"])


VERB = Verb(ARGUMENTS, Reach)
