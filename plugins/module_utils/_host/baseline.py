# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every host beside a cluster needs, whatever it does: its time, its updates, its limits, its journal, and no swap. Files of our own, read last."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host import families, files, units
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask, do

ENABLED, DISABLED, UNMANAGED = "enabled", "disabled", "unmanaged"
ARGUMENTS: Dict[str, Any] = {
    "time_sync": {"type": "str", "choices": [ENABLED, UNMANAGED], "default": ENABLED},
    "time_servers": {"type": "list", "elements": "str", "default": []},
    "security_updates": {"type": "str", "choices": [ENABLED, DISABLED, UNMANAGED], "default": ENABLED},
    "open_files": {"type": "int", "default": 65536},
    "journal_size": {"type": "str", "default": "1G"},
    "swap": {"type": "str", "choices": [DISABLED, UNMANAGED], "default": UNMANAGED},
}
JOURNAL, JOURNALD = "/etc/systemd/journald.conf.d/zz-paas-hardening.conf", "systemd-journald.service"
TIME, TIMESYNCD = "/etc/systemd/timesyncd.conf.d/zz-paas-hardening.conf", "systemd-timesyncd.service"
LIMITS = "/etc/systemd/system.conf.d/zz-paas-hardening.conf"
LOGINS = "/etc/security/limits.d/zz-paas-hardening.conf"
UPDATES = "/etc/apt/apt.conf.d/zz-paas-hardening"
TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")
FSTAB = "/etc/fstab"
MODE = 0o644
_NOTICE = "Managed by paas.hardening.host_baseline.\n"
_HARD = 524288
_SIZE = re.compile(r"[1-9][0-9]{0,6}[KMGT]")
_SERVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}")
# Programs that keep the time, beside systemd's own: where one runs, it is left alone.
_KEEPERS = ("chrony.service", "chronyd.service", "ntp.service", "ntpsec.service", "openntpd.service")
_DUMPED = re.compile(r'^([\w:-]+) "(.*)";$', re.MULTILINE)


class Wish(NamedTuple):
    """What a host has to have."""

    time_sync: bool
    time_servers: Tuple[str, ...]
    security_updates: str
    open_files: int
    journal_size: str
    no_swap: bool


class Seen(NamedTuple):
    """What a host has. ``overridden`` tells by file which settings in it do not count, and what counts instead."""

    container: bool
    kept: Mapping[str, files.Kept]
    overridden: Mapping[str, Tuple[Tuple[str, str, str], ...]]
    missing: Tuple[str, ...]
    keeper: str
    synchronized: bool
    states: Mapping[str, units.State]
    stale: Tuple[str, ...]
    security: bool
    swaps: Tuple[str, ...]
    swap_lines: Tuple[Tuple[int, str], ...]


def wish_of(params: Mapping[str, Any]) -> Wish:
    """Return the wish. Raises Invalid, which names the option, its value and what to write instead."""
    if not 1024 <= params["open_files"] <= 1 << 20:
        raise Invalid(f"open_files is {params['open_files']}.", "Give 1024 to 1048576.", "open_files")
    if not _SIZE.fullmatch(params["journal_size"]):
        raise Invalid(f"journal_size is {params['journal_size']!r}.", "Give a number with K, M, G or T, like 1G.", "journal_size")
    for server in params["time_servers"]:
        if not _SERVER.fullmatch(server):
            raise Invalid(f"time_servers: {server!r} is no name of a host.", "Give names or addresses.", "time_servers")
    return Wish(
        params["time_sync"] == ENABLED,
        tuple(params["time_servers"]),
        params["security_updates"],
        params["open_files"],
        params["journal_size"],
        params["swap"] == DISABLED,
    )


def settings_of(wish: Wish) -> Dict[str, Dict[str, str]]:
    """Return by file what is set in it. Pure."""
    found = {
        JOURNAL: {"Storage": "persistent", "SystemMaxUse": wish.journal_size},
        LIMITS: {"DefaultLimitNOFILE": f"{wish.open_files}:{_most(wish)}"},
        LOGINS: {f"{who} {kind}": value for who in ("*", "root") for kind, value in (("soft", str(wish.open_files)), ("hard", str(_most(wish))))},
    }
    if wish.time_sync and wish.time_servers:
        found[TIME] = {"NTP": " ".join(wish.time_servers)}
    if wish.security_updates != UNMANAGED:
        value = "1" if wish.security_updates == ENABLED else "0"
        found[UPDATES] = {
            "APT::Periodic::Update-Package-Lists": value,
            "APT::Periodic::Unattended-Upgrade": value,
            "Unattended-Upgrade::Automatic-Reboot": "false",
        }
    return found


def _most(wish: Wish) -> int:
    """What a service may ask for: no less than systemd lets it by itself."""
    return max(wish.open_files, _HARD)


def text_of(path: str, settings: Mapping[str, str]) -> str:
    """Return a file as its program reads it. Pure."""
    if path == UPDATES:
        return f"// {_NOTICE}" + "".join(f'{name} "{value}";\n' for name, value in settings.items())
    if path == LOGINS:
        return f"# {_NOTICE}" + "".join(f"{who} nofile {value}\n" for who, value in settings.items())
    section = {JOURNAL: "Journal", TIME: "Time", LIMITS: "Manager"}[path]
    return f"# {_NOTICE}[{section}]\n" + "".join(f"{name}={value}\n" for name, value in settings.items())


