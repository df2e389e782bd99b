# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that data lies on: a file system of its own, made on an empty disk only, and mounted at every boot before the server starts."""

from __future__ import annotations

import glob
import os
import shutil
import stat
from typing import Dict, List, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host import files, units
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask, do

PROGRAMS = {"xfs": ("mkfs.xfs", "xfsprogs"), "ext4": ("mkfs.ext4", "e2fsprogs")}
_OPTIONS = {"xfs": ["-q"], "ext4": ["-q", "-m", "1"]}
_UNIT_TEXT = """# Managed by paas.hardening.{role}.
[Unit]
Description=Data of {title}

[Mount]
What={source}
Where={where}
Type={kind}
Options=noatime,nosuid,nodev

[Install]
WantedBy=local-fs.target
"""
# Of a whole file system, about so many seconds on slow disks.
_PATIENCE = 600


class Place(NamedTuple):
    """Where a disk is to be mounted, and what for: its label, whose its folder is, and by which patterns data is known that must not be mounted over.

    ``title`` names the program that the data is of, ``role`` the role, and ``option`` the option that the disk is given by.
    """

    where: str
    label: str
    account: str
    mode: int
    data: Tuple[str, ...]
    title: str
    role: str
    option: str = "data_disk"

    @property
    def unit(self) -> str:
        """The unit of systemd. Its name is made of the path, which holds nothing that would have to be escaped."""
        return f"{self.where.strip('/').replace('/', '-')}.mount"

    @property
    def unit_file(self) -> str:
        return f"/etc/systemd/system/{self.unit}"

    @property
    def variable(self) -> str:
        """What the option is called in the role."""
        return f"{self.role}_{self.option}"


class Seen(NamedTuple):
    """What the disk holds (empty: nothing), its bytes, and what is mounted on the data's folder, now and at boot.

    ``source`` is by which name it is mounted: its UUID, or its path where nobody gives disks such names, as in containers.
    """

    place: Place
    device: str
    holds: Dict[str, str]
    size: int
    mounted: bool
    source: str
    unit: Optional[str]
    enabled: bool
    fstab: bool
    buried: bool

    @property
    def empty(self) -> bool:
        return not self.holds

    @property
    def ours(self) -> bool:
        return self.holds.get("LABEL") == self.place.label and self.holds.get("TYPE", "") in PROGRAMS


def look(place: Place, wanted: str) -> Optional[Seen]:
    """Look at the disk of this path, LABEL= or UUID=; with an empty name None, since then none is wanted. Raises NotFound, Refused and Failure."""
    if not wanted:
        return None
    device = _device(place, wanted)
    mounted = _mounted(place.where)
    # What is mounted may also be another file system of the user's own, which he mounted himself.
    other = mounted is not None and mounted != os.stat(device).st_rdev
    holds = _signature(device)
    source = _source(f"/dev/block/{os.major(mounted or 0)}:{os.minor(mounted or 0)}" if other else device)
    unit, size = files.look(place.unit_file).text, int(do(["blockdev", "--getsize64", device]))
    buried = mounted is None and any(glob.glob(f"{place.where}/{pattern}") for pattern in place.data)
    return Seen(place, device, holds, size, mounted is not None, source, unit, units.state(place.unit).enabled, _in_fstab(place.where), buried)


def _device(place: Place, wanted: str) -> str:
    kind, equals, name = wanted.partition("=")
    if equals and kind in ("LABEL", "UUID"):
        found = ask(["blkid", f"--{kind.lower()}", name]).output.strip()
    else:
        found = wanted
    if not found or not os.path.exists(found) or not stat.S_ISBLK(os.stat(found).st_mode):
        raise NotFound(f"{place.option} is {wanted}, and there is no such disk.", "Ask lsblk on the host, and give its path, LABEL= or UUID=.", place.option)
    return found


def _signature(device: str) -> Dict[str, str]:
    """Return what blkid finds on a disk; nothing on an empty one."""
    probed = ask(["blkid", "--probe", "--output", "export", device])
    if probed.status == 2:
        return {}
    if probed.status:
        raise Failure(f"What is on {device} cannot be told: {probed.complaint.strip()[-300:]}", "More than one thing may be on it: look with wipefs.", device)
    return {name: value for name, _equals, value in (line.partition("=") for line in probed.output.splitlines())}


