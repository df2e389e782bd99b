# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ruleset of nftables as text. It has a table of its own, so that those of container engines and of the cluster's network are left alone."""

from __future__ import annotations

from typing import Dict, Iterable, List, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.rules import Network, Opening, merged, plain, ports_text

FAMILY, TABLE, CHAIN = "inet", "paas_hardening", "guard"
RULE = "rule "
REST = "everything else"
# The first line makes the table if there is none, so that the second may remove it: the whole file is one step, with no moment between old and new.
EMPTY = f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"
HEAD = """# Managed by paas.hardening.firewall: what is changed here by hand is changed back.
"""
# Numbers, since a small host may have no /etc/protocols to look names up in.
ICMP, ICMP6, VRRP = 1, 58, 112
_ALWAYS = (
    ('iifname "lo" accept', "this host itself"),
    # also what a container engine would lead on to a container: its published ports are this host's
    ("fib daddr type != { local, broadcast, multicast } accept", "not for this host"),
    ("ct state { established, related } accept", "answers"),
    (f"meta l4proto {{ {ICMP}, {ICMP6} }} accept", "icmp"),
    ("udp sport 67 udp dport 68 accept", "dhcp"),
    ("udp sport 547 udp dport 546 accept", "dhcp for ipv6"),
)
# Before the destination is rewritten (-100), after connections are known (-200): ports that a container engine publishes cannot slip past.
_HOOK = "type filter hook prerouting priority -150; policy accept;"


def render(openings: Sequence[Opening], closed: bool) -> str:
    """Return the file for nft: what replaces the table by these openings.

    With ``closed`` nothing else gets in, without it only the ports that rules name are guarded.
    """
    rules = [f'{text} comment "{comment}"' for text, comment in _ALWAYS]
    for opening in openings:
        rules += [f'{text} accept comment "{RULE}{opening.name}"' for text in _matches(opening)]
    if closed:
        rules.append(f'counter drop comment "{REST}"')
    else:
        rules += [f'{text} counter drop comment "{REST}"' for text in _guarded(openings)]
    lines = [f"table {FAMILY} {TABLE} {{", f"\tchain {CHAIN} {{", f"\t\t{_HOOK}", *(f"\t\t{rule}" for rule in rules), "\t}", "}"]
    return HEAD + EMPTY + "\n".join(lines) + "\n"


def _matches(opening: Opening) -> List[str]:
    service = _service(opening.protocol, opening.ports)
    if opening.anywhere:
        return [service]
    families: Dict[str, List[Network]] = {"ip": [], "ip6": []}
    for source in opening.sources:
        families["ip" if source.version == 4 else "ip6"].append(source)
    return [f"{family} saddr {{ {', '.join(map(plain, sources))} }} {service}" for family, sources in families.items() if sources]


def _service(protocol: str, ports: Iterable[Tuple[int, int]]) -> str:
    return f"meta l4proto {VRRP}" if protocol == "vrrp" else f"{protocol} dport {{ {', '.join(ports_text(ports))} }}"


def _guarded(openings: Sequence[Opening]) -> List[str]:
    """What the openings name, whoever sends it."""
    ports: Dict[str, List[Tuple[int, int]]] = {}
    for opening in openings:
        ports.setdefault(opening.protocol, []).extend(opening.ports)
    return [_service(protocol, merged(known)) for protocol, known in ports.items()]
