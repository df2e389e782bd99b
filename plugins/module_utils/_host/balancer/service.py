# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx and keepalived of the host that we are on: what there is of them, what they have read, and how they are told to read anew."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
import time
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, families, files, units
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer import keepalived, nginx, tls
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.wishes import Wish
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask, do

NGINX, KEEPALIVED = "nginx.service", "keepalived.service"
DROP_INS = {unit: f"/etc/systemd/system/{unit}.d/paas-hardening.conf" for unit in (NGINX, KEEPALIVED)}
DROP_IN_MODE = 0o644
_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
_NGINX_DROP_IN = """# Managed by paas.hardening.load_balancer.
[Unit]
StartLimitIntervalSec=0

[Service]
# However it ended but by an administrator, it comes back.
Restart=on-failure
RestartSec=1
LimitNOFILE=16384
"""
_KEEPALIVED_DROP_IN = """# Managed by paas.hardening.load_balancer.
[Unit]
Wants=nginx.service
After=nginx.service
StartLimitIntervalSec=0

[Service]
ExecStartPre=/usr/bin/install -d -o {account} -g {account} -m 0755 {run}
# However it ended, it leaves nothing behind: neither processes nor an address that somebody else has by then.
KillMode=mixed
{removals}Restart=on-failure
RestartSec=1
"""
# Seconds: until nginx has read a new configuration, until the check of keepalived has run, and after which its word is old.
_RELOAD, _CHECK, _OLD = 15.0, 15.0, 5.0
_PAUSE = 0.1
_IN_A_ROW = 6
_LOCAL = 2.0


class Seen(NamedTuple):
    """Everything of the balancer on this host. ``served`` and ``told`` are what the running nginx and keepalived have read."""

    missing: Tuple[str, ...]
    circumstances: nginx.Circumstances
    certificates: Tuple[tls.Seen, ...]
    interfaces: Dict[str, Tuple[str, ...]]
    account: Optional[accounts.Account]
    config: files.Kept
    addresses_config: files.Kept
    script: files.Kept
    drop_ins: Dict[str, files.Kept]
    units: Dict[str, units.State]
    served: Optional[str]
    told: Optional[str]

    def interface_of(self, address: str) -> Optional[str]:
        """Return the interface that has an address, or None."""
        return next((name for name, own in self.interfaces.items() if address in own), None)

    def holds(self, wish: Wish) -> Tuple[str, ...]:
        """Return the virtual addresses that this host has now."""
        return tuple(one.address for one in wish.virtual if self.interface_of(one.address))


def look(wish: Wish) -> Seen:
    """Look at all of it. Raises MissingDependency on a host without systemd."""
    units.require("nginx and keepalived are started and watched by it.")
    families.require(families.BALANCER, families.release())
    there = {name: shutil.which(name, path=_PLACES) is not None for name in ("nginx", "keepalived")}
    wanted = [
        ("nginx", not there["nginx"]),
        ("libnginx-mod-stream", bool(wish.passes) and not os.path.exists(_STREAM_MODULE)),
        ("keepalived", bool(wish.virtual) and not there["keepalived"]),
        ("openssl", bool(wish.certificates) and shutil.which("openssl", path=_PLACES) is None),
    ]
    certificates = tuple(tls.look(path, key) for path, key in wish.certificates)
    version = nginx.version_of(ask(["nginx", "-v"]).complaint) if there["nginx"] else ()
    return Seen(
        tuple(package for package, missing in wanted if missing),
        nginx.Circumstances(version, os.path.exists("/proc/net/if_inet6"), {one.path: one.text or "" for one in certificates}),
        certificates,
        _interfaces(),
        accounts.look(keepalived.ACCOUNT),
        files.look(nginx.FILE),
        files.look(keepalived.FILE),
        files.look(keepalived.SCRIPT),
        {unit: files.look(path) for unit, path in DROP_INS.items()},
        units.states((NGINX, KEEPALIVED)),
        served(wish.status_port),
        told(),
    )


def _interfaces() -> Dict[str, Tuple[str, ...]]:
    listed = json.loads(do(["ip", "-json", "address", "show"]) or "[]")
    return {str(one["ifname"]): tuple(str(entry["local"]) for entry in one.get("addr_info", ()) if "local" in entry) for one in listed if "ifname" in one}


