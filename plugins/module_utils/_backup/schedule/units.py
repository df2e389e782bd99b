# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a schedule consists of on a host: a timer and a service of systemd, the options of the run, and its program. Pure."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.continuity import hours
from ansible_collections.paas.hardening.plugins.module_utils._backup.duration import seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.metrics import check_path
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.engine import ENGINE as ARCHIVE
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.engine import working_folders
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

ROOT = "root"
ARGUMENTS: Dict[str, Any] = {
    "name": {"type": "str", "default": "platform"},
    "on_calendar": {"type": "str"},
    "randomized_delay": {"type": "str", "default": "10m"},
    "account": {"type": "str", "default": ROOT},
    "timeout": {"type": "str", "default": "12h"},
    "on_failure": {"type": "str"},
    "metrics_file": {"type": "path"},
    "image": {"type": "str"},
    "volume_claim": {"type": "str"},
    "service_account": {"type": "str", "default": "paas-hardening-backup"},
}
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_UNIT = re.compile(r"[A-Za-z0-9:_.@-]{1,200}\.(service|target)")
_CALENDAR = re.compile(r"[A-Za-z0-9 .,:*/~-]{1,200}")
# systemd gives every run folders of its own there, that go with it.
_PRIVATE = ("/tmp", "/var/tmp")
_HEADER = "# Managed by paas.hardening.workflow_backup: change its options, not this file.\n"
_TIMER = """[Unit]
Description=When to make recovery points: {name}

[Timer]
OnCalendar={calendar}
RandomizedDelaySec={delay}
AccuracySec=1s
# A run that was missed while the host was off is made up when it is on again.
Persistent=true
Unit={service}

[Install]
WantedBy=timers.target
"""
# It talks to the network and to sockets of its own, writes where it has to, and becomes the account of a scratch server.
_SERVICE = """[Unit]
Description=Make recovery points: {name}
Wants=network-online.target
After=network-online.target time-sync.target
RequiresMountsFor={mounts}
{on_failure}
[Service]
# Never twice at a time: systemd starts no second one, and the repository has a lock for whoever else works on it.
Type=oneshot
{user}ExecStart={command}
TimeoutStartSec={timeout}
TimeoutStopSec=60
StateDirectory={state}
StateDirectoryMode=0700
UMask=0077
Nice=10
IOSchedulingPriority=7
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
{home}
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices={plain}
PrivateIPC=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID={plain}
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
"""
_CAPABILITIES = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID"
_FILE_CAPABILITIES = "CAP_FSETID CAP_MKNOD CAP_SETFCAP CAP_SYS_ADMIN"


@dataclass(frozen=True)
class File:
    """A file as it has to be: its whole content, mode and owner."""

    path: str
    content: bytes
    mode: int
    owner: str = ROOT


@dataclass(frozen=True)
class Places:
    """Where the parts of a schedule of this name are."""

    name: str

    @property
    def timer(self) -> str:
        return f"paas-hardening-backup-{self.name}.timer"

    @property
    def service(self) -> str:
        return f"paas-hardening-backup-{self.name}.service"

    @property
    def timer_file(self) -> str:
        return f"/etc/systemd/system/{self.timer}"

    @property
    def service_file(self) -> str:
        return f"/etc/systemd/system/{self.service}"

    @property
    def options_file(self) -> str:
        return f"/etc/paas-hardening/backup-{self.name}.json"

    @property
    def program(self) -> str:
        return f"/usr/local/lib/paas-hardening/backup-{self.name}.pyz"

    @property
    def state(self) -> str:
        return f"/var/lib/paas-hardening-backup-{self.name}"

    @property
    def stamp(self) -> str:
        """Where systemd notes when the timer last went off."""
        return f"/var/lib/systemd/timers/stamp-{self.timer}"

    def files(self) -> Tuple[str, ...]:
        """In the order in which they are written: nothing is started by a timer before all of it is there."""
        return (self.program, self.options_file, self.service_file, self.timer_file)


