# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may log in from where: entries of an inventory, the lines of pg_hba.conf that follow from them, and what a file says instead."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT

LOCAL = "local"
REPLICATION = "replication"
ACCESS_OPTIONS: Dict[str, Any] = {
    "database": {"type": "str", "required": True},
    "role": {"type": "str", "required": True},
    "network": {"type": "str", "required": True},
}
# The server's own account comes by the local socket, and only it is an administrator.
_FIRST = ("local all postgres peer",)
_HEADER = "# Managed by paas.hardening.postgres_server: one line for each database, role and network. What no line lets in is refused.\n"
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
_TOKEN = re.compile(r'"(?:[^"]|"")*"|[^\s"#,]+|,|#.*')
# Names that mean more than one database or role.
_KEYWORDS = ("all", "sameuser", "samerole", "samegroup")
# Wider networks are no networks of one's own.
_WIDEST = {4: 8, 6: 16}


class Entry(NamedTuple):
    """One role on one database from one network, or over the local socket when the network is LOCAL."""

    database: str
    role: str
    network: str

    def line(self) -> str:
        """Return its line. Over the network TLS is a must, and the password is never sent."""
        who = f"{_quoted(self.database, (REPLICATION,))} {_quoted(self.role)}"
        return f"local {who} peer" if self.network == LOCAL else f"hostssl {who} {self.network} scram-sha-256"

    def lets_in(self, address: str) -> bool:
        """Tell whether it is meant for who comes from this address."""
        if self.network == LOCAL:
            return False
        here, network = ipaddress.ip_address(address), ipaddress.ip_network(self.network)
        return here.version == network.version and here in network


def entries_of(given: Sequence[Mapping[str, Any]]) -> Tuple[Entry, ...]:
    """Return the entries of an inventory. Raises Invalid, which names the field, its value and what to write instead."""
    return tuple(dict.fromkeys(Entry(_name("database", one), _name("role", one), _network(one["network"])) for one in given))


def _name(field: str, one: Mapping[str, Any]) -> str:
    value = str(one[field])
    if value in _KEYWORDS:
        raise Invalid(f"access: {field} is {value}, which is more than one.", f"Name one {field}, and give one entry for each.", f"access.{field}")
    if not value or len(value.encode()) > 63 or any(ord(character) < 32 for character in value) or value[0] in "+/@":
        raise Invalid(f"access: {field} is {value!r}, which is no name.", f"Give the name of one {field}.", f"access.{field}")
    return value


def _network(value: str) -> str:
    if value == LOCAL:
        return value
    field = "access.network"
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        try:
            meant = f"Give {ipaddress.ip_network(value, strict=False)} for the network, or {ipaddress.ip_interface(value).ip} for the one address."
        except ValueError:
            meant = f"Give an address, a network such as 192.0.2.0/28, or {LOCAL}."
        raise Invalid(f"access: network is {value}, which is no network.", meant, field) from None
    if network.prefixlen < _WIDEST[network.version]:
        raise Invalid(
            f"access: network is {value}, which lets in half of the world or more." if network.prefixlen else f"access: network is {value}: everybody.",
            "Name the networks that clients are in, one entry for each: the nodes of the cluster, the standby, the host of the backups.",
            field,
        )
    return str(network)


def _quoted(name: str, keywords: Sequence[str] = ()) -> str:
    return name if name in keywords or (_PLAIN.fullmatch(name) and name != REPLICATION) else '"' + name.replace('"', '""') + '"'


def lines_of(entries: Sequence[Entry]) -> List[str]:
    """Return the lines of the file, without its header."""
    return [*_FIRST, *(entry.line() for entry in entries)]


def render(entries: Sequence[Entry]) -> str:
    """Return the whole file."""
    return _HEADER + "\n".join(lines_of(entries)) + "\n"


def lines_in(text: str) -> List[str]:
    """Return what a file says, line by line, in one spelling, without comments."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words = [word for word in _TOKEN.findall(line) if not word.startswith("#")]
        if words:
            found.append(" ".join(words).replace(" , ", ","))
    return found


def differences(text: str, wanted: Sequence[str]) -> List[Tuple[str, Any, Any]]:
    """Return (line, before, after) for every line that is too much or missing, ABSENT for what is not there or has to go. Pure."""
    there = lines_in(text)
    found: List[Tuple[str, Any, Any]] = [(line, line, ABSENT) for line in dict.fromkeys(there) if line not in wanted]
    found += [(line, ABSENT, line) for line in wanted if line not in there]
    if not found and there != list(wanted):
        found.append(("order of the lines", "; ".join(there), "; ".join(wanted)))
    return found
