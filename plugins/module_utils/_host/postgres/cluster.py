# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster of this host: its packages, its making, its configuration files, and its process, by Debian's own programs."""

from __future__ import annotations

import glob
import os
import re
import shutil
import time
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, RolloutFailed, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host import files, packages, units
from ansible_collections.paas.hardening.plugins.module_utils._host.command import Ended, ask
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import layout as places
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import live
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import ACCOUNT, NAME, PORT, SERVICE, Layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.sql import Database, as_account

CONFIG_MODE, ACCESS_MODE = 0o644, 0o640
_INCLUDE = re.compile(r"^\s*include_dir\s*=?\s*'conf\.d/?'", re.MULTILINE)
_INCLUDE_LINE = "include_dir = 'conf.d'"
_COMMENTED = "# paas.hardening: set in conf.d/zz-paas-hardening.conf instead: "
# Seconds: initdb, a restart that has to write everything, and a reload.
_INITDB, _START, _RELOAD = 300.0, 600.0, 20.0
_PAUSE = 0.1


class Other(NamedTuple):
    """A cluster on this host that is not the wanted one."""

    major: str
    name: str
    port: str

    def __str__(self) -> str:
        return f"{self.major}/{self.name} on port {self.port}"


class Seen(NamedTuple):
    """What is on the disk of this host: packages that are missing, whether there is a cluster, its files, others beside it, and how it is started.

    ``rewinding``: a rewind has begun and not ended; ``incoming``: a verified copy of the primary lies beside the data.
    """

    missing: Tuple[str, ...]
    drop_in: Optional[str]
    exists: bool
    has_data: bool
    signal: bool
    checksums: bool
    control: Mapping[str, str]
    others: Tuple[Other, ...]
    settings: files.Kept
    access: files.Kept
    main: files.Kept
    included: bool
    include_number: int
    start: str
    enabled: bool
    newest: float
    rewinding: bool = False
    incoming: bool = False


def majors() -> Dict[int, str]:
    """Return the majors that have a cluster of our name, with their folders."""
    found = (path.split("/") for path in glob.glob(f"/etc/postgresql/*/{NAME}/postgresql.conf"))
    return {int(parts[3]): "/".join(parts[:-1]) for parts in found if parts[3].isdigit()}


