# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads a firewall so that it can never lock its administrator out: what the controller cannot confirm over a new connection goes back by itself."""

from __future__ import annotations

import ipaddress
import time
from typing import Any, Dict, List, Mapping, Optional

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_firewall import ARGUMENTS, KEEP, TRY
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.rules import resolved

# Seconds that a confirmation may be under way before the host takes the rules back, between two attempts, and for the host to be back afterwards.
_MARGIN = 5
_PAUSE = 1
_BACK = 30


class ActionModule(ActionBase):
    """Finds the addresses of groups and hosts, lets the module try the rules, connects anew, and lets it keep them."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            # Names of groups are known here only; the module judges everything else.
            _validation, options = self.validate_argument_spec(argument_spec={**ARGUMENTS, "step": {"type": "str"}})
            variable = options["address_variable"]
            hosts, host = variables["hostvars"], variables["inventory_hostname"]
            rules = resolved(options["rules"], host, variables["groups"], list(hosts), lambda name: addresses_of(hosts[name], name, variable))
            mine = addresses_of(hosts[host], host, variable)
        except Failure as failure:
            return {"failed": True, "changed": False, "msg": str(failure), "failure": failure.as_data()}
        given = {**self._task.args, "rules": rules}
        first = self._step(given, TRY, variables)
        if first.get("failed"):
            return first
        told = {"host": host, "addresses": mine, "openings": first["openings"], "other_ports": first["other_ports"]}
        if not first["changed"] and not first["left"]:
            return {**first, "firewall": told}
        begun = time.monotonic()
        if first["changed"]:
            # Or the confirmation would come over the old connection, which the new rules leave alone.
            self._connection.reset()
        second = self._confirmed(given, variables, begun, int(options["rollback_after"]))
        return {**(second if second.get("failed") else _joined(first, second)), "firewall": told}

    def _step(self, given: Mapping[str, Any], step: str, variables: Dict[str, Any]) -> Dict[str, Any]:
        return dict(self._execute_module(module_name="paas.hardening.host_firewall", module_args={**given, "step": step}, task_vars=variables))

    def _confirmed(self, given: Mapping[str, Any], variables: Dict[str, Any], begun: float, seconds: int) -> Dict[str, Any]:
        """Keep the rules over a new connection, or wait until the host has taken them back."""
        while True:
            try:
                return self._step(given, KEEP, variables)
            except AnsibleConnectionFailure:
                if time.monotonic() - begun > seconds - _MARGIN:
                    break
                time.sleep(_PAUSE)
        back = self._back(begun + seconds + _BACK)
        state = "It has taken them back by itself, and is reached again" if back else f"It takes them back after {seconds} s, but is not reached yet"
        failure = Failure(
            f"With the new rules this host could not be reached. {state}.",
            "Look at the rule for SSH: does it let the controller in, under the address that it comes from?",
            subject="rules",
        )
        return {"failed": True, "changed": False, "msg": str(failure), "failure": {**failure.as_data(), "reason": "NotProven"}}

    def _back(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            try:
                if self._low_level_execute_command("true")["rc"] == 0:
                    return True
            except AnsibleConnectionFailure:
                time.sleep(_PAUSE)
        return False


def addresses_of(variables: Mapping[str, Any], name: str, variable: str) -> List[str]:
    """Return the addresses under which a host's packets come: of its variable, else the one that it was found to have, else its name. Raises Invalid."""
    value = variables.get(variable)
    if value is None:
        facts = variables.get("ansible_facts") or {}
        value = (facts.get("default_ipv4") or {}).get("address") or name
    found = [str(entry) for entry in (value if isinstance(value, list) else [value])]
    for entry in found:
        try:
            ipaddress.ip_address(entry)
        except ValueError:
            raise Invalid(
                f"{name}: {variable} is {entry}, which is no address.",
                "A firewall needs addresses: give the host a variable that holds one, and its name as address_variable.",
                subject="address_variable",
            ) from None
    return found


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> Dict[str, Any]:
    """Make one result of the two steps: everything that was changed, how it was before, and how it is now."""
    before, after = first["findings"][0], second["findings"][0]
    finding = {**after, "observed": before["observed"], "status": after["status"] if before["status"] == "pass" else before["status"]}
    joined = {**second, "changed": first["changed"] or second["changed"], "plan": [*first["plan"], *second["plan"]], "findings": [finding]}
    if "diff" in second:
        joined["diff"] = [*first["diff"], *second["diff"]]
    return joined
