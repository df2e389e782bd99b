# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which settings a server has to have, and in what it differs: by its files, by ALTER SYSTEM, and by what is in force."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._host.certificates import CIPHERS
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import PORT, Layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.live import Line, Live, Setting
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.values import as_number, canonical, line, text_of

_HEADER = "# Managed by paas.hardening.postgres_server. What it sets is judged by pg_settings: change the inventory, not this file.\n"
_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")
# What has an option of its own, or is no matter of taste.
_GUARDED = {
    "listen_addresses": "It follows from addresses (postgres_server_addresses).",
    "port": f"It is {PORT}.",
    "ssl": "TLS is always on.",
    "ssl_cert_file": "Give tls_certificate (postgres_server_tls_certificate).",
    "ssl_key_file": "Give tls_key (postgres_server_tls_key).",
    "password_encryption": "It is scram-sha-256.",
    "hba_file": "It is Debian's own place.",
    "ident_file": "It is Debian's own place.",
    "data_directory": "It is Debian's own place; a disk is given by data_disk.",
    "fsync": "Without it a power cut destroys data.",
    "full_page_writes": "Without it a power cut destroys data.",
    "max_connections": "Give connections (postgres_server_connections).",
    "synchronous_standby_names": "Give synchronous (postgres_server_synchronous).",
    "primary_conninfo": "It follows from primary (postgres_server_primary).",
    "primary_slot_name": "It follows from primary (postgres_server_primary).",
}
_STANZA = re.compile(r"[A-Za-z0-9][\w.-]{0,59}")
_LEVELS = ("minimal", "replica", "logical")
# A standby has to have as much of each as its primary: the setting, and its line in pg_controldata.
FLOORS = {
    "max_connections": "max_connections setting",
    "max_worker_processes": "max_worker_processes setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
}
# A derived value that is so near to what our file has is left as it is: nothing is restarted for it.
_NEAR = 0.1
_AUTO = "postgresql.auto.conf"


class Differences(NamedTuple):
    """What has to change: (setting, before, after, why); what ALTER SYSTEM has to forget; lines of other files that have to go; what needs a restart."""

    fields: Tuple[Tuple[str, Any, Any, str], ...]
    forget: Tuple[str, ...]
    lines: Tuple[Line, ...]
    restart: Tuple[str, ...]
    waiting: Tuple[str, ...]


def given_settings(given: Mapping[str, Any]) -> Dict[str, str]:
    """Return the settings of an inventory as text. Raises Invalid, naming the setting, its value and what to do."""
    found = {}
    for name, value in given.items():
        text = text_of(value)
        if not _NAME.fullmatch(name):
            raise Invalid(f"settings: {name!r} is no name of a setting.", "Give it in small letters, as pg_settings has it.", "settings")
        if name in _GUARDED:
            raise Invalid(f"settings: {name} is {text}, which is not given here.", _GUARDED[name], f"settings.{name}")
        if isinstance(value, (dict, list)) or value is None or any(ord(character) < 32 for character in text):
            raise Invalid(f"settings: {name} is {value!r}, which is no value.", "Give a number, a word or a text.", f"settings.{name}")
        found[name] = text
    level = found.get("wal_level", "replica")
    if level not in _LEVELS or level == "minimal":
        raise Invalid(f"settings: wal_level is {level}.", "Give replica or logical: with less there is no standby and no archive.", "settings.wal_level")
    return found


def archiving(stanza: str, given: Mapping[str, str]) -> Dict[str, str]:
    """Return the settings by which pgBackRest gets the log, each minute at the latest. Raises Invalid when they are given by hand, too. Pure."""
    if not _STANZA.fullmatch(stanza):
        raise Invalid(f"archive_stanza is {stanza!r}.", "Give letters, digits, points and dashes.", "archive_stanza")
    for name in ("archive_mode", "archive_command", "archive_library"):
        if name in given:
            raise Invalid(f"settings: {name} is {given[name]}, and archive_stanza is {stanza}.", "Give one of them.", f"settings.{name}")
    return {"archive_mode": "on", "archive_command": f"pgbackrest --stanza={stanza} archive-push %p", "archive_timeout": "60"}


def fixed(layout: Layout, addresses: Sequence[str], certificate: str, key: str, connections: int) -> Dict[str, str]:
    """Return the settings that every server has."""
    return {
        "listen_addresses": ",".join(dict.fromkeys(["localhost", *addresses])),
        "port": str(PORT),
        "max_connections": str(connections),
        "password_encryption": "scram-sha-256",
        "ssl": "on",
        "ssl_cert_file": certificate,
        "ssl_key_file": key,
        "ssl_min_protocol_version": "TLSv1.2",
        # Its own choice lets in such as are not authenticated (CBC).
        "ssl_ciphers": CIPHERS,
        "hba_file": layout.access_file,
        "ident_file": layout.ident_file,
        "fsync": "on",
        "full_page_writes": "on",
        "wal_level": "replica",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "hot_standby": "on",
        "checkpoint_completion_target": "0.9",
    }


