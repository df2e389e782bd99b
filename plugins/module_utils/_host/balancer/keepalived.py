# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of keepalived, whole and from the wish alone, and the check of nginx that it runs. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.nginx import STATUS_PATH
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.wishes import Wish

FILE = "/etc/keepalived/keepalived.conf"
# The password of VRRP may be in it.
MODE = 0o600
HEADER = "# Managed by paas.hardening.load_balancer: what is changed here by hand is taken back."
# Who runs the check: an account that can do nothing else.
ACCOUNT = "paas-balancer"
FOLDER = "/etc/paas-hardening/load-balancer"
SCRIPT = f"{FOLDER}/check-nginx"
SCRIPT_MODE = 0o755
# Where the check leaves word which configuration keepalived has read.
RUN = "/run/paas-hardening-balancer"
TOLD = f"{RUN}/keepalived"
_UNKNOWN = "0" * 64
_SCRIPT = """#!/bin/bash
# Managed by paas.hardening.load_balancer. keepalived asks by this, every second, whether nginx answers on this host.
exec 2>/dev/null
echo "$1" > {told}
exec 3<>/dev/tcp/127.0.0.1/{port} || exit 1
printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3
read -r -t 0.5 _protocol status _rest <&3
[ "$status" = 200 ]
"""
# Three of these without an advertisement, and the next one takes over. VRRP 2, which a password needs, knows whole seconds only.
_ADVERTISE, _ADVERTISE_OLD = "0.5", "1"


class Rendered(NamedTuple):
    """The text, the option that each of its lines comes from, and the hash by which the running keepalived tells that it has read this."""

    text: str
    options: Tuple[str, ...]
    generation: str

    def option_of(self, complaint: str) -> str:
        """Return the option that a complaint of keepalived is about; empty when it names no line of ours."""
        found = re.search(r"[Ll]ine (\d+)", complaint)
        return self.options[int(found[1]) - 1] if found and 0 < int(found[1]) <= len(self.options) else ""


def script(wish: Wish) -> str:
    """Return the text of the check."""
    return _SCRIPT.format(told=TOLD, port=wish.status_port, path=STATUS_PATH)


def render(wish: Wish, interface: str) -> Rendered:
    """Return the whole configuration, for the interface that has the host's own address."""
    old = bool(wish.password)
    lines = [
        (HEADER, ""),
        ("global_defs {", ""),
        (f"    router_id {wish.name}", "name"),
        ("    enable_script_security", ""),
        (f"    script_user {ACCOUNT} {ACCOUNT}", ""),
        (f"    vrrp_version {2 if old else 3}", "vrrp_password"),
        # Only peers are listened to.
        *([("    vrrp_check_unicast_src", "")] if wish.peers else []),
        # Whoever missed the news of a move hears it again.
        ("    vrrp_garp_master_refresh 60", ""),
        ("}", ""),
        ("vrrp_script nginx {", ""),
        (f'    script "{SCRIPT} {_UNKNOWN}"', ""),
        ("    interval 1", ""),
        ("    timeout 2", ""),
        ("    fall 2", ""),
        ("    rise 2", ""),
        # At a start nobody takes the address before its nginx has answered.
        ("    init_fail", ""),
        ("}", ""),
        ("vrrp_instance paas_hardening {", ""),
        # The address stays where it is until there is a reason to move it: two moves would be one too many.
        ("    state BACKUP", ""),
        ("    nopreempt", ""),
        (f"    interface {interface}", "address"),
        (f"    virtual_router_id {wish.router_id}", "router_id"),
        (f"    priority {wish.priority}", "priority"),
        (f"    advert_int {_ADVERTISE_OLD if old else _ADVERTISE}", ""),
    ]
    if wish.peers:
        lines += [(f"    unicast_src_ip {wish.address}", "address"), ("    unicast_peer {", "peers")]
        lines += [*((f"        {peer}", "peers") for peer in wish.peers), ("    }", "")]
    if old:
        lines += [("    authentication {", ""), ("        auth_type PASS", ""), (f"        auth_pass {wish.password}", "vrrp_password"), ("    }", "")]
    lines += [("    virtual_ipaddress {", ""), *((f"        {one}", "virtual_addresses") for one in wish.virtual), ("    }", "")]
    lines += [("    track_script {", ""), ("        nginx", ""), ("    }", ""), ("}", "")]
    text = "\n".join(line for line, _option in lines) + "\n"
    # The hash stands on the check's command line, where everybody can read it: nothing of the password may be in it.
    plain = "\n".join(line for line, option in lines if option != "vrrp_password")
    generation = hashlib.sha256(plain.encode()).hexdigest()
    return Rendered(text.replace(_UNKNOWN, generation), tuple(option for _line, option in lines), generation)


def complaint_of(told: str, path: str) -> str:
    """Return keepalived's own words of why it does not take a file, under the name that the file will have."""
    lines = [line.strip() for line in told.splitlines() if line.strip() and not line.startswith("NOTICE")]
    return " / ".join(lines[-4:]).replace(path, FILE)[-600:]
