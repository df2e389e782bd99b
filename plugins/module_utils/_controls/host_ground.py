# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change so that a server of a host has a certificate that is valid, and its data a disk that is there after a reboot. Pure."""

from __future__ import annotations

import datetime
from typing import List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Ref
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, certificates, disk, files, program


class Renewal(NamedTuple):
    """When a certificate is made anew: for which names it has to be good, and so many days before its end, seen from this moment."""

    names: Sequence[str]
    days: int
    now: datetime.datetime


def certificate_changes(places: certificates.Places, seen: certificates.Seen, renewal: Renewal) -> Tuple[List[Change], List[Tuple[str, str]]]:
    """Return what has to change, and what is wrong with a certificate of one's own, with a hint."""
    wrong = certificates.problems(seen, renewal.names, renewal.days, renewal.now)
    if not places.made:
        hint = "It is your own: have it made anew by your authority, and run again."
        return key_changes(places.key, seen.key, places.account), [(f"{places.certificate}: {field}: {is_now}.", hint) for field, is_now, _wanted in wrong]
    issuer = certificates.authority_problems(seen, renewal.days, renewal.now)
    found = [_made("Authority", places.authority, problem, "it vouches for the server") for problem in issuer]
    if issuer and not any(field in ("issuer", "certificate") for field, _before, _after in wrong):
        wrong.append(("issuer", "the former authority", "the new one"))
    found += [_made("Certificate", places.certificate, problem, "clients verify it") for problem in wrong]
    found += [] if wrong else key_changes(places.key, seen.key, places.account)
    return found + ([] if issuer else key_changes(places.authority_key, seen.authority_key, "root")), []


def _made(kind: str, path: str, problem: Tuple[str, str, str], why: str) -> Change:
    field, before, after = problem
    return Change(Ref("", kind, path), (field,), ABSENT if before == "absent" else before, after, why)


def key_changes(path: str, kept: files.Kept, owner: str) -> List[Change]:
    """Return what has to change so that a private key is its owner's alone; nothing for one that is not there."""
    if kept.text is None:
        return []
    ref, why = Ref("", "Private part", path), "who can read it can be the server"
    found = [Change(ref, ("mode",), f"{kept.mode:04o}", "0600", why)] if kept.mode != 0o600 else []
    return found + ([Change(ref, ("owner",), kept.owner, owner, why)] if kept.owner != owner else [])


def program_changes(path: str, digest: str, seen: program.Seen, what: str) -> List[Change]:
    """Return what has to change so that the program of ``what`` is the one that the inventory names, and only root writes it."""
    ref = Ref("", "Program", path)
    if seen.digest != digest:
        return [Change(ref, ("sha256",), seen.digest or ABSENT, digest, "the one that the inventory names")]
    if seen.mode != program.MODE:
        return [Change(ref, ("mode",), f"{seen.mode:04o}", f"{program.MODE:04o}", f"who can write it rules the {what}")]
    return []


def account_changes(name: str, seen: Optional[accounts.Account], what: str) -> List[Change]:
    """Return what has to change so that there is an account for ``what`` that nobody logs in as."""
    ref = Ref("", "Account", name)
    if seen is None:
        return [Change(ref, ("account",), ABSENT, "made, without a shell", f"the {what} is no root")]
    if not seen.harmless:
        state = "that of root" if seen.number == 0 else seen.shell
        return [Change(ref, ("shell",), state, "none", f"nobody logs in as the {what}")]
    return []


def folder_changes(path: str, mode: int, owner: str, seen: files.Folder, why: str) -> List[Change]:
    """Return what has to change so that a folder for data is there, and its account's alone. ``why`` is what is wrong with another mode."""
    ref = Ref("", "Folder", path)
    if not seen.exists:
        return [Change(ref, ("folder",), ABSENT, "made", "for data")]
    found = [Change(ref, ("owner",), seen.owner, owner, "it could not be written")] if seen.owner != owner else []
    return found + ([Change(ref, ("mode",), f"{seen.mode:04o}", f"{mode:04o}", why)] if seen.mode != mode else [])


def content_changes(ref: Ref, kept: files.Kept, text: str, after: str, why: str) -> List[Change]:
    """Return how the text of a file differs. It is not shown: a password may be in it."""
    if kept.text == text:
        return []
    return [Change(ref, ("content",), ABSENT if kept.text is None else "another text", after, why)]


def guarded_changes(ref: Ref, kept: files.Kept, mode: int, why: str) -> List[Change]:
    """Return what has to change so that a file is root's, and its mode gives no more than is wanted; nothing for one that is not there."""
    if kept.text is None:
        return []
    found = [Change(ref, ("mode",), f"{kept.mode:04o}", f"{mode:04o}", why)] if kept.mode & ~mode else []
    return found + ([Change(ref, ("owner",), kept.owner, "root", why)] if kept.owner != "root" else [])


def disk_changes(storage: disk.Seen, filesystem: str) -> List[Change]:
    """Return what has to change so that a disk has a file system and is mounted, now and at boot."""
    found = []
    if storage.empty and not storage.mounted:
        found.append(Change(Ref("", "Disk", storage.device), ("file system",), ABSENT, filesystem, "the disk is empty"))
    mounted = Ref("", "Mount", storage.place.where)
    if not storage.mounted:
        found.append(Change(mounted, ("mounted",), False, True, "data has a file system of its own"))
    for field, wrong in disk.boot_problems(storage):
        found.append(Change(mounted, (field,), ABSENT if wrong == "absent" else wrong, "mounts the disk", "so that it is there after a reboot"))
    return found
