"""Wishes and observations of a load balancer, to be varied."""

from __future__ import annotations

import datetime
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_load_balancer_plan import Observed
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, files, units
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer import keepalived, nginx, service, tls
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.wishes import ARGUMENTS, LISTENER_OPTIONS, Wish, wish_of

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
OWN, PEER, VIRTUAL = "10.0.0.2", "10.0.0.3", "10.0.0.9"
NO_FILE = files.Kept(None, 0, "")
BARE = nginx.Circumstances((1, 22, 1), True, {})
CERTIFICATE, KEY = "/etc/ssl/site.crt", "/etc/ssl/site.key"


def listener(**options: Any) -> dict[str, Any]:
    """One listener as the module gets it, with every option."""
    return {**{name: option.get("default") for name, option in LISTENER_OPTIONS.items()}, "name": "web", "port": 80, **options}


def secured(**options: Any) -> dict[str, Any]:
    """One at which nginx ends TLS."""
    return listener(**{"name": "portal", "port": 443, "mode": "http", "tls_certificate": CERTIFICATE, "tls_key": KEY, **options})


def wish(*listeners: dict[str, Any], **options: Any) -> Wish:
    given = {name: option.get("default") for name, option in ARGUMENTS.items()}
    return wish_of({**given, "name": "lb1", "address": OWN, "backends": ["10.0.1.1", "10.0.1.2"], "listeners": list(listeners) or [listener()], **options})


def observed(wanted: Wish, **changes: Any) -> Observed:
    """A host where everything is as wanted, but for the changes to what is seen."""
    here = BARE._replace(certificates={path: "PEM" for path, _key in wanted.certificates})
    names = tuple(name for one in wanted.listeners for name in one.server_names)
    ends = NOW + datetime.timedelta(days=365)
    certificates = tuple(tls.Seen(path, "PEM", ends, names, True, key, files.Kept("", 0o600, "root")) for path, key in wanted.certificates)
    config, addresses = nginx.render(wanted, here), keepalived.render(wanted, "eth0") if wanted.virtual else None
    seen = service.Seen(
        (),
        here,
        certificates,
        {"lo": ("127.0.0.1",), "eth0": (OWN, VIRTUAL)},
        accounts.Account(999, "/usr/sbin/nologin"),
        files.Kept(config.text, nginx.MODE, "root"),
        files.Kept(addresses.text, keepalived.MODE, "root") if addresses else NO_FILE,
        files.Kept(keepalived.script(wanted), keepalived.SCRIPT_MODE, "root"),
        {unit: files.Kept(service.drop_in(unit, wanted, "eth0"), service.DROP_IN_MODE, "root") for unit in service.DROP_INS},
        {unit: units.State(True, True, False) for unit in service.DROP_INS},
        config.generation,
        addresses.generation if addresses else None,
    )._replace(**changes)
    return Observed(seen, seen.interface_of(wanted.address), config, addresses, "", "", NOW)