@dataclass(frozen=True)
class Wish:
    """A schedule as it is asked for. ``timeout`` and ``delay`` are seconds; ``interpreter`` is the Python that runs it."""

    places: Places
    calendar: str
    delay: int
    account: str
    timeout: int
    on_failure: str
    interpreter: str
    options: Mapping[str, Any]
    metrics: str = ""

    def command(self) -> List[str]:
        return [self.interpreter, "-I", self.places.program, self.places.options_file]

    def files(self, program: bytes, home: str) -> Tuple[File, ...]:
        """Return all files of the schedule. ``home`` is the account's home folder."""
        places, repository, files = self.places, str(self.options["repository"]), "volumes" in self.options["kinds"]
        # The repository may not be there yet: the first run makes it.
        writable = [os.path.dirname(repository) if repository.rpartition("/")[0] else repository]
        if of_server(self.options):
            writable += working_folders(str(self.options["postgres"]["config"]))
        writable += [folder for folder in (str(self.options["postgres"]["scratch_folder"]),) if not below(folder, _PRIVATE)]
        writable += [os.path.dirname(self.metrics)] if self.metrics else []
        document = {"options": self.options, "state": places.state, **({"metrics": self.metrics} if self.metrics else {})}
        service = _SERVICE.format(
            name=places.name,
            mounts=" ".join(_path(path) for path in (repository, str(self.options["signing_key_file"]))),
            on_failure=f"OnFailure={self.on_failure}\n" if self.on_failure else "",
            # Named, root loses the right to become somebody else: systemd 257 drops CAP_SETUID then, when it filters calls.
            user=f"User={self.account}\n" if self.account != ROOT else "",
            command=" ".join(_word(word) for word in self.command()),
            timeout=self.timeout,
            state=os.path.basename(places.state),
            home=f"Environment={_path(f'HOME={home}')}",
            writable=" ".join(_path(path) for path in dict.fromkeys(writable)),
            capabilities=(f"{_CAPABILITIES} {_FILE_CAPABILITIES}" if files else _CAPABILITIES) if self.account == ROOT else "",
            # Whoever proves files by a restore makes some that are setuid, and devices.
            plain="no" if files else "yes",
        )
        timer = _TIMER.format(name=places.name, calendar=self.calendar, delay=self.delay, service=places.service)
        contents = (
            program,
            (json.dumps(document, indent=1, sort_keys=True) + "\n").encode("utf-8"),
            (_HEADER + service).encode("utf-8"),
            (_HEADER + timer).encode("utf-8"),
        )
        kinds = ((0o644, ROOT), (0o600, self.account), (0o644, ROOT), (0o644, ROOT))
        return tuple(File(path, content, *kind) for path, content, kind in zip(places.files(), contents, kinds))


def places_of(schedule: Mapping[str, Any]) -> Places:
    """Return where a schedule is. Raises Invalid for a name that is none."""
    name = str(schedule["name"])
    if not _NAME.fullmatch(name):
        raise Invalid(f"schedule.name is {name!r}.", "Use small letters, digits and hyphens, 40 at most.", "schedule.name")
    return Places(name)


def wish_of(params: Mapping[str, Any], arguments: Mapping[str, Any], interpreter: str) -> Wish:
    """Return what the options ask for. ``arguments`` is the specification that they were checked by. Raises Invalid for what a timer cannot do."""
    schedule = params["schedule"]
    calendar = str(schedule["on_calendar"] or "").strip()
    if not _CALENDAR.fullmatch(calendar):
        raise Invalid(f"schedule.on_calendar is {calendar!r}.", "Say when, as systemd.time(7) has it: daily, Mon..Fri 02:30, *-*-* 0/6:00:00.", "schedule")
    on_failure = str(schedule["on_failure"] or "")
    if on_failure and not _UNIT.fullmatch(on_failure):
        raise Invalid(f"schedule.on_failure is {on_failure!r}.", "Name a unit of systemd: tell-somebody.service.", "schedule.on_failure")
    if schedule["volume_claim"]:
        raise Invalid(
            "schedule.volume_claim is for a CronJob, and without schedule.image this is a timer.", "Give both, or none of them.", "schedule.volume_claim"
        )
    metrics = str(schedule["metrics_file"] or "")
    if metrics:
        check_path(metrics, "schedule.metrics_file")
    options = {name: value for name, value in absolute(params, arguments).items() if name not in ("schedule", "state")}
    _refuse_passing(options)
    if ("volumes" in options["kinds"] or of_server(options)) and schedule["account"] != ROOT:
        what = "volumes" if "volumes" in options["kinds"] else "a server's files"
        raise Invalid(f"schedule.account is {schedule['account']}, and only root can keep {what}.", "Give them a schedule of their own.", "schedule.account")
    return Wish(
        places_of(schedule),
        calendar,
        int(seconds_of(schedule["randomized_delay"], "schedule.randomized_delay")) if schedule["randomized_delay"] != "0" else 0,
        str(schedule["account"]),
        int(seconds_of(schedule["timeout"], "schedule.timeout")),
        on_failure,
        interpreter,
        options,
        metrics,
    )