def look(wish: Wish) -> Seen:
    """Look at all of it. Raises MissingDependency on a host without systemd."""
    units.require("Its time, limits and journal are settings of systemd.")
    system = families.release()
    if wish.security_updates != UNMANAGED:
        families.require(families.UPDATES, system)
    wanted = settings_of(wish)
    kept = {path: files.look(path) for path in wanted}
    states = units.states([*TIMERS, TIMESYNCD, *_KEEPERS])
    keeper = next((name for name in _KEEPERS if states[name].active or states[name].enabled), "")
    timesyncd = any(os.path.exists(f"{folder}/systemd/systemd-timesyncd") for folder in ("/usr/lib", "/lib"))
    container = ask(["systemd-detect-virt", "--quiet", "--container"]).status == 0
    missing = ["systemd-timesyncd"] if wish.time_sync and not container and not keeper and not timesyncd else []
    if missing:
        families.require(families.TIME, system)
    upgrades = shutil.which("unattended-upgrade", path="/usr/sbin:/usr/bin:/sbin:/bin") is not None
    missing += ["unattended-upgrades"] if wish.security_updates == ENABLED and not upgrades else []
    apt = _apt() if UPDATES in wanted else {}
    return Seen(
        container,
        kept,
        {path: tuple(_overridden(path, settings, apt)) for path, settings in wanted.items() if kept[path].text == text_of(path, settings)},
        tuple(missing),
        keeper,
        ask(["timedatectl", "show", "--property=NTPSynchronized", "--value"]).output.strip() == "yes",
        states,
        tuple(unit for path, unit in ((JOURNAL, JOURNALD), (TIME, TIMESYNCD)) if path in wanted and _older(unit, path)),
        any("ecurity" in value for value in apt.values()),
        tuple(line.split()[0] for line in (files.look("/proc/swaps").text or "").splitlines()[1:]),
        tuple(swap_lines(files.look(FSTAB).text or "")),
    )


def _older(unit: str, path: str) -> bool:
    """Tell whether a unit has not read a file since that was written."""
    since = units.begun(unit)
    return bool(since) and os.path.exists(path) and os.stat(path).st_mtime > since


def _apt() -> Dict[str, str]:
    dumped: Dict[str, str] = {}
    for number, (name, value) in enumerate(_DUMPED.findall(ask(["apt-config", "dump"]).output)):
        if name.startswith(("APT::Periodic", "Unattended-Upgrade")):
            # Lists have one name and several values.
            dumped[f"{name}{number}" if name.endswith("::") else name] = value
    return dumped


def _overridden(path: str, settings: Mapping[str, str], apt: Mapping[str, str]) -> List[Tuple[str, str, str]]:
    """Return (setting, what counts, what our file says) of settings that something else overrides."""
    if path == UPDATES:
        counts: Mapping[str, str] = apt
    elif path == LIMITS:
        shown = units.shown("", ["DefaultLimitNOFILE", "DefaultLimitNOFILESoft"])
        counts = {"DefaultLimitNOFILE": f"{shown.get('DefaultLimitNOFILESoft')}:{shown.get('DefaultLimitNOFILE')}"}
    elif path == LOGINS:
        return []
    else:
        counts = effective(ask(["systemd-analyze", "cat-config", f"systemd/{os.path.basename(os.path.dirname(path))[:-2]}"]).output)
    return [(name, counts.get(name, "nothing"), value) for name, value in settings.items() if counts.get(name) != value]


def effective(text: str) -> Dict[str, str]:
    """Return what counts of settings that stand in one file after the other. Pure."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.lstrip().startswith(("#", ";")))
    return {name.strip(): value.strip() for name, _equals, value in pairs}


def swap_lines(text: str) -> List[Tuple[int, str]]:
    """Return number and text of each line of a table of file systems that brings swap. Pure."""
    lines = ((number, line) for number, line in enumerate(text.splitlines(), start=1) if not line.lstrip().startswith("#"))
    return [(number, line.strip()) for number, line in lines if len(line.split()) > 2 and line.split()[2] == "swap"]


# Doing


def write(path: str, text: str) -> None:
    """Write one of our files."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    files.replace(path, text, MODE)


def take_effect(path: str) -> None:
    """Let the program that a file is for read it. Raises Failure."""
    if path == LIMITS:
        do(["systemctl", "daemon-reexec"])
    elif path in (JOURNAL, TIME):
        units.restart(JOURNALD if path == JOURNAL else TIMESYNCD)
    if path == JOURNAL:
        do(["journalctl", "--flush"])


def begin(unit: str, boot: bool, now: bool) -> None:
    """Start a unit at every boot, and now. Raises Failure."""
    if boot:
        units.let_start(unit)
    if now:
        units.start(unit)


def no_swap(device: Optional[str]) -> None:
    """Use a swap device no more; without one, take those lines out of the table of file systems by which it would come back. Raises Failure."""
    if device:
        do(["swapoff", device], hint="Is there memory enough for what is in it?", seconds=600)
        return
    kept = files.look(FSTAB)
    lines = (kept.text or "").splitlines()
    for number, _text in swap_lines(kept.text or ""):
        lines[number - 1] = f"# paas.hardening: no swap: {lines[number - 1]}"
    files.replace(FSTAB, "\n".join(lines) + "\n", kept.mode, kept.owner)
