# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change on a host so that it balances as the inventory says, and what is wrong but left to a person. Pure."""

from __future__ import annotations

import datetime
from typing import List, NamedTuple, Optional

from ansible_collections.paas.hardening.plugins.module_utils._controls.areas import Area
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_ground import key_changes
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_server import AreaPlanner
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._host import files, units
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer import keepalived, nginx, service, tls
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.wishes import Wish

SERVICE = Area("host-balancer-service", "nginx is installed, started at boot, and comes back when it fails", "high")
TRAFFIC = Area("host-balancer-traffic", "Connections are distributed as the inventory says, and the running nginx has read that", "high")
TLS = Area("host-balancer-tls", "Clients come by TLS 1.2 or newer, and the certificate that they see is valid", "high")
FAILOVER = Area("host-balancer-failover", "A virtual address moves by itself when nginx or its host fails", "high")

PACKAGES = Ref("", "Packages", "load balancer")
ACCOUNT = Ref("", "Account", keepalived.ACCOUNT)
CONFIG, ADDRESSES, SCRIPT = (Ref("", "File", path) for path in (nginx.FILE, keepalived.FILE, keepalived.SCRIPT))
DROP_INS = {unit: Ref("", "File", path) for unit, path in service.DROP_INS.items()}
UNITS = {unit: Ref("", "Unit", unit) for unit in (service.NGINX, service.KEEPALIVED)}
_OTHER, _WANTED = "another text", "as the inventory says"


class Observed(NamedTuple):
    """Everything that was seen, what should be there, and why a program would not take that (nothing when it would, or cannot be asked yet)."""

    seen: service.Seen
    interface: Optional[str]
    config: nginx.Rendered
    addresses: Optional[keepalived.Rendered]
    nginx_says: str
    keepalived_says: str
    moment: datetime.datetime


def refusal_of(wish: Wish, observed: Observed) -> Optional[Refused]:
    """Return why nothing may be done on this host, or None."""
    if observed.interface is None:
        hint = "Give the one that `ip address` shows there (load_balancer_address_variable)."
        return Refused(f"address: {wish.address} is no address of this host.", hint, "address")
    absent = {path for one in observed.seen.certificates for path, text in ((one.path, one.text), (one.key_path, one.key.text)) if text is None}
    for one in wish.listeners:
        for option, path in (("tls_certificate", one.certificate), ("tls_key", one.key)):
            if path in absent:
                return Refused(f"Listener {one.name}: there is no file {path}.", "Bring it to the host first.", f"listeners[{one.name}].{option}")
    if observed.nginx_says:
        option = observed.config.option_of(observed.nginx_says)
        return Refused(f"nginx does not take {option or 'the configuration'}: {observed.nginx_says}", "Nothing was changed.", option or "listeners")
    if observed.keepalived_says and observed.addresses:
        option = observed.addresses.option_of(observed.keepalived_says)
        return Refused(f"keepalived does not take {option or 'it'}: {observed.keepalived_says}", "Nothing was changed.", option or "virtual_addresses")
    return None


