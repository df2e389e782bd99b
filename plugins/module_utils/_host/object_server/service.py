# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The S3 server as a service of this host: its program, its account, its environment, the unit that shuts it in, and the process that runs."""

from __future__ import annotations

import os
import shutil
import time
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, RolloutFailed, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, files, program, units
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import (
    ACCOUNT,
    ENVIRONMENT_FILE,
    OURS,
    TLS_FOLDER,
    UNIT,
    UNIT_FILE,
    Places,
)
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.wishes import Wish
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.signed import Client, shown_certificate

ENVIRONMENT_MODE = 0o600
_PRIVILEGED = 1024
# Seconds: until a stopped server has ended, until one that was started is well, and until it has read its certificate.
STOP, _START, _RELOAD, _PAUSE = 180.0, 60.0, 15.0, 0.2
# How often a server ends by itself right after its start before nothing more is hoped for.
_TRIES = 3
_UNIT_TEXT = """# Managed by paas.hardening.object_store_server.
[Unit]
Description=Object store: {title}
Wants=network-online.target
After=network-online.target
RequiresMountsFor={volumes}
{mounted}
[Service]
Type=exec
User={account}
Group={account}
EnvironmentFile={environment}
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
TimeoutStopSec=120
LimitNOFILE=1048576
TasksMax=infinity
OOMScoreAdjust=-500
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
ProtectSystem=strict
ReadWritePaths={volumes}
{fences}
[Install]
WantedBy=multi-user.target
"""


class Seen(NamedTuple):
    """What is on this host. ``digest`` is that of the program (empty: there is none), ``links`` are the names under which the server finds its certificate."""

    missing: Tuple[str, ...]
    account: Optional[accounts.Account]
    binary: program.Seen
    environment: files.Kept
    unit: files.Kept
    drop_ins: Tuple[str, ...]
    links: Mapping[str, str]
    folders: Mapping[str, files.Folder]
    enabled: bool
    process: Optional[program.Process]
    used: bool

    def __repr__(self) -> str:
        return f"Seen(binary={self.binary!r}, process={self.process!r})"