def adjusted(wanted: Mapping[str, str], derived: Mapping[str, str], path: str, live: Optional[Live]) -> Dict[str, str]:
    """Return the wanted settings as they suit the server that runs: the level of its log is never lowered, and what is near enough stays. Pure."""
    found = dict(wanted)
    if live is None:
        return found
    runs = live.settings.get("wal_level")
    known = [found["wal_level"], *([runs.value] if runs else []), *(entry.value for entry in live.lines if entry.name == "wal_level")]
    found["wal_level"] = max((level for level in known if level in _LEVELS), key=_LEVELS.index)
    for name in derived:
        mine, setting = _last(live.lines, path, name), live.settings.get(name)
        if mine is None or setting is None or found[name] != derived[name]:
            continue
        there, here = (as_number(canonical(value, setting.kind, setting.unit)) for value in (mine.value, derived[name]))
        if there is not None and here is not None and here > 0 and abs(there - here) <= _NEAR * here:
            found[name] = mine.value
    return found


def raised(wanted: Mapping[str, str], control: Mapping[str, str]) -> Dict[str, str]:
    """Return the settings of a standby: nowhere less than its primary has, as pg_controldata tells. Pure."""
    found = dict(wanted)
    for name, row in FLOORS.items():
        floor = control.get(row, "")
        if floor.isdigit() and int(floor) > int(found.get(name, "0")) and (name in found or int(floor) > (64 if name == "max_locks_per_transaction" else 0)):
            found[name] = floor
    return found


def render(wanted: Mapping[str, str]) -> str:
    """Return the whole file."""
    return _HEADER + "".join(f"{line(name, value)}\n" for name, value in wanted.items())


def differences(wanted: Mapping[str, str], layout: Layout, include_number: int, live: Live, may_restart: bool) -> Differences:
    """Compare what is wanted with the server's files and with what is in force. Pure."""
    fields: List[Tuple[str, Any, Any, str]] = []
    forget: List[str] = []
    lines: List[Line] = []
    restart: List[str] = []
    waiting: List[str] = []
    for name, value in wanted.items():
        setting = live.settings.get(name)
        want = _canonical(value, setting)
        mine = _last(live.lines, layout.settings_file, name)
        over = [entry for entry in live.lines if entry.name == name and _wins(entry, layout, include_number)]
        written = mine is not None and _canonical(mine.value, setting) == want and not over
        in_force = setting is None or _canonical(setting.value, setting) == want
        needs_restart = setting is not None and not in_force and setting.context == "postmaster"
        if written and in_force:
            continue
        if written and needs_restart and not may_restart:
            waiting.append(name)
            continue
        if needs_restart:
            restart.append(name) if may_restart else waiting.append(name)
        forget += [name] if any(entry.file.endswith(f"/{_AUTO}") for entry in over) else []
        lines += [entry for entry in over if not entry.file.endswith(f"/{_AUTO}")]
        fields.append((name, _before(setting, in_force, over), value, _why(over, mine, setting, needs_restart)))
    return Differences(tuple(fields), tuple(forget), tuple(lines), tuple(restart), tuple(waiting))


def _canonical(value: str, setting: Optional[Setting]) -> str:
    return canonical(value, setting.kind, setting.unit) if setting else value


def _last(lines: Sequence[Line], path: str, name: str) -> Optional[Line]:
    return next((entry for entry in reversed(lines) if entry.file == path and entry.name == name), None)


def _wins(entry: Line, layout: Layout, include_number: int) -> bool:
    """Tell whether a line is read after ours."""
    if entry.file.endswith(f"/{_AUTO}"):
        return True
    if entry.file == layout.main_file:
        return bool(include_number) and entry.number > include_number
    folder = os.path.dirname(layout.settings_file)
    return os.path.dirname(entry.file) == folder and os.path.basename(entry.file) > os.path.basename(layout.settings_file)


def _before(setting: Optional[Setting], in_force: bool, over: Sequence[Line]) -> Any:
    if setting is not None and not in_force:
        return f"{setting.value} x {setting.unit}" if setting.unit and setting.value.lstrip("-").isdigit() else setting.value
    return over[-1].value if over else ABSENT


def _why(over: Sequence[Line], mine: Optional[Line], setting: Optional[Setting], needs_restart: bool) -> str:
    if over:
        last = over[-1]
        return "ALTER SYSTEM overrides it" if last.file.endswith(f"/{_AUTO}") else f"{last.file}, line {last.number}, overrides it"
    if mine is None:
        return "set by nothing that lasts"
    if setting is not None and setting.source == "command line":
        return "the command line of the server overrides it"
    return "needs a restart" if needs_restart else "another value is in force"
