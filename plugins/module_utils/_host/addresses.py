# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of the host that we are on, on which a server is to listen."""

from __future__ import annotations

import ipaddress
import socket

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused


def address_of(value: str, option: str) -> str:
    """Return one address as it is written usually. Raises Invalid for what is none, and for the address that stands for all."""
    hint = "Give the addresses of this host that clients connect to."
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise Invalid(f"{option}: {value} is no address.", hint, option) from None
    if address.is_unspecified:
        raise Invalid(f"{option}: {value} is every address that this host has or will have.", "Name those that clients connect to.", option)
    return str(address)


def require_own(address: str, option: str, variable: str) -> None:
    """Refuse an address that this host does not have: a server could not listen there. ``variable`` is what the role calls the option. Raises Refused."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as test:
        try:
            test.bind((address, 0))
        except OSError:
            hint = f"Give those that `ip address` shows there ({variable}); one that is translated on the way belongs into names."
            raise Refused(f"{option}: {address} is no address of this host.", hint, option) from None
