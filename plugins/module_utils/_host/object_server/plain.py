# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A door without TLS beside the server, for clients that speak none: stunnel takes what comes there to the server, whose certificate it verifies.

The server itself is told nothing of it: what is meant for administrators goes on by TLS.
"""

from __future__ import annotations

import os
import time
from typing import List, NamedTuple, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, RolloutFailed
from ansible_collections.paas.hardening.plugins.module_utils._host import certificates, files, units
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server import service
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import ACCOUNT, DATA, OURS, UNIT
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.wishes import Wish
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.signed import Door, in_plain_text

PLAIN_UNIT = "object-store-plain.service"
PLAIN_UNIT_FILE = f"/etc/systemd/system/{PLAIN_UNIT}"
CONFIGURATION = f"{OURS}/plain.conf"
PROGRAM, PACKAGE = "/usr/bin/stunnel4", "stunnel4"
# Seconds until it answers, and between two looks.
_START, _PAUSE, _PATIENCE = 30.0, 0.2, 5.0
_PRIVILEGED = 1024
_CONFIGURATION_TEXT = """; Managed by paas.hardening.object_store_server.
foreground = yes
debug = warning
pid =
[store]
client = yes
accept = {address}:{plain}
connect = {address}:{port}
CAfile = {authority}
verifyChain = yes
{name}
sslVersionMin = TLSv1.2
"""
_UNIT_TEXT = """# Managed by paas.hardening.object_store_server.
[Unit]
Description=Object store: a door without TLS
Wants=network-online.target
After=network-online.target {unit}

[Service]
Type=exec
User={account}
Group={account}
ExecStart={program} {configuration}
Restart=always
RestartSec=2
LimitNOFILE=65536
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
ProtectSystem=strict
InaccessiblePaths=-{data}
{fences}
[Install]
WantedBy=multi-user.target
"""


class Seen(NamedTuple):
    """The door as it is. ``fresh`` tells whether the process began after its files were written."""

    configuration: files.Kept
    unit: files.Kept
    drop_ins: Tuple[str, ...]
    enabled: bool
    active: bool
    fresh: bool

    @property
    def absent(self) -> bool:
        """There is nothing of it."""
        return self.configuration.text is None and self.unit.text is None and not self.active


NOTHING = Seen(files.Kept(None, 0, ""), files.Kept(None, 0, ""), (), False, False, False)


def look(wish: Wish) -> Seen:
    """Look at the door, whether one is wanted or not."""
    shown = units.shown(PLAIN_UNIT, ("UnitFileState", "ActiveState", "DropInPaths"))
    return Seen(
        files.look(CONFIGURATION),
        files.look(PLAIN_UNIT_FILE),
        units.drop_ins(shown.get("DropInPaths", "")),
        shown.get("UnitFileState") == "enabled",
        shown.get("ActiveState") == "active",
        service.written(CONFIGURATION, PLAIN_UNIT_FILE, wish.tls.authority) <= units.begun(PLAIN_UNIT),
    )


# What it has to be. Pure.


def configuration_text(wish: Wish) -> str:
    """Return what stunnel reads. It insists on the server's own name, whoever else has a certificate of the same authority."""
    name = wish.names[0]
    known = f"checkIP = {name}" if certificates.is_address(name) else f"checkHost = {name}\nsni = {name}"
    places = wish.places
    return _CONFIGURATION_TEXT.format(address=places.address, plain=wish.plain_port, port=places.port, authority=wish.tls.authority, name=known)


def unit_text(wish: Wish) -> str:
    """Return the unit. It reaches no data, and has no private key."""
    return _UNIT_TEXT.format(
        unit=UNIT,
        account=ACCOUNT,
        program=PROGRAM,
        configuration=CONFIGURATION,
        capabilities="CAP_NET_BIND_SERVICE" if wish.plain_port < _PRIVILEGED else "",
        data=DATA,
        fences=units.FENCES,
    )


def differences(wish: Wish, seen: Seen, renewed: bool) -> Tuple[Tuple[str, object, object], ...]:
    """Return (field, what is, what is wanted) of the door; None is what is not there. ``renewed``: the authority is about to be another one."""
    if not wish.plain_port:
        return () if seen.absent else (("door", "open", None),)
    found: List[Tuple[str, object, object]] = []
    for field, kept, text in (("configuration", seen.configuration, configuration_text(wish)), ("unit", seen.unit, unit_text(wish))):
        if kept.text != text or kept.owner != "root" or kept.mode & 0o022:
            found.append((field, None if kept.text is None else "another", "as the inventory says"))
    if not seen.enabled:
        found.append(("at boot", "disabled", "started"))
    if not seen.active:
        found.append(("running", False, True))
    elif renewed or not seen.fresh or any(field in ("configuration", "unit") for field, _now, _then in found):
        found.append(("restarted", "runs as it was", "runs as it is now"))
    return tuple(found)


# Doing


def open_door(wish: Wish, name: str) -> None:
    """Have the door, and wait until the server answers there. Raises RolloutFailed."""
    files.replace(CONFIGURATION, configuration_text(wish), 0o644, "root")
    units.write(PLAIN_UNIT_FILE, unit_text(wish))
    units.let_start(PLAIN_UNIT)
    ended = units.begin(PLAIN_UNIT, "restart")
    deadline = time.monotonic() + _START
    while ended.status == 0 and time.monotonic() < deadline:
        if answer(wish, name) == 403:
            return
        time.sleep(_PAUSE)
    raise RolloutFailed(f"The door without TLS does not open: {units.journal(PLAIN_UNIT)}", f"Ask: journalctl -u {PLAIN_UNIT}", subject=PLAIN_UNIT)


def shut() -> None:
    """Take the door away. Raises Failure."""
    if os.path.exists(PLAIN_UNIT_FILE):
        units.forget(PLAIN_UNIT)
    for path in (PLAIN_UNIT_FILE, CONFIGURATION):
        if os.path.exists(path):
            os.unlink(path)
    units.read_files()


def answer(wish: Wish, name: str) -> int:
    """Return the HTTP status that somebody without credentials gets there; 0 for none."""
    door = Door(name, wish.places.address, wish.plain_port, "", wish.places.region)
    try:
        return in_plain_text(door, _PATIENCE) or 0
    except Failure:
        return 0
