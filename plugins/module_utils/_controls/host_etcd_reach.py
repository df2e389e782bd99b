# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seen from another host, members of etcd prove who they are, and let in nobody without a certificate: configured is not effective."""

from __future__ import annotations

from typing import Any, Dict, List

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_etcd import SOURCE
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_etcd_plan import RUNNING
from ansible_collections.paas.hardening.plugins.module_utils._controls.onlooker import Onlooker, View
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd import knock

VIEW = View(
    "host-etcd-reach",
    "Seen from another host, members of etcd prove who they are, and let in nobody without a certificate",
    RUNNING.severity,
    SOURCE,
    "answers",
    "Does a firewall stand between, and is the address in the certificate?",
)
_MEMBER = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "client_port": {"type": "int", "default": 2379},
    "peer_port": {"type": "int", "default": 2380},
    "endpoint": {"type": "str", "default": ""},
    "authority": {"type": "str", "required": True},
    "data": {"type": "bool", "default": True},
    "answers": {"type": "bool", "default": True},
    "version": {"type": "str", "default": ""},
}
ARGUMENTS: Dict[str, Any] = {
    "me": {"type": "str", "required": True},
    "members": {"type": "list", "elements": "dict", "required": True, "options": _MEMBER},
    "reachable": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 3.0},
}


class Reach(Onlooker):
    """What members answer to the host that we are on."""

    view = VIEW

    def observe(self) -> List[Check]:
        found: List[Check] = []
        for member in self._params["members"]:
            seconds, authority, address = self._params["timeout"], member["authority"], member["address"]
            for port in (member["client_port"], member["peer_port"]):
                where = f"{member['name']}:{port}"
                found.append(self._judged(f"{where} without a certificate", knock.knock(address, port, address, authority, seconds)))
                if found[-1].observed.startswith(knock.SILENT):
                    continue
                found.append(self._judged(f"{where} without TLS", knock.knock_plainly(address, port, seconds)))
        return found

    def _judged(self, what: str, answer: knock.Answer) -> Check:
        if answer.kind == knock.SILENT:
            wanted = self._params["reachable"]
            return Check(what, knock.REFUSED if wanted else "refused, or not reached", str(answer), FAIL if wanted else PASS)
        return Check(what, knock.REFUSED, str(answer), PASS if answer.kind == knock.REFUSED and answer.trusted else FAIL)


VERB = Verb(ARGUMENTS, Reach)