def served(port: int) -> Optional[str]:
    """Return which configuration the running nginx has read, or None when it does not say."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_LOCAL) as connection:
            connection.settimeout(_LOCAL)
            connection.sendall(f"GET {nginx.STATUS_PATH} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while len(answer) < 4096:
                piece = connection.recv(4096)
                if not piece:
                    break
                answer += piece
    except OSError:
        return None
    head, _blank, body = answer.decode(errors="replace").partition("\r\n\r\n")
    return body.strip() if " 200 " in head.partition("\r\n")[0] else None


def told() -> Optional[str]:
    """Return which configuration the running keepalived has read, or None when its check has not run for a while."""
    try:
        if time.time() - os.stat(keepalived.TOLD).st_mtime > _OLD:
            return None
    except FileNotFoundError:
        return None
    return (files.look(keepalived.TOLD).text or "").strip()


def drop_in(unit: str, wish: Wish, interface: str) -> str:
    """Return what has to stand beside a unit of the distribution."""
    if unit == NGINX:
        return _NGINX_DROP_IN
    removals = "".join(f"ExecStopPost=-/usr/bin/ip address del {one} dev {interface}\n" for one in wish.virtual)
    return _KEEPALIVED_DROP_IN.format(account=keepalived.ACCOUNT, run=keepalived.RUN, removals=removals)


# Trying


def nginx_complains(rendered: nginx.Rendered) -> str:
    """Let nginx read a copy of a configuration as it would at a start; return its own words when it does not take it, else nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = _copy(folder, rendered.text)
        ended = ask(["nginx", "-t", "-q", "-c", path])
        return nginx.complaint_of(ended.complaint, path) or f"status {ended.status}" if ended.status else ""


def keepalived_complains(rendered: keepalived.Rendered) -> str:
    """Let keepalived read a copy of a configuration; return its own words when it does not take it, else nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = _copy(folder, rendered.text)
        ended = ask(["keepalived", "--config-test", f"--use-file={path}"])
        said = keepalived.complaint_of(ended.complaint + ended.output, path)
        # That of Debian 12 ends a test by a signal to itself, whatever it found: then its words count.
        if ended.status == 0 or (ended.status == -signal.SIGTERM and not said):
            return ""
        return said or f"status {ended.status}"


def _copy(folder: str, text: str) -> str:
    path = os.path.join(folder, "tried.conf")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    return path


# Writing


def write(path: str, text: str, mode: int) -> None:
    """Write a file of root's, and its folder if need be."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    files.replace(path, text, mode, "root")


def write_drop_in(unit: str, text: str) -> None:
    """Write what stands beside a unit, and let systemd read it."""
    units.write(DROP_INS[unit], text, DROP_IN_MODE)


def remove(path: str) -> None:
    """Remove a file."""
    if os.path.exists(path):
        os.unlink(path)


# Telling the programs


def start(unit: str) -> bool:
    """Start a unit, or let it read its configuration when it runs by now, as after its installation; tell whether systemd says that it runs."""
    if units.state(unit).active:
        return units.read_anew(unit)
    do(["systemctl", "unmask", "--quiet", unit])
    return units.begin(unit).status == 0


def make_run_folder() -> None:
    """Make the folder where the check leaves its word, as the unit does at its start."""
    do(["install", "-d", "-o", keepalived.ACCOUNT, "-g", keepalived.ACCOUNT, "-m", "0755", keepalived.RUN])


def await_served(wish: Wish, generation: str) -> bool:
    """Wait until the running nginx has read a configuration, and no process that has not answers any more; tell whether it is so."""
    in_a_row, deadline = 0, time.monotonic() + _RELOAD
    while in_a_row < _IN_A_ROW:
        # nginx lets its old processes go a moment after it has started the new ones.
        in_a_row = in_a_row + 1 if served(wish.status_port) == generation else 0
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


def await_told(generation: str) -> bool:
    """Wait until the running keepalived has read a configuration; tell whether it has."""
    return _wait(lambda: told() == generation, _CHECK)


def await_address(wish: Wish, address: str) -> bool:
    """Wait until a virtual address is on this host, or somebody answers at it; tell whether it is so."""
    return _wait(lambda: answers(address, wish.listeners[0].port) or any(address in own for own in _interfaces().values()), _CHECK)


def answers(address: str, port: int) -> bool:
    """Tell whether somebody accepts connections there."""
    try:
        with socket.create_connection((address, port), timeout=1.0):
            return True
    except OSError:
        return False


def _wait(look_again: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not look_again():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


def last_words(path: str, lines: int = 3) -> str:
    """Return the end of a log, for a message."""
    found: Sequence[str] = (files.look(path).text or "").splitlines()[-lines:]
    return " / ".join(found)[-600:]