def look(wish: Wish, more: Sequence[Tuple[str, str]] = ()) -> Seen:
    """Look at all of it. ``more`` are programs that are needed beside, with their packages. Raises MissingDependency on a host without systemd."""
    units.require("The server is a service of systemd.")
    kept = program.look(wish.backend.program)
    shown = units.shown(UNIT, ("UnitFileState", "MainPID", "DropInPaths"))
    needed = (("openssl", "openssl"), *more)
    return Seen(
        tuple(package for name, package in needed if shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin") is None),
        accounts.look(ACCOUNT),
        kept,
        files.look(ENVIRONMENT_FILE),
        files.look(UNIT_FILE),
        units.drop_ins(shown.get("DropInPaths", "")),
        {name: _target(f"{TLS_FOLDER}/{name}") for name in links_of(wish)},
        {path: files.look_at_folder(path) for path in folders_of(wish)},
        shown.get("UnitFileState") == "enabled",
        program.process_of(UNIT, int(shown.get("MainPID") or 0), wish.backend.program),
        any(os.path.isdir(volume) and bool(_names_in(volume)) for volume in wish.places.volumes),
    )


def _names_in(folder: str) -> List[str]:
    # An empty ext4 has this one already; folders that we made ourselves are no use of them.
    return [name for name in os.listdir(folder) if name != "lost+found" and (not os.path.isdir(f"{folder}/{name}") or os.listdir(f"{folder}/{name}"))]


def _target(path: str) -> str:
    return os.readlink(path) if os.path.islink(path) else ""


# What it has to be. Pure.


def environment_text(variables: Mapping[str, str]) -> str:
    """Return the environment as systemd reads it. What a value may hold needs no more than quotes."""
    lines = "".join(f'{name}="{value}"\n' for name, value in sorted(variables.items()))
    return f"# Managed by paas.hardening.object_store_server.\n{lines}"


def environment_of(text: str) -> Dict[str, str]:
    """Return what an environment file says."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            found[name] = value.strip().strip("\"'")
    return found


def unit_text(wish: Wish) -> str:
    """Return the unit. On a disk that is not there the server is not started: it would write into the system's own file system."""
    mounted = "".join(f"AssertPathIsMountPoint={place.where}\n" for place, _device in wish.disks)
    return _UNIT_TEXT.format(
        title=wish.backend.title,
        volumes=" ".join(wish.places.volumes),
        mounted=mounted,
        account=ACCOUNT,
        environment=ENVIRONMENT_FILE,
        command=" ".join(wish.backend.command(wish.places)),
        fences=units.FENCES,
        capabilities="CAP_NET_BIND_SERVICE" if wish.places.port < _PRIVILEGED else "",
    )


def links_of(wish: Wish) -> Dict[str, str]:
    """Return under which names the server looks for its certificate, and where that is."""
    return {"public.crt": wish.tls.certificate, "private.key": wish.tls.key}


def folders_of(wish: Wish) -> Dict[str, int]:
    """Return the folders that are the account's, with their modes. What is in them is the server's alone."""
    within = {f"{wish.places.volumes[0]}/{name}": 0o700 for name in wish.backend.folders}
    return {**dict.fromkeys(wish.places.volumes, 0o750), **within}


def stale(wish: Wish, seen: Seen, unit_time: float) -> List[str]:
    """Return why the process that runs is not the one that is wanted; nothing when it is. Pure. ``unit_time`` is when the unit's file was written."""
    process = seen.process
    if process is None:
        return []
    found = [] if process.current else ["another program"]
    if list(process.words) != wish.backend.command(wish.places):
        found.append("another command line")
    obeyed = {name: value for name, value in process.environment.items() if name in wish.variables or name.startswith(wish.backend.prefixes)}
    if obeyed != dict(wish.variables):
        found.append("another environment")
    if unit_time > process.since:
        found.append("an older unit")
    return found


def unit_time() -> float:
    """Return when the unit's file was written, in seconds since 1970; 0 when there is none, or when that is not over by a clock that was set back."""
    return written(UNIT_FILE)


def written(*paths: str) -> float:
    """Return when the newest of these files was written, likewise."""
    return max((found for found in (os.stat(path).st_mtime for path in paths if os.path.exists(path)) if found <= time.time()), default=0.0)


# Doing


def link(name: str, target: str) -> None:
    """Let the server find a file of its certificate under a name."""
    os.makedirs(TLS_FOLDER, mode=0o755, exist_ok=True)
    fresh = f"{TLS_FOLDER}/.{name}.new"
    if os.path.lexists(fresh):
        os.unlink(fresh)
    os.symlink(target, fresh)
    os.replace(fresh, f"{TLS_FOLDER}/{name}")


def write_environment(text: str) -> None:
    """Write the environment, for root alone: systemd reads it before the server has its account."""
    os.makedirs(OURS, mode=0o755, exist_ok=True)
    files.replace(ENVIRONMENT_FILE, text, ENVIRONMENT_MODE)


def start(client: Client, paths: Sequence[str], verb: str = "start") -> None:
    """Start the server, or restart it, and wait until it says that it is well. Raises RolloutFailed with what its log says."""
    ended = units.begin(UNIT, verb, STOP)
    deadline = time.monotonic() + _START
    unwell = f"systemctl {verb} ended with {ended.status}"
    while ended.status == 0 and time.monotonic() < deadline:
        unwell = illness(client, paths)
        if not unwell:
            program.forget_former()
            return
        state = units.shown(UNIT, ("ActiveState", "NRestarts"))
        if state.get("ActiveState") == "failed" or int(state.get("NRestarts") or 0) >= _TRIES:
            break
        time.sleep(_PAUSE)
    raise RolloutFailed(f"The server does not start ({unwell}): {units.journal(UNIT)}", f"Ask: journalctl -u {UNIT}", subject=UNIT)


def illness(client: Client, paths: Sequence[str]) -> str:
    """Return in words what the server says of itself that is not well, nothing when all is."""
    try:
        for path in paths:
            answer = client.ask_once("GET", path)
            if answer.status != 200:
                return f"{path}: {answer}"
    except Failure as failure:
        return failure.message
    return ""


def reload(wanted: bytes, places: Places) -> None:
    """Let the server read its certificate anew, and wait until it shows that one (DER). Raises TimedOut."""
    if not units.read_anew(UNIT):
        raise RolloutFailed("The server cannot be told to read its certificate.", f"Ask: journalctl -u {UNIT}", UNIT)
    deadline = time.monotonic() + _RELOAD
    while shown_certificate(places.address, places.port) != wanted:
        if time.monotonic() > deadline:
            raise TimedOut("The server does not show its new certificate.", f"Its log says why: journalctl -u {UNIT}", UNIT)
        time.sleep(_PAUSE)


class Before(NamedTuple):
    """What there was before a change that did not work out."""

    environment: Optional[str]
    unit: Optional[str]

    def __repr__(self) -> str:
        return "Before()"


def put_back(before: Before, path: str) -> None:
    """Make program, environment and unit what they were. What was not there before is left, so that it can be looked at."""
    program.put_back(path)
    if before.environment is not None:
        write_environment(before.environment)
    if before.unit is not None:
        units.write(UNIT_FILE, before.unit)
