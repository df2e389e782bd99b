# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What XFS does when a disk errs: it tells the store at once, which has other disks, instead of trying for ever. The kernel forgets that at each mount."""

from __future__ import annotations

import os
import shutil
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._host import files, program, units
from ansible_collections.paas.hardening.plugins.module_utils._host.command import do
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import UNIT

UNIT_NAME = "object-store-xfs.service"
XFS_UNIT_FILE = f"/etc/systemd/system/{UNIT_NAME}"
SCRIPT = f"{program.FOLDER}/object-store-xfs"
KINDS = ("EIO", "ENOSPC", "default")
_SCRIPT_TEXT = """#!/bin/sh
# Managed by paas.hardening.object_store_server. Arguments: folders that XFS is mounted on.
set -eu
for folder do
    disk=$(basename "$(readlink -f "/sys/dev/block/$(mountpoint -d "$folder")")")
    for kind in EIO ENOSPC default; do
        echo 0 > "/sys/fs/xfs/$disk/error/metadata/$kind/max_retries"
    done
done
"""
_UNIT_TEXT = """# Managed by paas.hardening.object_store_server.
[Unit]
Description=Let the disks of the object store tell errors at once
RequiresMountsFor={folders}
Before={unit}
# In a container it is not ours to set.
ConditionPathIsReadWrite=/sys/fs/xfs

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={script} {folders}

[Install]
WantedBy=multi-user.target
RequiredBy={unit}
"""


class Disk(NamedTuple):
    """A file system of this kind: its folder, how often errors of each kind are tried again (-1: for ever; nothing: it is not told here), and whether that
    can be set here.
    """

    folder: str
    retries: Mapping[str, str]
    settable: bool


class Seen(NamedTuple):
    """The file systems of XFS that are mounted, and what sets them at boot."""

    disks: Tuple[Disk, ...]
    script: files.Kept
    unit: files.Kept
    enabled: bool


def look(folders: Sequence[str]) -> Seen:
    """Look at the file systems on these folders."""
    return Seen(
        tuple(found for found in map(_disk, folders) if found is not None),
        files.look(SCRIPT),
        files.look(XFS_UNIT_FILE),
        os.path.islink(f"/etc/systemd/system/multi-user.target.wants/{UNIT_NAME}"),
    )


def _disk(folder: str) -> Optional[Disk]:
    if _kind(folder) != "xfs":
        return None
    number = os.stat(folder).st_dev
    name = os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"))
    paths = {kind: f"/sys/fs/xfs/{name}/error/metadata/{kind}/max_retries" for kind in KINDS}
    found = {kind: (files.look(path).text or "").strip() for kind, path in paths.items() if os.path.exists(path)}
    return Disk(folder, found, bool(found) and all(os.access(path, os.W_OK) for path in paths.values()))


def _kind(folder: str) -> str:
    """Return the kind of the file system that is mounted on a folder; nothing when none is."""
    found = ""
    for line in (files.look("/proc/self/mountinfo").text or "").splitlines():
        about, _dash, more = line.partition(" - ")
        if about.split()[4] == folder:
            found = more.split()[0]
    return found


def script_text() -> str:
    return _SCRIPT_TEXT


def unit_text(folders: Sequence[str]) -> str:
    """Return the unit for these folders."""
    return _UNIT_TEXT.format(folders=" ".join(folders), unit=UNIT, script=SCRIPT)


def write(folders: Sequence[str]) -> None:
    """Write what sets them at boot. Raises Failure."""
    os.makedirs(program.FOLDER, mode=0o755, exist_ok=True)
    files.replace(SCRIPT, script_text(), 0o755)
    units.write(XFS_UNIT_FILE, unit_text(folders))
    units.let_start(UNIT_NAME)


def set_now(folders: Sequence[str]) -> None:
    """Set them now. Raises Failure."""
    do([SCRIPT, *folders], hint=f"Ask: journalctl -u {UNIT_NAME}")


def after_mount(folder: str) -> None:
    """Set them for a disk that was mounted again: what does so at boot has run already. Raises Failure."""
    if os.path.exists(SCRIPT) and os.access("/sys/fs/xfs", os.W_OK):
        set_now([folder])


def fullness(folders: Sequence[str]) -> List[Tuple[str, int]]:
    """Return how many percent of each folder's file system are used, as the account sees it."""
    found = []
    for folder in folders:
        if os.path.isdir(folder):
            used = shutil.disk_usage(folder)
            found.append((folder, round(100 * used.used / max(used.used + used.free, 1))))
    return found