def look(layout: Layout, more: Sequence[Tuple[str, str]] = (), read: Sequence[str] = ()) -> Seen:
    """Look at all of it.

    ``more`` are programs that are needed beside the server, with their packages, and ``read`` are files that the server reads beside its own.
    """
    missing = [layout.package] if not os.path.exists(layout.program("postgres")) else []
    # ssl-cert, which the server's packages need, brings openssl.
    missing += [package for program, package in more if shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin") is None]
    main = files.look(layout.main_file)
    control = _control(layout) if not missing and os.path.exists(f"{layout.data}/global/pg_control") else {}
    include = _INCLUDE.search(main.text or "")
    settings, access = files.look(layout.settings_file), files.look(layout.access_file)
    watched = [*read, layout.settings_file, layout.access_file, layout.main_file, f"{layout.data}/postgresql.auto.conf"]
    return Seen(
        tuple(missing),
        files.look(places.DROP_IN).text,
        main.text is not None,
        bool(control) or os.path.exists(f"{layout.data}/PG_VERSION"),
        os.path.exists(layout.signal_file),
        control.get("Data page checksum version", "0") != "0",
        control,
        tuple(_others(layout)),
        settings,
        access,
        main,
        include is not None,
        (main.text or "")[: include.start()].count("\n") + 1 if include else 0,
        "".join(line for line in (files.look(layout.start_file).text or "").splitlines() if not line.startswith("#")).strip(),
        units.state(SERVICE).enabled,
        max((os.stat(path).st_mtime for path in watched if os.path.exists(path)), default=0.0),
        os.path.exists(layout.rewinding_file),
        os.path.exists(f"{layout.incoming}/{os.path.basename(layout.signal_file)}"),
    )


def _control(layout: Layout) -> Dict[str, str]:
    """Return what pg_controldata says."""
    ended = as_account([layout.program("pg_controldata"), layout.data])
    pairs = (line.partition(":") for line in ended.output.splitlines())
    return {name.strip(): value.strip() for name, _colon, value in pairs} if ended.status == 0 else {}


def _others(layout: Layout) -> List[Other]:
    found = []
    for path in sorted(glob.glob("/etc/postgresql/*/*/postgresql.conf")):
        folder = os.path.dirname(path)
        if folder != layout.config:
            ports: List[str] = re.findall(r"^\s*port\s*=\s*'?(\d+)", files.look(path).text or "", re.MULTILINE)
            major, name = folder.split("/")[3:5]
            found.append(Other(major, name, ports[-1] if ports else str(PORT)))
    return found


def install(wanted: Sequence[str]) -> None:
    """Install packages, without a cluster that comes with them. Raises MissingDependency."""
    write_drop_in()
    packages.install(wanted, "Has the release another major version? Then give that, or let it come from the project (postgres_server_source: pgdg).")


def write_drop_in() -> None:
    """Let no package make a cluster by itself."""
    os.makedirs(os.path.dirname(places.DROP_IN), mode=0o755, exist_ok=True)
    files.replace(places.DROP_IN, places.DROP_IN_TEXT, 0o644)


def create(layout: Layout, encoding: str = "UTF8", locale: str = "C.UTF-8") -> None:
    """Make the cluster, with checksums, and do not start it. Raises Failure."""
    options = ["--port", str(PORT), "--encoding", encoding, "--locale", locale, "--start-conf", "auto"]
    _program(
        ["pg_createcluster", *options, str(layout.major), NAME, "--", "--data-checksums", "--auth-local=peer", "--auth-host=scram-sha-256"],
        _INITDB,
        "Nothing was started. What is left of it: pg_lsclusters, pg_dropcluster.",
    )


def _program(words: List[str], seconds: float, hint: str) -> None:
    ended = ask(["env", "--chdir=/", *words], seconds=seconds)
    if ended.status:
        raise Failure(f"{words[0]} failed ({ended.status}): {ended.complaint.strip()[-1000:]}", hint, subject=words[0])


def write_settings(layout: Layout, text: str) -> None:
    """Write our settings, when the server would take them; else the old ones stay. Raises Invalid with what it says."""
    before = files.look(layout.settings_file).text
    os.makedirs(os.path.dirname(layout.settings_file), mode=0o755, exist_ok=True)
    files.replace(layout.settings_file, text, CONFIG_MODE, ACCOUNT)
    ended = _rehearse(layout)
    if ended.status:
        put_back(layout, before)
        said = re.sub(r"^.*?(?:LOG|FATAL|ERROR):\s*", "", ended.complaint.strip(), flags=re.MULTILINE)
        raise Invalid(f"The server does not take the settings: {said[-500:]}", "The old ones stay. Look at the names and values of settings.", "settings")


def _rehearse(layout: Layout) -> Ended:
    """Let the server read its files as it would at a start, and end."""
    return as_account([layout.program("postgres"), "-D", layout.data, "-c", f"config_file={layout.main_file}", "-C", "shared_buffers"])


def put_back(layout: Layout, text: Optional[str]) -> None:
    """Write the settings that were there before; None when there were none."""
    if text is not None:
        files.replace(layout.settings_file, text, CONFIG_MODE, ACCOUNT)
    elif os.path.exists(layout.settings_file):
        os.unlink(layout.settings_file)


def write_access(layout: Layout, text: str) -> None:
    """Write who may log in from where."""
    files.replace(layout.access_file, text, ACCESS_MODE, ACCOUNT)


def include_folder(layout: Layout) -> None:
    """Let the server read conf.d."""
    kept = files.look(layout.main_file)
    files.replace(layout.main_file, f"{(kept.text or '').rstrip()}\n{_INCLUDE_LINE}\n", CONFIG_MODE, ACCOUNT)


def comment_out(path: str, numbers: Sequence[int]) -> None:
    """Turn lines of a configuration file into comments, which say why."""
    kept = files.look(path)
    lines = (kept.text or "").splitlines()
    for number in numbers:
        if 0 < number <= len(lines):
            lines[number - 1] = _COMMENTED + lines[number - 1]
    files.replace(path, "\n".join(lines) + "\n", kept.mode & ~0o022, kept.owner if kept.owner in ("root", ACCOUNT) else ACCOUNT)


def let_start(layout: Layout) -> None:
    """Start it at every boot."""
    write_start(layout, "# Managed by paas.hardening.postgres_server.\nauto\n")
    units.read_files()
    units.let_start(SERVICE)


def forbid_start(layout: Layout) -> str:
    """Let nobody start it, at a boot neither, and return what its file of that said."""
    before = files.look(layout.start_file).text or ""
    write_start(layout, "# Managed by paas.hardening.postgres_server: its data is being rewound.\ndisabled\n")
    return before


def write_start(layout: Layout, text: str) -> None:
    """Write whether, and by whom, it may be started."""
    files.replace(layout.start_file, text, CONFIG_MODE, ACCOUNT)


def start(layout: Layout, verb: str = "start") -> None:
    """Start the server, or restart it, and wait until it answers. Raises RolloutFailed with what its log says."""
    ended = units.begin(layout.unit, verb, _START)
    deadline = time.monotonic() + _RELOAD
    while ended.status == 0 and time.monotonic() < deadline:
        try:
            live.load_time(layout)
            return
        except Unavailable:
            # A standby that has not come to a consistent state yet refuses; a server that is not there never will answer.
            if not units.state(layout.unit).active:
                break
            time.sleep(_PAUSE)
    log = (files.look(f"/var/log/postgresql/postgresql-{layout.major}-{NAME}.log").text or "").splitlines()[-5:]
    raise RolloutFailed(f"The server does not start: {' / '.join(log)[-1000:]}", f"Ask: journalctl -u {layout.unit}", subject=layout.unit)


def stop(layout: Layout) -> None:
    """Stop the server in good order: it ends when its standbys have everything. Raises Failure."""
    units.stop(layout.unit, _START)


def reload(layout: Layout) -> None:
    """Let the server read its files, and wait until it has. Raises TimedOut when it does not, which it says in its log."""
    before = live.load_time(layout)
    Database(layout).run("SELECT pg_reload_conf();\n")
    deadline = time.monotonic() + _RELOAD
    while live.load_time(layout) <= before:
        if time.monotonic() > deadline:
            raise TimedOut(
                "The server has not read its files anew.", f"Its log says why: /var/log/postgresql/postgresql-{layout.major}-{NAME}.log", layout.unit
            )
        time.sleep(_PAUSE)
