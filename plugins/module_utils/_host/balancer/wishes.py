# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory wants of a load balancer, judged before anything is looked at."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

TCP, HTTP = "tcp", "http"
# What a backend answers with, as it is seen from outside.
ANY, BANNER, WEB, TLS = "any", "banner", "http", "tls"
# Of well-known ports it is known; of others nothing is expected but that the connection stays.
_ANSWERS = {22: BANNER, 80: WEB, 443: TLS, 2222: BANNER}
LISTENER_OPTIONS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "mode": {"type": "str", "choices": [TCP, HTTP], "default": TCP},
    "backends": {"type": "list", "elements": "str", "default": []},
    "proxy_protocol": {"type": "bool", "default": False},
    "idle_timeout": {"type": "int", "default": 1200},
    "connect_timeout": {"type": "int", "default": 3},
    "max_fails": {"type": "int", "default": 2},
    "fail_timeout": {"type": "int", "default": 10},
    "answers": {"type": "str", "choices": [ANY, BANNER, WEB, TLS]},
    "server_names": {"type": "list", "elements": "str", "default": []},
    "tls_certificate": {"type": "str", "default": ""},
    "tls_key": {"type": "str", "default": "", "no_log": False},
    "hsts_max_age": {"type": "int", "default": 31536000},
    "body_limit": {"type": "str", "default": "50m"},
    "redirect": {"type": "bool", "default": False},
}
ARGUMENTS: Dict[str, Any] = {
    "listeners": {"type": "list", "elements": "dict", "required": True, "options": LISTENER_OPTIONS},
    "backends": {"type": "list", "elements": "str", "default": []},
    "tls_minimum": {"type": "str", "choices": ["1.2", "1.3"], "default": "1.2"},
    "renew_before": {"type": "int", "default": 30},
    "status_port": {"type": "int", "default": 8099},
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "virtual_addresses": {"type": "list", "elements": "str", "default": []},
    "peers": {"type": "list", "elements": "str", "default": []},
    "priority": {"type": "int", "default": 100},
    "router_id": {"type": "int", "default": 51},
    "vrrp_password": {"type": "str", "default": "", "no_log": True},
    "on_refusal": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_SERVER_NAME = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_PATH = re.compile(r"/[A-Za-z0-9._/@+-]+")
_SIZE = re.compile(r"[0-9]{1,9}[kKmMgG]?")
_PORTED = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
# VRRP of version 2 knows eight letters, and sends them in the clear.
_PASSWORD = re.compile(r"[A-Za-z0-9]{8}")


class Backend(NamedTuple):
    """Where connections go: an address or a name, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Listener(NamedTuple):
    """One port and what becomes of its connections: passed on as they are (tcp), or read, and TLS ended, by nginx (http). Times in seconds."""

    name: str
    port: int
    mode: str
    backends: Tuple[Backend, ...]
    proxy_protocol: bool
    idle_timeout: int
    connect_timeout: int
    max_fails: int
    fail_timeout: int
    answers: str
    server_names: Tuple[str, ...]
    certificate: str
    key: str
    hsts_max_age: int
    body_limit: str
    redirect: bool

    @property
    def encrypted(self) -> bool:
        """Whether nginx ends TLS here."""
        return bool(self.certificate)


class Address(NamedTuple):
    """A virtual address, with the length of its network as it is given to the interface."""

    address: str
    length: int

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


class Wish(NamedTuple):
    """What there has to be on one host. ``peers`` are the addresses of the others that may have the virtual addresses."""

    name: str
    address: str
    listeners: Tuple[Listener, ...]
    tls_minimum: str
    renew_before: int
    status_port: int
    virtual: Tuple[Address, ...]
    peers: Tuple[str, ...]
    priority: int
    router_id: int
    password: str

    def __repr__(self) -> str:
        return f"Wish(name={self.name!r}, address={self.address!r})"

    @property
    def passes(self) -> Tuple[Listener, ...]:
        """The listeners whose connections are passed on as they are."""
        return tuple(one for one in self.listeners if one.mode == TCP)

    @property
    def reads(self) -> Tuple[Listener, ...]:
        """The listeners at which nginx speaks HTTP."""
        return tuple(one for one in self.listeners if one.mode == HTTP)

    @property
    def certificates(self) -> Tuple[Tuple[str, str], ...]:
        """Each certificate with its private key, once."""
        return tuple(dict.fromkeys((one.certificate, one.key) for one in self.listeners if one.encrypted))


def wish_of(params: Mapping[str, Any]) -> Wish:
    """Return the wish. Raises Invalid, which names the option, its value and what to write instead."""
    address = _address("address", params["address"])
    virtual = tuple(_virtual(text) for text in params["virtual_addresses"])
    # In one order, whatever that of the inventory is: lines are made of them.
    peers = tuple(sorted(_address("peers", text) for text in params["peers"]))
    for other in [*peers, *(one.address for one in virtual)]:
        if (":" in other) != (":" in address):
            raise Invalid(f"{other} and {address} are of different families.", "VRRP speaks to one of them: give addresses of the same.", "virtual_addresses")
        if other == address:
            raise Invalid(f"{other} is the host's own address.", "A virtual address, like that of a peer, is another one.", "virtual_addresses")
    if not _NAME.fullmatch(params["name"].lower().replace(".", "-").replace("_", "-")):
        raise Invalid(f"name: {params['name']!r} is no name of a host.", "Give its name in the inventory.", "name")
    for option, least, most in (("priority", 1, 254), ("router_id", 1, 255), ("status_port", 1024, 65535), ("renew_before", 1, 396)):
        if not least <= params[option] <= most:
            raise Invalid(f"{option} is {params[option]}.", f"Give {least} to {most}.", option)
    password = params["vrrp_password"]
    if password and not _PASSWORD.fullmatch(password):
        raise Invalid("vrrp_password is not of 8 letters and digits.", "VRRP knows no other. Without one, VRRP 3 is spoken, which knows none.", "vrrp_password")
    listeners = tuple(_listener(entry, params["backends"]) for entry in params["listeners"])
    _require_apart(listeners, params["status_port"])
    _require_no_loop(listeners, [address, *(one.address for one in virtual)])
    return Wish(
        params["name"],
        address,
        listeners,
        params["tls_minimum"],
        params["renew_before"],
        params["status_port"],
        virtual,
        peers,
        params["priority"],
        params["router_id"],
        password,
    )


def _address(option: str, text: str) -> str:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(f"{option}: {text} is no address.", "Give the address of a host (load_balancer_address_variable).", option) from None
    if found.is_unspecified or found.is_loopback:
        raise Invalid(f"{option}: {text} is not an address that others reach.", "Give the one of the network between the hosts.", option)
    return str(found)


def _virtual(text: str) -> Address:
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        raise Invalid(f"virtual_addresses: {text} is no address.", "Write it with the length of its network: 192.0.2.10/24.", "virtual_addresses") from None
    return Address(str(found.ip), found.network.prefixlen)


def _listener(entry: Mapping[str, Any], backends: Sequence[str]) -> Listener:
    name, port = entry["name"], entry["port"]

    def refuse(option: str, what: str, hint: str) -> Invalid:
        return Invalid(f"Listener {name}: {option} {what}.", hint, f"listeners[{name}].{option}")

    if not _NAME.fullmatch(name):
        raise Invalid(f"listeners: {name!r} is no name.", "Use up to 40 of a-z, 0-9 and dash.", "listeners")
    if not 1 <= port <= 65535:
        raise refuse("port", f"is {port}", "Give 1 to 65535.")
    for option, least in (("idle_timeout", 1), ("connect_timeout", 1), ("max_fails", 0), ("fail_timeout", 1), ("hsts_max_age", 0)):
        if entry[option] < least:
            raise refuse(option, f"is {entry[option]}", f"Give {least} or more.")
    found = tuple(_backend(name, text, port) for text in entry["backends"] or backends) if not entry["redirect"] else ()
    if not found and not entry["redirect"]:
        raise refuse("backends", "is empty", "Name where its connections go: address, or address:port (load_balancer_backends for all listeners).")
    if len(set(found)) < len(found):
        raise refuse("backends", "names one twice", "Name each once.")
    _require_mode(entry, refuse)
    for text in entry["server_names"]:
        if not _SERVER_NAME.fullmatch(text):
            raise refuse("server_names", f"has {text!r}", "Give names of hosts, or *.name for all below it.")
    return Listener(
        name,
        port,
        entry["mode"],
        found,
        entry["proxy_protocol"],
        entry["idle_timeout"],
        entry["connect_timeout"],
        entry["max_fails"],
        entry["fail_timeout"],
        entry["answers"] or (WEB if entry["mode"] == HTTP else _ANSWERS.get(port, ANY)),
        tuple(sorted(entry["server_names"])),
        entry["tls_certificate"],
        entry["tls_key"],
        entry["hsts_max_age"],
        entry["body_limit"],
        entry["redirect"],
    )


def _require_mode(entry: Mapping[str, Any], refuse: Any) -> None:
    """Refuse what does not go with the listener's mode. Raises Invalid."""
    if entry["mode"] == TCP:
        for option in ("server_names", "tls_certificate", "tls_key", "redirect"):
            if entry[option]:
                raise refuse(option, "is given, but the listener only passes connections on", "Give mode: http, or leave it to the backends.")
        return
    if entry["proxy_protocol"]:
        raise refuse("proxy_protocol", "is given, but nginx tells the client's address in X-Forwarded-For here", "Give mode: tcp, or leave it out.")
    if bool(entry["tls_certificate"]) != bool(entry["tls_key"]):
        raise refuse("tls_certificate", "and tls_key belong together", "Give the paths of both on the host, or of none.")
    for option in ("tls_certificate", "tls_key"):
        if entry[option] and not _PATH.fullmatch(entry[option]):
            raise refuse(option, f"is {entry[option]!r}", "Give a whole path on the host, without blanks.")
    if entry["redirect"] and entry["tls_certificate"]:
        raise refuse("redirect", "is given for a listener that has TLS already", "It is for the one at port 80.")
    if not _SIZE.fullmatch(entry["body_limit"]):
        raise refuse("body_limit", f"is {entry['body_limit']!r}", "Give a number with k, m or g, as 50m; 0 is without limit.")


def _backend(name: str, text: str, port: int) -> Backend:
    try:
        # An address of IPv6 needs no brackets where there is no port.
        return Backend(str(ipaddress.ip_address(text)), port)
    except ValueError:
        found = _PORTED.fullmatch(text)
    host = (found["six"] or found["host"]) if found else ""
    number = int(found["port"] or port) if found else 0
    if not host or not 1 <= number <= 65535 or not (_is_address(host) if found and found["six"] else _HOST.fullmatch(host)):
        hint = "Write address or address:port, an address of IPv6 with a port as [2001:db8::1]:443."
        raise Invalid(f"Listener {name}: {text!r} is no backend.", hint, f"listeners[{name}].backends")
    return Backend(host, number)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _require_apart(listeners: Sequence[Listener], status_port: int) -> None:
    """Refuse listeners that cannot be told apart. Raises Invalid."""
    names = [one.name for one in listeners]
    twice: Optional[str] = next((name for name in names if names.count(name) > 1), None)
    if twice or not listeners:
        raise Invalid(f"listeners: two are named {twice}." if twice else "listeners is empty.", "Give each a name of its own.", "listeners")
    for one in listeners:
        others = [other for other in listeners if other.port == one.port and other is not one]
        if one.port == status_port:
            hint = "Give another one of the two: at the status port nginx tells keepalived, on this host alone, that it is well."
            raise Invalid(f"Listener {one.name} and status_port have the same port {one.port}.", hint, "status_port")
        if others and any(other.mode != HTTP or other.encrypted != one.encrypted for other in [one, *others]):
            hint = "Only listeners of mode http, all with TLS or all without, share a port; they are told apart by server_names."
            raise Invalid(f"Listeners {one.name} and {others[0].name} have the same port {one.port}.", hint, f"listeners[{one.name}].port")
        claimed = set(one.server_names or ("",))
        for other in others:
            both = claimed & set(other.server_names or ("",))
            if both:
                what = f"the name {sorted(both)[0]}" if any(both) else "no server_names"
                hint = "Of listeners at one port each needs names of its own; one may have none, and gets the rest."
                raise Invalid(f"Listeners {one.name} and {other.name} both have {what}.", hint, f"listeners[{one.name}].server_names")


def _require_no_loop(listeners: Sequence[Listener], own: Sequence[str]) -> None:
    """Refuse a listener that would send connections to itself, or to another listener of this host. Raises Invalid."""
    ports = {one.port for one in listeners}
    for one in listeners:
        for backend in one.backends:
            if backend.host in own and backend.port in ports:
                hint = "A backend is a router of the platform, or at least another port."
                raise Invalid(f"Listener {one.name} would send to {backend}, which is a listener here.", hint, f"listeners[{one.name}].backends")
