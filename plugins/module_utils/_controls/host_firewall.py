# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's ports are open to those who need them, and to nobody else."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, Finding, Proof, Source, status_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host import packages
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall import kernel, safety, service
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.live import Table, differences, why
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.rules import RULE_OPTIONS, openings_of
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.ruleset import FAMILY, TABLE, render

CONTROL = "host-firewall"
TITLE = "A host's ports are open to those who need them only"
SEVERITY = "high"
SOURCE = Source(
    "Deis v1, Production deployments",
    "Security Considerations",
    "users can consider enabling a firewall on the CoreOS hosts as well as the router component.",
)
# The steps of a run that could lock us out: rules that go by themselves, then, over a connection made under them, that they stay.
TRY, KEEP, WHOLE = "try", "keep", "whole"
ARGUMENTS: Dict[str, Any] = {
    "rules": {"type": "list", "elements": "dict", "required": True, "options": RULE_OPTIONS},
    "other_ports": {"type": "str", "choices": ["closed", "open"], "default": "closed"},
    "address_variable": {"type": "str", "default": "ansible_host"},
    "rollback_after": {"type": "int", "default": 60},
    "allow_lockout": {"type": "bool", "default": False},
    "on_refusal": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    "step": {"type": "str", "choices": [TRY, KEEP, WHOLE], "default": WHOLE},
}
_PACKAGE = Ref("", "Packages", "nftables")
_TABLE = Ref("", "Firewall", f"{FAMILY} {TABLE}")
_FILE = Ref("", "File", service.FILE)
_UNIT = Ref("", "Unit", service.UNIT)
_SSH = 22
_ADMINISTRATORS = "Name your address, network or group in the rule for SSH (firewall_administrators of the role)."
_OF_THE_KERNEL = (TRY, WHOLE)
_OF_THE_DISK = (KEEP, WHOLE)


class Observed(NamedTuple):
    """The table in the kernel and as it should be (None where nft is missing), what outlives a reboot, and who has logged in."""

    live: Optional[Table]
    wanted: Optional[Table]
    kept: service.Kept
    client: Optional[safety.Client]


def begin(params: Mapping[str, Any]) -> Firewall:
    """Begin the work of the verb. Raises Invalid."""
    return Firewall(params)


