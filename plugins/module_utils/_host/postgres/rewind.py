# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a former primary go back to where it went apart from the primary of now, by pg_rewind, and keeps the log that it gives up."""

from __future__ import annotations

import os
import re
import shutil
from typing import List

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._host import files
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import cluster, former, standby
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.former import Former
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import ACCOUNT, Layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import lsn_of, segment_name, segment_of
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.sql import as_account

# Seconds: recovery writes everything; a rewind reads all names, and what changed.
_RECOVERY, _REWIND = 3600.0, 86_400.0
# More log than anybody has, in MB.
_KEPT = 1 << 20
_BEGIN = re.compile(r"^START WAL LOCATION: ([0-9A-F]+/[0-9A-F]+) ", re.MULTILINE)
_COPY_HINT = "Nothing was rewound. It can be made anew, with its data moved aside: postgres_server_rejoin_by=copy."
# Of the segments that both hosts have, which no one changes any more; here until it is known whether they are needed.
_COMMON = "common"


def run(layout: Layout, primary: standby.Primary, seen: Former) -> None:
    """Rewind, and let it start as a standby. Raises Refused when it cannot be, with nothing rewound, and Failure when it broke in the middle.

    From the first write to the last a file beside the data says that it is under way: what a broken rewind leaves looks like a server that was stopped in
    good order, and is none.
    """
    _keep(layout, seen)
    words = _words(layout, primary)
    before = cluster.forbid_start(layout)
    try:
        _prepare(layout, words, seen)
    except BaseException:
        cluster.write_start(layout, before)
        raise
    files.replace(layout.rewinding_file, f"pg_rewind of {layout.data} to {primary.name}\n", 0o644, "root")
    ended = as_account(words, seconds=_REWIND)
    if ended.status:
        hint = "Its data is neither old nor new now. Make it anew, with its data moved aside: postgres_server_rejoin_by=copy."
        raise Failure(f"pg_rewind failed ({ended.status}): {_said(ended.complaint)}", hint, layout.data)
    _give_back(layout, seen)
    standby.signal(layout.signal_file)
    os.unlink(layout.rewinding_file)
    cluster.let_start(layout)


def _prepare(layout: Layout, words: List[str], seen: Former) -> None:
    """Bring the files in order, and try, which writes nothing. Raises Refused and Failure."""
    if not seen.clean:
        _recover(layout)
    former.require_state(layout, "shut down")
    tried = as_account([*words, "--dry-run"], seconds=_REWIND)
    if tried.status:
        raise Refused(f"pg_rewind cannot rewind this host: {_said(tried.complaint)}", _COPY_HINT, layout.data)


def _said(complaint: str) -> str:
    return scrub(complaint.strip()[-700:])


def _words(layout: Layout, primary: standby.Primary) -> List[str]:
    """Return the command line; the password is in a file."""
    words = [layout.program("pg_rewind"), f"--target-pgdata={layout.data}", f"--source-server={primary.connection()} dbname=postgres", "--no-ensure-shutdown"]
    return [*words, "--restore-target-wal", f"--config-file={layout.main_file}"] if former.has_archive(layout) else words


def _keep(layout: Layout, seen: Former) -> None:
    """Copy the log since the fork aside, as it is before anything touches it, with what is needed to read it. A run before may have done that."""
    if seen.fork is None or os.path.exists(seen.aside):
        return
    partial, size, first = f"{seen.aside}.partial", seen.segment_size, seen.fork.at // seen.segment_size
    shutil.rmtree(partial, ignore_errors=True)
    os.mkdir(partial, 0o700)
    os.mkdir(f"{partial}/{_COMMON}", 0o700)
    for name in sorted(os.listdir(layout.log)):
        found = segment_of(name, size)
        if (found and found[0] >= seen.fork.timeline and found[1] >= first and found[1] * size < seen.fork.end) or name.endswith(".history"):
            shutil.copy2(f"{layout.log}/{name}", f"{partial}/{name}")
        elif found and found[1] < first:
            os.link(f"{layout.log}/{name}", f"{partial}/{_COMMON}/{name}")
    shutil.copy2(f"{layout.data}/global/pg_control", f"{partial}/pg_control")
    text = f"The log that {layout.data} gave up: {seen.told}.\nRead it: {layout.program('pg_waldump')} --path={seen.aside} {_first(seen)}\n"
    files.replace(f"{partial}/README", text, 0o600)
    for folder, _folders, names in os.walk(partial):
        for name in ("", *names):
            files.own(os.path.join(folder, name), ACCOUNT)
    os.rename(partial, seen.aside)


def _first(seen: Former) -> str:
    return segment_name(seen.past.timeline, (seen.fork.at if seen.fork else 0) // seen.segment_size, seen.segment_size)


def _recover(layout: Layout) -> None:
    """Let a server that crashed bring its files in order, which a rewind needs, without that anybody can connect. Raises Failure."""
    # The checkpoint at its end would remove log from before the fork, which the rewind begins with.
    options = ["-c", f"config_file={layout.main_file}", "-c", f"wal_keep_size={_KEPT}MB"]
    words = [layout.program("postgres"), "--single", "-D", layout.data, *options, "template1"]
    ended = as_account(words, seconds=_RECOVERY)
    if ended.status:
        raise Failure(f"The crash of this host is not recovered from: {_said(ended.complaint)}", _COPY_HINT, layout.data)


def _give_back(layout: Layout, seen: Former) -> None:
    """Bring back segments from before the fork that recovery begins with: before 17, pg_rewind removes what the primary does not have any more."""
    kept = f"{seen.aside}/{_COMMON}"
    begin = _BEGIN.search(files.look(f"{layout.data}/backup_label").text or "")
    first = lsn_of(begin.group(1)) // seen.segment_size if begin else 0
    for name in sorted(os.listdir(kept)) if os.path.isdir(kept) else ():
        found = segment_of(name, seen.segment_size)
        if found and found[1] >= first and not os.path.exists(f"{layout.log}/{name}"):
            os.rename(f"{kept}/{name}", f"{layout.log}/{name}")
    shutil.rmtree(kept, ignore_errors=True)
