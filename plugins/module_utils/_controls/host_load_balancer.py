# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A load balancer is what its inventory says: it distributes over all that can serve, tells dead ones apart, and its address outlives its host."""

from __future__ import annotations

import datetime
import time
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.areas import Area
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_load_balancer_plan import (
    FAILOVER,
    SERVICE,
    TLS,
    TRAFFIC,
    Observed,
    Planner,
    refusal_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_server import AreaPlanner, HostServer, Writer
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven, Refused, RolloutFailed
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, certificates, files, packages, units
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer import keepalived, nginx, service, tls
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.wishes import ARGUMENTS, HTTP, Wish, wish_of

SOURCE = Source(
    "Deis Workflow, Configuring Load Balancers",
    "Idle connection timeouts",
    "this timeout should be increased to a recommended value of 1200 seconds",
)
_ERRORS = "/var/log/nginx/error.log"
# Seconds in which two that began together find out which of them has the address.
_ELECTION = 1.0


def begin(params: Mapping[str, Any]) -> Balancer:
    """Begin the work of the verb. Raises Invalid."""
    return Balancer(params)


class Balancer(HostServer[Observed]):
    """The balancer of the host that we are on."""

    main = SERVICE
    source = SOURCE

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        self._wish: Wish = wish_of(params)
        # What each configuration was before this run wrote it.
        self._before: Dict[str, files.Kept] = {}

    # Looking

    def _look(self) -> Observed:
        seen = service.look(self._wish)
        interface = seen.interface_of(self._wish.address)
        config = nginx.render(self._wish, seen.circumstances)
        addresses = keepalived.render(self._wish, interface or "") if self._wish.virtual else None
        # What is new is tried on a copy, also when it is only looked: what would be refused is refused now.
        files_there = all(one.text is not None and one.key.text is not None for one in seen.certificates)
        new = config.text != seen.config.text and "nginx" not in seen.missing and "libnginx-mod-stream" not in seen.missing and files_there
        tried = addresses is not None and addresses.text != seen.addresses_config.text and "keepalived" not in seen.missing
        ready = seen.account is not None and seen.script.text is not None
        return Observed(
            seen,
            interface,
            config,
            addresses,
            service.nginx_complains(config) if new else "",
            service.keepalived_complains(addresses) if addresses is not None and tried and ready else "",
            datetime.datetime.now(datetime.timezone.utc),
        )

    def _require(self, observed: Observed) -> None:
        refusal = refusal_of(self._wish, observed)
        if refusal:
            raise refusal

    def _planned(self, observed: Observed) -> Tuple[AreaPlanner, Plan]:
        planner = Planner(self._wish, observed)
        return planner, planner.plan()

    def _subject(self) -> str:
        return f"load balancer {self._wish.name}"

    # Doing

    def _writers(self) -> Mapping[str, Writer[Observed]]:
        return {
            "Packages": self._apply_packages,
            "File": self._apply_file,
            "Account": self._apply_account,
            "Private part": self._apply_key,
            "Unit": self._apply_unit,
        }

    def _apply_packages(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        packages.install(observed.seen.missing, "Does another program hold port 80, which nginx takes when it is installed?")

    def _apply_account(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        accounts.make(keepalived.ACCOUNT)

    def _apply_key(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        certificates.guard_key(ref.name, tls.KEY_OWNER)

    def _apply_file(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        if ref.name == nginx.FILE:
            self._write_config()
        elif ref.name == keepalived.SCRIPT:
            service.write(ref.name, keepalived.script(self._wish), keepalived.SCRIPT_MODE)
        elif ref.name == keepalived.FILE and changes[0].after is ABSENT:
            service.remove(ref.name)
        elif ref.name == keepalived.FILE:
            self._write_addresses(observed)
        else:
            unit = next(unit for unit, path in service.DROP_INS.items() if path == ref.name)
            service.write_drop_in(unit, service.drop_in(unit, self._wish, observed.interface or ""))

    def _write_config(self) -> None:
        # Of a package that was just installed, the version is known only now.
        rendered = nginx.render(self._wish, service.look(self._wish).circumstances)
        complaint = service.nginx_complains(rendered)
        if complaint:
            option = rendered.option_of(complaint)
            raise Refused(f"nginx does not take {option or 'the configuration'}: {complaint}", "The old one stays.", option or "listeners")
        self._before[nginx.FILE] = files.look(nginx.FILE)
        service.write(nginx.FILE, rendered.text, nginx.MODE)

    def _write_addresses(self, observed: Observed) -> None:
        rendered = keepalived.render(self._wish, observed.interface or "")
        complaint = service.keepalived_complains(rendered)
        if complaint:
            option = rendered.option_of(complaint)
            raise Refused(f"keepalived does not take {option or 'it'}: {complaint}", "The old one stays.", option or "virtual_addresses")
        self._before[keepalived.FILE] = files.look(keepalived.FILE)
        service.write(keepalived.FILE, rendered.text, keepalived.MODE)

    def _apply_unit(self, observed: Observed, ref: Ref, changes: Sequence[Change]) -> None:
        fields = [change.field for change in changes]
        if "stopped" in fields:
            units.forget(ref.name)
            return
        if "at boot" in fields:
            units.let_start(ref.name)
        if ref.name == service.NGINX:
            self._bring_nginx("running" in fields, "reloaded" in fields)
        else:
            self._bring_keepalived("running" in fields, "reloaded" in fields, observed)

    def _bring_nginx(self, stopped: bool, stale: bool) -> None:
        """Start nginx, or let it read its configuration, and see that it has. Raises RolloutFailed, after the old configuration was put back."""
        if not stopped and not stale:
            return
        wanted = nginx.render(self._wish, service.look(self._wish).circumstances)
        asked = service.start(service.NGINX) if stopped else units.read_anew(service.NGINX)
        if asked and service.await_served(self._wish, wanted.generation):
            return
        said = service.last_words(_ERRORS) or units.journal(service.NGINX)
        before, restored = self._before.get(nginx.FILE), ""
        if before is not None and before.text is not None:
            service.write(nginx.FILE, before.text, nginx.MODE)
            units.read_anew(service.NGINX)
            restored = "The old configuration is back. "
        hint = f"{restored}Does another program hold one of the ports? Ask: ss -ltnp; journalctl -u {service.NGINX}"
        raise RolloutFailed(f"nginx does not come to run with the new configuration: {said}", hint, service.NGINX)

    def _bring_keepalived(self, stopped: bool, stale: bool, observed: Observed) -> None:
        if not stopped and not stale:
            return
        service.make_run_folder()
        wanted = keepalived.render(self._wish, observed.interface or "")
        asked = service.start(service.KEEPALIVED) if stopped else units.read_anew(service.KEEPALIVED)
        if asked and service.await_told(wanted.generation):
            return
        before, restored = self._before.get(keepalived.FILE), ""
        if before is not None and before.text is not None:
            service.write(keepalived.FILE, before.text, keepalived.MODE)
            units.read_anew(service.KEEPALIVED)
            restored = "The old configuration is back. "
        said = units.journal(service.KEEPALIVED)
        hint = f"{restored}Ask: journalctl -u {service.KEEPALIVED}"
        raise RolloutFailed(f"keepalived does not come to run with the new configuration: {said}", hint, service.KEEPALIVED)

    def settle(self, observed: Optional[Observed], plan: Plan) -> float:
        """Wait until each virtual address is somewhere. Raises RolloutFailed when nobody takes it."""
        if observed is None or self._refusal:
            return 0.0
        begun, waited = time.monotonic(), False
        for one in self._wish.virtual:
            if not plan and (observed.seen.interface_of(one.address) or service.answers(one.address, self._wish.listeners[0].port)):
                continue
            waited = True
            if not service.await_address(self._wish, one.address):
                hint = f"Do the hosts hear each other (VRRP through the firewall)? Ask: journalctl -u {service.KEEPALIVED}"
                raise RolloutFailed(f"Nobody takes the virtual address {one}: {units.journal(service.KEEPALIVED)}", hint, str(one))
        if waited:
            # Who was first for a moment may have yielded since.
            time.sleep(_ELECTION)
        return time.monotonic() - begun if waited else 0.0

    # Telling

    def conclude(self, first: Optional[Observed], last: Optional[Observed], plan: Plan, enforced: bool) -> Dict[str, Any]:
        """See that the running programs have read what is in their files, and put the result together. Raises NotProven when they have not."""
        proofs = self._proofs(last) if last is not None and not self._refusal else {}
        for proof in proofs.values():
            if enforced and proof.verdict != PASS:
                hint = "Look at the logs of nginx and keepalived."
                raise NotProven(f"The configuration is right, but the effect is not seen: {proof}.", hint, self._wish.name)
        areas = [SERVICE, TRAFFIC, *([TLS] if self._wish.certificates else [])]
        told = {self._areas.get((change.ref, change.field)) for change in (self._first or Plan()).changes}
        areas += [FAILOVER] if self._wish.virtual or FAILOVER in told else []
        findings = [self._finding(area, plan, proofs.get(area, Proof()), enforced) for area in areas]
        return {"findings": [finding.as_data() for finding in findings], "balancer": self._balancer(last), "warnings": self._warnings()}

    def _proofs(self, observed: Optional[Observed]) -> Dict[Area, Proof]:
        """Ask the running programs which configuration they have read."""
        found: Dict[Area, Proof] = {}
        if observed is None:
            return found
        served = service.served(self._wish.status_port) == observed.config.generation
        words = {True: "that of the inventory", False: "another one, or none"}
        found[TRAFFIC] = Proof((Check("the configuration that the running nginx has read", words[True], words[served], PASS if served else FAIL),))
        if observed.addresses is not None:
            told = service.told() == observed.addresses.generation
            found[FAILOVER] = Proof((Check("the configuration that the running keepalived has read", words[True], words[told], PASS if told else FAIL),))
        return found

    def _balancer(self, observed: Optional[Observed]) -> Dict[str, Any]:
        """Return what others have to know to look at it from outside."""
        holds = service.look(self._wish).holds(self._wish) if observed is not None else ()
        return {
            "name": self._wish.name,
            "address": self._wish.address,
            "virtual_addresses": [one.address for one in self._wish.virtual],
            "holds": list(holds),
            "peers": list(self._wish.peers),
            "listeners": [
                {
                    "name": one.name,
                    "port": one.port,
                    "mode": one.mode,
                    "answers": one.answers,
                    "encrypted": one.encrypted,
                    "redirect": one.redirect,
                    "server_name": one.server_names[0].replace("*", "any") if one.server_names else "",
                    "hsts": bool(one.encrypted and one.hsts_max_age and one.mode == HTTP),
                    "patience": one.connect_timeout,
                }
                for one in self._wish.listeners
            ],
        }


VERB = Verb(ARGUMENTS, begin)