class Firewall:
    """The firewall of the host that we are on."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._step = params["step"]
        self._openings = openings_of(params["rules"])
        self._closed = params["other_ports"] == "closed"
        self._ruleset = render(self._openings, self._closed)
        self._refusal: Optional[Refused] = None

    def observe(self) -> Observed:
        there = kernel.installed()
        wanted = kernel.rehearsed(self._ruleset) if there else None
        return Observed(kernel.live() if there else None, wanted, service.look(), safety.client())

    def plan(self, observed: Observed) -> Plan:
        changes = self._kernel_changes(observed) if self._step in _OF_THE_KERNEL else []
        if changes and not self._params["allow_lockout"]:
            refusal = self._lockout(observed.client)
            if refusal and self._params["on_refusal"] == "fail":
                raise refusal
            self._refusal = refusal
        if self._refusal:
            return Plan()
        return Plan(tuple(changes + (self._disk_changes(observed) if self._step in _OF_THE_DISK else [])))

    def _kernel_changes(self, observed: Observed) -> List[Change]:
        if observed.wanted is None:
            package = Change(_PACKAGE, (_PACKAGE.name,), ABSENT, "installed", "it is not part of every system")
            return [package, *(Change(_TABLE, (opening.name,), ABSENT, "as the rule says", "nft is not installed yet") for opening in self._openings)]
        found = differences(observed.live, observed.wanted)
        return [Change(_TABLE, (name,), before, after, why((name, before, after))) for name, before, after in found]

    def _disk_changes(self, observed: Observed) -> List[Change]:
        kept, reboot = observed.kept, "so that it is the same after a reboot"
        changes = []
        if kept.text != self._ruleset:
            changes.append(Change(_FILE, ("content",), ABSENT if kept.text is None else "another ruleset", "the rules above", reboot))
        if kept.text is not None and kept.mode != service.MODE:
            changes.append(Change(_FILE, ("mode",), f"{kept.mode:04o}", f"{service.MODE:04o}", "it tells who may reach what"))
        if kept.unit != service.unit_text():
            changes.append(Change(_UNIT, ("content",), ABSENT if kept.unit is None else "another text", "loads the file at boot", reboot))
        if not kept.enabled:
            changes.append(Change(_UNIT, ("enabled",), False, True, reboot))
        if not kept.active:
            changes.append(Change(_UNIT, ("active",), False, True, "so that it is loaded anew with nftables.service, which empties all tables"))
        return changes

    def _lockout(self, client: Optional[safety.Client]) -> Optional[Refused]:
        """Return why the rules would lock out whoever runs us, or None."""
        if client is None:
            return self._nobody()
        if any(opening.lets_in(client.address, "tcp", client.port) for opening in self._openings):
            return None
        if not self._closed and not any(first <= client.port <= last for opening in self._openings for first, last in opening.ports):
            return None
        return Refused(
            f"You come from {client.address} to port {client.port}, and no rule lets that in: you would be locked out.",
            _ADMINISTRATORS,
            subject="rules",
        )

    def _nobody(self) -> Optional[Refused]:
        """Return why nobody could log in any more, or None: we came another way, so that the port of SSH is not known, but a rule has its name."""
        ways = (opening for opening in self._openings if opening.protocol == "tcp" and (opening.anywhere or opening.sources))
        if not self._closed or any(way.name == "ssh" or any(first <= _SSH <= last for first, last in way.ports) for way in ways):
            return None
        return Refused("No rule lets anybody log in over SSH, by the name ssh or on port 22.", _ADMINISTRATORS, subject="rules")

    def apply(self, plan: Plan) -> None:
        ref = plan.changes[0].ref
        if ref == _PACKAGE:
            packages.install([_PACKAGE.name], "Can this host reach its package mirrors?")
            return
        if ref == _TABLE:
            if self._step == TRY:
                safety.arm(kernel.undoing(), self._params["rollback_after"])
            kernel.load(self._ruleset)
            return
        self._confirm()
        if ref == _FILE:
            service.keep(self._ruleset)
        else:
            service.install_unit()

    def _confirm(self) -> None:
        """Let the rules stay, if they still are what was tried. Raises NotProven when the host has taken them back meanwhile."""
        if self._step == TRY:
            return
        safety.disarm()
        if self._step == KEEP and kernel.live() != kernel.rehearsed(self._ruleset):
            raise NotProven(
                "The host has taken the new rules back before they were confirmed.", "Run again, with a longer rollback_after.", subject=str(_TABLE)
            )

    def settle(self, observed: Observed, plan: Plan) -> float:
        self._confirm()
        return 0.0

    def abandon(self) -> str:
        return f"The host takes the new rules back by itself after {self._params['rollback_after']} s." if self._step == TRY and safety.armed() else ""

    def conclude(self, first: Observed, last: Observed, plan: Plan, enforced: bool) -> Dict[str, Any]:
        unmet = self._refusal
        finding = Finding(
            control=CONTROL,
            title=TITLE,
            severity=SEVERITY,
            source=SOURCE,
            subject=str(_TABLE),
            status=FAIL if unmet else status_of(bool(plan), enforced, Proof(), probed=False),
            expected=self._expected(),
            observed=self._seen(first),
            after=self._seen(last),
            reasons=(unmet.message,) if unmet else (),
            hint=unmet.hint if unmet else "",
        )
        left = [] if self._step in _OF_THE_DISK or unmet else self._disk_changes(last)
        openings = [opening.as_rule() for opening in self._openings]
        return {"findings": [finding.as_data()], "openings": openings, "other_ports": self._params["other_ports"], "left": len(left)}

    def _expected(self) -> str:
        return f"{len(self._openings)} rules, other ports {self._params['other_ports']}, loaded at boot"

    def _seen(self, observed: Observed) -> str:
        if observed.wanted is None:
            return "nft is not installed"
        booted = "loaded at boot" if not self._disk_changes(observed) else "not loaded at boot as it should be"
        if observed.live is None:
            return f"no table, {booted}"
        wrong: Tuple[str, ...] = tuple(name for name, _before, _after in differences(observed.live, observed.wanted))
        return f"{'as it should be' if not wrong else 'not as it should be: ' + ', '.join(wrong)}, {booted}"


VERB = Verb(ARGUMENTS, begin)