def _mounted(where: str) -> Optional[int]:
    """Return the number of the device that is mounted on a folder, or None."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as table:
        fields = [line.split() for line in table]
    found = [entry[2] for entry in fields if entry[4] == where]
    if not found:
        return None
    major, _colon, minor = found[-1].partition(":")
    return os.makedev(int(major), int(minor))


def _source(device: str) -> str:
    uuid = _signature(device).get("UUID", "") if os.path.exists(device) else ""
    if os.path.isdir("/run/udev") and uuid:
        # A name that was made this moment takes one.
        ask(["udevadm", "settle", "--timeout=10"])
    return f"UUID={uuid}" if uuid and os.path.exists(f"/dev/disk/by-uuid/{uuid}") else device


def _in_fstab(where: str) -> bool:
    lines = [line.split() for line in (files.look("/etc/fstab").text or "").splitlines()]
    return any(len(words) > 1 and not words[0].startswith("#") and words[1].rstrip("/") == where for words in lines)


def size_of(place: Place, seen: Optional[Seen]) -> int:
    """Return the bytes that the data has: of the disk, or of whatever holds the folder."""
    if seen is not None:
        return seen.size
    here = place.where
    while not os.path.isdir(here):
        here = os.path.dirname(here)
    return shutil.disk_usage(here).total


def refuse(seen: Seen) -> None:
    """Raise Refused when mounting the disk would bury data or destroy it."""
    place = seen.place
    if seen.buried:
        raise Refused(
            f"{place.where} holds data of {place.title}, and {seen.device} would be mounted over it.",
            f"Stop the server, move the data to the disk and mount it, or give no {place.option} ({place.variable}).",
            place.option,
        )
    if not seen.empty and not seen.ours:
        raise Refused(
            f"{seen.device} is not empty: it holds {seen.holds.get('TYPE') or seen.holds.get('PTTYPE') or 'something'}.",
            f"Only an empty disk is formatted. Empty it by hand (wipefs), or give its file system the label {place.label} if it is meant.",
            place.option,
        )


def make(seen: Seen, kind: str) -> None:
    """Make the file system, on an empty disk only. Raises Failure."""
    made = ask([PROGRAMS[kind][0], *_OPTIONS[kind], "-L", seen.place.label, seen.device], seconds=_PATIENCE)
    if made.status:
        raise Failure(f"{PROGRAMS[kind][0]} failed: {made.complaint.strip()[-500:]}", "Is the disk large enough, and in use by nobody?", seen.device)


def make_on(place: Place, wanted: str, kind: str) -> None:
    """Look at the disk anew, and make the file system. Raises Failure, and Refused when it is not empty any more."""
    seen = look(place, wanted)
    if seen is None or not seen.empty:
        raise Refused(f"{wanted} is not empty any more.", "Somebody else is at work on it: look, and run again.", place.option)
    make(seen, kind)


def unit_text(seen: Seen, kind: str) -> str:
    """Return what the unit's file has to say about the file system that is there."""
    place = seen.place
    return _UNIT_TEXT.format(role=place.role, title=place.title, source=seen.source, where=place.where, kind=seen.holds.get("TYPE") or kind)


def mount(place: Place, device: str) -> None:
    """Mount the file system now and at every boot. Raises Failure."""
    seen = look(place, device)
    if seen is None:
        return
    if not seen.fstab:
        os.makedirs(place.where, exist_ok=True)
        units.write(place.unit_file, unit_text(seen, ""))
        units.let_start(place.unit)
    if not seen.mounted:
        if seen.fstab:
            do(["mount", place.where], hint=f"Ask: journalctl -u {place.unit}")
        else:
            units.start(place.unit)
    files.own(place.where, place.account)
    os.chmod(place.where, place.mode)


def boot_problems(seen: Seen) -> List[Tuple[str, str]]:
    """Return (field, what is wrong) of a file system that would not be there after a reboot. Pure."""
    if seen.fstab:
        return []
    problems = []
    if seen.unit is None:
        problems.append(("unit", "absent"))
    elif f"What={seen.source}\n" not in seen.unit or f"Where={seen.place.where}\n" not in seen.unit:
        problems.append(("unit", "names another file system"))
    if not seen.enabled:
        problems.append(("at boot", "not mounted"))
    return problems
