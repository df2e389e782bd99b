# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host firewall lets in, as data: rules as they are written, with groups and hosts for sources, and the openings of one host that follow from them."""

from __future__ import annotations

import difflib
import ipaddress
import re
from typing import Any, Callable, Collection, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple, Union

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Range = Tuple[int, int]

ANYWHERE = "anywhere"
# Groups that an inventory may lack: then nobody is in them.
KNOWN_GROUPS = ("backup", "cluster_nodes", "etcd", "load_balancer", "object_store", "postgres", "postgres_receiver")
PROTOCOLS = ("tcp", "udp", "vrrp")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,59}")
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")

RULE_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "protocol": {"type": "str", "choices": list(PROTOCOLS), "default": "tcp"},
    "ports": {"type": "list", "elements": "str", "default": []},
    "from": {"type": "list", "elements": "str", "required": True},
    "to": {"type": "list", "elements": "str", "default": []},
}


class Opening(NamedTuple):
    """What one rule lets into one host. Without ``anywhere`` only the sources may come, and nobody when there are none."""

    name: str
    protocol: str
    ports: Tuple[Range, ...]
    sources: Tuple[Network, ...]
    anywhere: bool

    def lets_in(self, address: str, protocol: str, port: int) -> bool:
        """Tell whether a packet from the address to the port gets in by this opening."""
        if protocol != self.protocol or not any(first <= port <= last for first, last in self.ports):
            return False
        here = ipaddress.ip_address(address)
        return self.anywhere or any(here.version == source.version and here in source for source in self.sources)

    def as_rule(self) -> Dict[str, Any]:
        """Return it as a rule again, with addresses for sources."""
        sources = [ANYWHERE] if self.anywhere else [plain(source) for source in self.sources]
        return {"name": self.name, "protocol": self.protocol, "ports": ports_text(self.ports), "from": sources, "to": []}


def plain(network: Network) -> str:
    """Write a network for people: a single address without its length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def ports_text(ports: Iterable[Range]) -> List[str]:
    """Write ranges of ports as a rule has them."""
    return [str(first) if first == last else f"{first}-{last}" for first, last in ports]


def merged(ports: Iterable[Range]) -> Tuple[Range, ...]:
    """Join ranges that touch or overlap."""
    joined: List[Range] = []
    for first, last in sorted(ports):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)


def networks_of(texts: Iterable[str]) -> Tuple[Network, ...]:
    """Return the networks, without those that lie within others, those of IPv4 first. Raises ValueError for a text that is none."""
    known = [ipaddress.ip_network(text, strict=False) for text in texts]
    old = ipaddress.collapse_addresses(network for network in known if isinstance(network, ipaddress.IPv4Network))
    new = ipaddress.collapse_addresses(network for network in known if isinstance(network, ipaddress.IPv6Network))
    return (*old, *new)


def is_network(text: str) -> bool:
    """Tell whether a source is an address or a network rather than a name."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def openings_of(rules: Sequence[Mapping[str, Any]]) -> Tuple[Opening, ...]:
    """Return the openings of rules whose sources are addresses, networks or ANYWHERE. Raises Invalid."""
    found = tuple(map(_opening, rules))
    names = [opening.name for opening in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Invalid(f"Two rules have the name {twice[0]}.", "Give each rule a name of its own: it is known by it.", subject="rules")
    return found


def _opening(rule: Mapping[str, Any]) -> Opening:
    name, protocol = rule["name"], rule.get("protocol") or "tcp"
    if not _NAME.fullmatch(name):
        raise Invalid(f"{name!r} is no name for a rule.", "Use up to 60 of a-z, 0-9, dash, dot and underscore.", subject="rules")
    ports = merged(_range(name, str(text)) for text in rule.get("ports") or ())
    if bool(ports) == (protocol == "vrrp"):
        raise Invalid(f"Rule {name}: {'vrrp has no ports' if ports else f'{protocol} needs ports'}.", subject="rules")
    sources = [str(text) for text in rule.get("from") or ()]
    strange = [text for text in sources if text != ANYWHERE and not is_network(text)]
    if strange:
        raise Invalid(f"Rule {name}: {strange[0]} is no address.", "Names of hosts and groups are known where Ansible runs, not on the host.", subject="rules")
    return Opening(name, protocol, ports, networks_of(text for text in sources if text != ANYWHERE), ANYWHERE in sources)


def _range(name: str, text: str) -> Range:
    found = _PORT.fullmatch(text.strip())
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise Invalid(f"Rule {name}: {text!r} is no port.", "Write a number from 1 to 65535, or a range such as 8000-8010.", subject="rules")
    return first, last


def resolved(
    rules: Sequence[Mapping[str, Any]], host: str, groups: Mapping[str, Collection[str]], hosts: Collection[str], addresses: Callable[[str], Sequence[str]]
) -> List[Dict[str, Any]]:
    """Return the rules that are meant for the host, with the addresses of its hosts for each name of a group. Pure, but for what ``addresses`` reads.

    Raises Invalid for a name that the inventory does not have.
    """

    def members(rule: Mapping[str, Any], name: str) -> Collection[str]:
        if name in hosts:
            return [name]
        if name in groups or name in KNOWN_GROUPS:
            return groups.get(name, ())
        near = difflib.get_close_matches(name, [*groups, *hosts, *KNOWN_GROUPS, ANYWHERE], n=1)
        remedy = f"Did you mean {near[0]}?" if near else f"Name a group or host of the inventory, an address, a network, or {ANYWHERE}."
        raise Invalid(f"Rule {rule.get('name')}: {name} is no group, host or network.", remedy, subject="rules")

    found = []
    for rule in rules:
        if rule.get("to") and not any(host in members(rule, name) for name in rule["to"]):
            continue
        sources: List[str] = []
        for source in map(str, rule.get("from") or ()):
            if source == ANYWHERE or is_network(source):
                sources.append(source)
            else:
                sources += [address for name in members(rule, source) for address in addresses(name)]
        found.append({**rule, "from": sorted(set(sources)), "to": []})
    return found