class Planner(AreaPlanner):
    """Plans from one observation."""

    def __init__(self, wish: Wish, observed: Observed) -> None:
        super().__init__()
        self._wish = wish
        self._there = observed
        self._seen = observed.seen

    def plan(self) -> Plan:
        """Return what has to change, in the order in which it can."""
        keys, config = self._keys(), self._config()
        groups = [
            (SERVICE, self._packages()),
            (SERVICE, self._drop_in(service.NGINX)),
            (TLS, keys),
            *((self._area_of(change), [change]) for change in config),
            (SERVICE, self._nginx_unit()),
            (TRAFFIC, self._nginx_reads(bool(config))),
            (FAILOVER, self._failover() if self._wish.virtual else self._leftover()),
        ]
        self._certificates()
        return self._plan_of(groups)

    def _area_of(self, change: Change) -> Area:
        return TLS if change.field == "tls" else TRAFFIC

    def _packages(self) -> List[Change]:
        why = {"keepalived": "it moves the virtual address", "openssl": "it reads certificates"}
        return [Change(PACKAGES, (name,), ABSENT, "installed", why.get(name, "it distributes connections")) for name in self._seen.missing]

    def _drop_in(self, unit: str) -> List[Change]:
        wanted = service.drop_in(unit, self._wish, self._there.interface or "")
        why = "it comes back by itself when it fails" if unit == service.NGINX else "it leaves nothing behind, however it ends"
        return _file(DROP_INS[unit], self._seen.drop_ins[unit], wanted, service.DROP_IN_MODE, why)

    def _keys(self) -> List[Change]:
        return [change for one in self._seen.certificates for change in key_changes(one.key_path, one.key, tls.KEY_OWNER)]

    def _config(self) -> List[Change]:
        kept, wanted = self._seen.config, self._there.config.text
        # Before the package is there, nobody knows what its file will be.
        text = None if "nginx" in self._seen.missing else kept.text
        found = []
        for part, before, after in nginx.differences(text, wanted) if text != wanted else ():
            found.append(Change(CONFIG, (part,), ABSENT if before is None else before, ABSENT if after is None else after, "the inventory says so"))
        return found + (_guarded(CONFIG, kept, nginx.MODE) if text is not None else [])

    def _nginx_unit(self) -> List[Change]:
        unit = self._seen.units[service.NGINX]
        found = [] if unit.enabled else [_at_boot(UNITS[service.NGINX], unit)]
        return found + ([] if unit.active else [Change(UNITS[service.NGINX], ("running",), False, True, "nobody is served without it")])

    def _nginx_reads(self, changed: bool) -> List[Change]:
        if not self._seen.units[service.NGINX].active:
            return []
        if changed or self._seen.served != self._there.config.generation:
            before = "has not read its configuration since that changed" if self._seen.served else "has read another configuration"
            return [Change(UNITS[service.NGINX], ("reloaded",), before, "has read it", "so that it is in force")]
        return []

    def _failover(self) -> List[Change]:
        seen, wanted = self._seen, self._there.addresses
        if not self._wish.peers:
            self._remark(FAILOVER, "Nobody else can take the virtual address.", "Have a second host in the group (load_balancer_group).")
        found = []
        if not (seen.account and seen.account.harmless):
            before = ABSENT if seen.account is None else f"number {seen.account.number}, shell {seen.account.shell}"
            found.append(Change(ACCOUNT, ("account",), before, "one that nobody can log in as", "the check of nginx needs no right at all"))
        found += _file(SCRIPT, seen.script, keepalived.script(self._wish), keepalived.SCRIPT_MODE, "keepalived asks by it whether nginx is well")
        found += self._drop_in(service.KEEPALIVED)
        changed = _file(ADDRESSES, seen.addresses_config, wanted.text if wanted else "", keepalived.MODE, "it says who may have the virtual address")
        return found + changed + self._keepalived_unit(any(change.field == "content" for change in changed))

    def _keepalived_unit(self, changed: bool) -> List[Change]:
        ref, unit, wanted = UNITS[service.KEEPALIVED], self._seen.units[service.KEEPALIVED], self._there.addresses
        found = [] if unit.enabled else [_at_boot(ref, unit)]
        if not unit.active:
            return [*found, Change(ref, ("running",), False, True, "nobody takes the address over without it")]
        if changed or self._seen.told != (wanted.generation if wanted else ""):
            before = "has read another configuration" if self._seen.told else "does not check nginx as it should"
            found.append(Change(ref, ("reloaded",), before, "has read it", "so that it is in force"))
        return found

    def _leftover(self) -> List[Change]:
        """Of a virtual address that is not wanted any more nothing is left; what others made of keepalived is theirs."""
        kept, ref = self._seen.addresses_config, UNITS[service.KEEPALIVED]
        if not (kept.text or "").startswith(keepalived.HEADER):
            return []
        unit, why = self._seen.units[service.KEEPALIVED], "no virtual address is wanted"
        found = [Change(ref, ("stopped",), "running or started at boot", "stopped", why)] if unit.active or unit.enabled else []
        return [*found, Change(ADDRESSES, ("content",), "of an earlier inventory", ABSENT, why)]

    def _certificates(self) -> None:
        for one in self._seen.certificates if "openssl" not in self._seen.missing else ():
            names = sorted({name for listener in self._wish.listeners if listener.certificate == one.path for name in listener.server_names})
            for text, hint in tls.problems(one, names, self._wish.renew_before, self._there.moment) if one.text is not None else ():
                self._remark(TLS, text, hint)


def _file(ref: Ref, kept: files.Kept, wanted: str, mode: int, why: str) -> List[Change]:
    """Return how a file differs. Its text is not shown: a password may be in it."""
    if kept.text is None:
        return [Change(ref, ("content",), ABSENT, _WANTED, why)]
    return ([Change(ref, ("content",), _OTHER, _WANTED, why)] if kept.text != wanted else []) + _guarded(ref, kept, mode)


def _guarded(ref: Ref, kept: files.Kept, mode: int) -> List[Change]:
    why = "who can write it rules the balancer"
    found = [Change(ref, ("mode",), f"{kept.mode:04o}", f"{mode:04o}", why)] if kept.mode != mode else []
    return found + ([Change(ref, ("owner",), kept.owner, "root", why)] if kept.owner != "root" else [])


def _at_boot(ref: Ref, unit: units.State) -> Change:
    return Change(ref, ("at boot",), "masked" if unit.masked else "disabled", "started", "so that it is there after a reboot")