def _refuse_passing(options: Mapping[str, Any]) -> None:
    """Refuse what is there now, but not when the timer goes off. Raises Invalid."""
    hosts_own = {"etcd", "volumes", "postgres"} if of_server(options) else {"etcd", "volumes"}
    if set(options["kinds"]) - hosts_own:
        kubeconfig = options["cluster"]["kubeconfig"]
        if not isinstance(kubeconfig, str) or not os.path.isabs(kubeconfig):
            raise Invalid(
                "A schedule needs the whole path of a kubeconfig.",
                "Give cluster.kubeconfig as a file that only its account can read: what is in the environment now is not there at night.",
                "cluster.kubeconfig",
            )
    refuse_used_up(options)
    for name in ("repository", "signing_key_file"):
        if below(str(options[name]), _PRIVATE):
            raise Invalid(f"{name} lies in {_PRIVATE[0]} or {_PRIVATE[1]}.", "Every run has folders of its own there: give another place.", name)


def of_server(options: Mapping[str, Any]) -> bool:
    """Tell whether a server of this very host is kept, for which nobody asks a cluster."""
    return "postgres" in options["kinds"] and options["postgres"]["engine"] == ARCHIVE


def refuse_late(max_age: str, shortest: float, delay: float, what: str) -> None:
    """Refuse a schedule of which every second run would find the last point young enough. ``shortest`` and ``delay`` are seconds. Raises Invalid."""
    if shortest and seconds_of(max_age, "max_age") > shortest - delay:
        raise Invalid(
            f"max_age is {max_age}, and {what} each {hours(shortest)}, up to {delay:g} s late.",
            f"Runs would find the last point young enough: give a max_age below {hours(max(shortest - delay, 0.0))}.",
            "max_age",
        )


def refuse_used_up(options: Mapping[str, Any]) -> None:
    """Refuse an API server that is empty for the first run only. Raises Invalid."""
    if "objects" in options["kinds"] and options["objects"]["empty_server"]:
        raise Invalid(
            "objects.empty_server serves one proof, and a schedule makes many.",
            "Give objects.apiserver_folder, a folder with kube-apiserver and etcd: each run starts a server of its own, and throws it away.",
            "objects.empty_server",
        )


def absolute(options: Mapping[str, Any], arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """Return options whose paths do not depend on where we are."""
    found: Dict[str, Any] = {}
    for name, value in options.items():
        spec = arguments.get(name, {})
        if isinstance(value, Mapping) and "options" in spec:
            found[name] = absolute(value, spec["options"])
        elif isinstance(value, str) and spec.get("type") == "path":
            found[name] = os.path.abspath(value)
        elif isinstance(value, list) and spec.get("elements") == "path":
            found[name] = [os.path.abspath(entry) for entry in value]
        else:
            found[name] = value
    return found


def below(path: str, folders: Tuple[str, ...]) -> bool:
    return any((path + "/").startswith(f"{folder}/") for folder in folders)


def _word(text: str) -> str:
    """Write one word as systemd reads it: quoted, and without what it would replace."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    if any(ord(letter) < 32 for letter in escaped):
        raise Invalid(f"{text!r} cannot stand in a unit of systemd.", "Give paths without control characters.", "schedule")
    return f'"{escaped}"'


def _path(text: str) -> str:
    # Lists of paths and variables know no $.
    return _word(text).replace("$$", "$")
